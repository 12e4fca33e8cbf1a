"""Clean one day of parsed rows: remove exact duplicates, assign sessions."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.clock import epoch_day, wall_clock
from recsys_assets.core.contracts import CLEAN_EVENTS, ITEM_PROPERTIES
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import running_total, total

DUPLICATE_KEY = ("user_id", "item_id", "event_type", "ts", "order_id", "quantity", "price")
"""Rows that agree in all of these (null equals null) are copies of one event."""

_SOURCE = ("source_file", "source_row")


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
    timed = rows.with_columns(__us=_epoch_micros(nw.col("ts")), __rows=nw.len().over("user_id"))
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


def clean_properties(rows: Frame) -> Frame:
    """Item properties of one day (``ITEM_PROPERTIES``).

    If files state one (item, property, time) more than once, the last by source_file and source_row is kept.

    Args:
        rows: ``PARSED_PROPERTIES`` of one day.
    """
    return rows.unique(list(ITEM_PROPERTIES.key), keep="last", order_by=_SOURCE).select(*ITEM_PROPERTIES.columns)


def ingest_counts(rows: Frame, clean: Frame, rejected: Frame) -> Frame:
    """Outcomes of each landing file's rows on one day. No row may be lost: rows = clean + duplicates + rejected.

    Each number is counted independently, so that the equation is a real check.

    Args:
        rows: ``PARSED_EVENTS``, the input of :func:`clean_day`.
        clean: ``CLEAN_EVENTS``, its result.
        rejected: ``REJECTED_EVENTS`` of the same day.

    Returns:
        source_file, rows, clean, duplicates, rejected; int64 counts.
    """
    source = nw.col("source_file")
    copies = (
        rows.with_columns(__one=nw.lit(1, dtype=nw.Int64))
        .with_columns(__copy=running_total(nw.col("__one"), DUPLICATE_KEY, _SOURCE))
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


def _epoch_micros(ts: nw.Expr) -> nw.Expr:
    """Microseconds since 1970 of a UTC timestamp, by date functions that all engines have."""
    ts = wall_clock(ts)
    seconds = (epoch_day(ts) * 24 + ts.dt.hour().cast(nw.Int64)) * 3600
    seconds = seconds + ts.dt.minute().cast(nw.Int64) * 60 + ts.dt.second().cast(nw.Int64)
    # Before 1970, some engines give negative microseconds of a second.
    return seconds * 1_000_000 + ts.dt.microsecond().cast(nw.Int64) % 1_000_000
