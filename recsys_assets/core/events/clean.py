"""Clean one day of parsed rows: remove exact duplicates, assign sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.clock import epoch_micros
from recsys_assets.core.contracts import CLEAN_EVENTS, IMPRESSIONS, ITEM_PROPERTIES
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import running_total, total

DUPLICATE_KEY = ("user_id", "item_id", "event_type", "ts", "order_id", "quantity", "price")
"""Rows that agree in all of these (null equals null) are copies of one event."""

_SOURCE = ("source_file", "source_row")
IMPRESSION_KEY = tuple(name for name in IMPRESSIONS.columns if name not in _SOURCE)
"""Likewise of impressions."""


@dataclass(frozen=True)
class CleanParams:
    """Parameters of the cleaning.

    Args:
        session_gap_minutes: a pause of more than this many minutes starts a new session.
    """

    session_gap_minutes: int = 30


def clean_day(rows: Frame, params: CleanParams) -> Frame:
    """Clean events of one day (``CLEAN_EVENTS``).

    Of exact duplicates, the first by source_file and source_row is kept. Sessions end at the day boundary, so that a
    day depends on no other day: a visit that crosses it continues as a new session. Events of unknown users have no
    session.

    Args:
        rows: ``PARSED_EVENTS`` of one day, from any number of files in any order.
        params: see :class:`CleanParams`.
    """
    timed = rows.with_columns(__us=epoch_micros(nw.col("ts")), __rows=nw.len().over("user_id"))
    # The only row of a user on a day has no duplicate and is its own session. Such rows are many and need no sort.
    single = (nw.col("__rows") == 1) & ~nw.col("user_id").is_null()
    singles = timed.filter(single).with_columns(session_id=nw.col("__us") // 1_000_000)
    unique = timed.filter(~single).unique(list(DUPLICATE_KEY), keep="first", order_by=_SOURCE)
    parts = [frame.select(*CLEAN_EVENTS.columns) for frame in (singles, _with_sessions(unique, params))]
    return nw.concat(parts, how="vertical")


def _with_sessions(events: Frame, params: CleanParams) -> Frame:
    """Events with ``session_id``: the second in which their session began; null for unknown users."""
    order = ["ts", *_SOURCE]
    return (
        events.with_columns(__previous=nw.col("__us").shift(1).over("user_id", order_by=order))
        .with_columns(
            __start=nw.when(
                nw.col("__previous").is_null()
                | (nw.col("__us") - nw.col("__previous") > params.session_gap_minutes * 60_000_000)
            ).then(nw.col("__us") // 1_000_000)
        )
        .with_columns(__session=nw.col("__start").fill_null(strategy="forward").over("user_id", order_by=order))
        .with_columns(session_id=nw.when(~nw.col("user_id").is_null()).then(nw.col("__session")))
    )


def clean_impressions(rows: Frame) -> Frame:
    """Impressions and dislikes of one day (``IMPRESSIONS``).

    Of exact duplicates, the first by source_file and source_row is kept.

    Args:
        rows: ``IMPRESSIONS`` as parsed, of one day.
    """
    return rows.unique(list(IMPRESSION_KEY), keep="first", order_by=_SOURCE).select(*IMPRESSIONS.columns)


def clean_properties(rows: Frame) -> Frame:
    """Item properties of one day (``ITEM_PROPERTIES``).

    If files state one (item, property, time) more than once, the last by source_file and source_row is kept.

    Args:
        rows: ``PARSED_PROPERTIES`` of one day.
    """
    return rows.unique(list(ITEM_PROPERTIES.key), keep="last", order_by=_SOURCE).select(*ITEM_PROPERTIES.columns)


def ingest_counts(rows: Frame, clean: Frame, rejected: Frame, duplicate_key: Sequence[str] = DUPLICATE_KEY) -> Frame:
    """Outcomes of each landing file's rows on one day. No row may be lost: rows = clean + duplicates + rejected.

    Each number is counted independently, so that the equation is a real check.

    Args:
        rows: ``PARSED_EVENTS``, the input of :func:`clean_day`; or impressions, as parsed.
        clean: ``CLEAN_EVENTS``, its result; or ``IMPRESSIONS``.
        rejected: ``REJECTED_EVENTS`` of the same day.
        duplicate_key: columns in which copies agree.

    Returns:
        source_file, rows, clean, duplicates, rejected; int64 counts.
    """
    source = nw.col("source_file")
    copies = (
        rows.with_columns(__one=nw.lit(1, dtype=nw.Int64))
        .with_columns(__copy=running_total(nw.col("__one"), duplicate_key, _SOURCE))
        .filter(nw.col("__copy") > 1)
    )
    flags = [
        frame.select(source, *(nw.lit(int(name in names), dtype=nw.Int64).alias(name) for name in _COUNTS))
        for frame, names in (
            (rows, ("rows",)),
            (rejected, ("rows", "rejected")),
            (clean, ("clean",)),
            (copies, ("duplicates",)),
        )
    ]
    return nw.concat(flags).group_by("source_file").agg(*(total(nw.col(name)) for name in _COUNTS))


_COUNTS = ("rows", "clean", "duplicates", "rejected")
