"""What followed from what was shown: the figures of the feedback report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import narwhals as nw

from recsys_assets.core.dataset import DISLIKE, IMPRESSION
from recsys_assets.core.engine import Frame, Persist, unchanged
from recsys_assets.core.frames import total
from recsys_assets.core.insight.figures import Figures

NONE = "none"
"""Stands for what an impression does not name."""
_GROUP = ("placement", "source", "release_id")
_IMPRESSION = ["impression_file", "impression_row"]
_Z = 1.959963984540054
_MOST_POSITIONS = 20


@dataclass(frozen=True)
class FeedbackParams:
    """Parameters of the report.

    Args:
        days: how many days of impressions it is about.
        hours: window of the attribution.
        reach: days after that of an impression in which an event may follow from it.
        k: places that count for precision.
    """

    days: int
    hours: int
    reach: int
    k: int = 10


def outcomes(impressions: Frame, attribution: Frame) -> Frame:
    """Each impression with what followed from it; dislikes are left out.

    Args:
        impressions: ``IMPRESSIONS`` of some days.
        attribution: ``ATTRIBUTION`` of these days and of those after them in which events may follow.

    Returns:
        A row per impression: user_id, item_id, placement, source, release_id (``none`` where it names none), position,
        and clicked and reached (int64): 1 if any event followed, 1 if a target did.
    """
    one = nw.lit(1, dtype=nw.Int64)
    followed = (
        attribution.filter(~nw.col("impression_row").is_null())
        .with_columns(__events=one, __targets=nw.when(nw.col("target")).then(one).otherwise(one - 1))
        .group_by(*_IMPRESSION)
        .agg(total(nw.col("__events")), total(nw.col("__targets")))
    )
    events, targets = nw.col("__events").fill_null(0), nw.col("__targets").fill_null(0)
    return (
        impressions.filter(nw.col("event_type") == IMPRESSION)
        .rename({"source_file": "impression_file", "source_row": "impression_row"})
        .join(followed, on=_IMPRESSION, how="left")
        .select(
            "user_id",
            "item_id",
            *(nw.col(name).fill_null(NONE) for name in _GROUP),
            "position",
            clicked=(events > 0).cast(nw.Int64),
            reached=(targets > 0).cast(nw.Int64),
        )
    )


def feedback(
    impressions: Frame, attribution: Frame, day: date, params: FeedbackParams, persist: Persist = unchanged
) -> Figures:
    """The figures as of a day, for programs and for charts.

    They are about the impressions of ``params.days`` days, up to the last day after whose impressions nothing can
    follow any more. A click is any event that follows. Recall is the share of the targets in these days, of users to
    whom anything was shown shortly before, that follow from an impression.

    Args:
        impressions: ``IMPRESSIONS`` of days up to ``day``, with ``dt``.
        attribution: ``ATTRIBUTION`` of the same days.
        day: as-of day.
        params: see :class:`FeedbackParams`.
        persist: the engine's way to keep a frame that is used several times.
    """
    last = day - timedelta(days=params.reach)
    first = last - timedelta(days=params.days - 1)
    within = (nw.col("dt") >= first) & (nw.col("dt") <= last)
    shown = persist(outcomes(impressions.filter(within), attribution))
    wanted = _wanted(attribution.filter(within))
    signals = _collected(
        impressions.filter((nw.col("dt") >= first) & (nw.col("dt") <= day))
        .with_columns(final=nw.col("dt") <= last)
        .group_by("event_type", "final")
        .agg(n=nw.len().cast(nw.Int64)),
    )
    groups = _groups(shown, _GROUP, wanted, params)
    return {
        "day": day.isoformat(),
        "days": [first.isoformat(), last.isoformat()],
        "hours": params.hours,
        "k": params.k,
        "not_final": sum(row["n"] for row in signals if row["event_type"] == IMPRESSION and not row["final"]),
        "dislikes": sum(row["n"] for row in signals if row["event_type"] == DISLIKE and row["final"]),
        "targets": sum(row["targets"] for row in wanted),
        "attributed_by": _attributed_by(attribution.filter(within)),
        "all": next(iter(_groups(shown, (), wanted, params)), None),
        "sources": _groups(shown, _GROUP[:2], wanted, params),
        "groups": groups,
        "positions": _positions(shown),
    }


def _wanted(attribution: Frame) -> list[dict[str, Any]]:
    """Targets of users to whom anything was shown, by the group that they follow from (nulls: none)."""
    targets = attribution.filter(nw.col("target")).with_columns(attributed=~nw.col("impression_row").is_null())
    named = targets.select("attributed", *(nw.col(name).fill_null(NONE) for name in _GROUP))
    return _collected(named.group_by("attributed", *_GROUP).agg(targets=nw.len().cast(nw.Int64)))


def _attributed_by(attribution: Frame) -> dict[str, int]:
    """Events by how they were attributed; ``none`` for those whose item was not shown."""
    named = attribution.select(nw.col("attributed_by").fill_null(NONE).alias("name"))
    counted = _collected(named.group_by("name").agg(n=nw.len().cast(nw.Int64)))
    return {row["name"]: row["n"] for row in sorted(counted, key=lambda row: row["name"])}


def _groups(
    shown: Frame, by: Sequence[str], wanted: Sequence[dict[str, Any]], params: FeedbackParams
) -> list[dict[str, Any]]:
    """Figures of each group of impressions, the largest first."""
    n, clicked = nw.col("impressions"), nw.col("clicked")
    one = nw.lit(1, dtype=nw.Int64)
    first = nw.when(nw.col("position") <= params.k).then(one).otherwise(one - 1)
    of_user = (
        shown.with_columns(impressions=one, __first=first)
        .with_columns(__clicked=nw.col("__first") * clicked)
        .group_by(*by, "user_id")
        .agg(*(total(nw.col(name)) for name in ("impressions", "clicked", "reached", "__first", "__clicked")))
        .with_columns(__all=nw.lit("all"), __one=one, __nn=n * n, __cc=clicked * clicked, __nc=n * clicked)
    )
    sums = {
        **{name: name for name in ("impressions", "clicked", "reached")},
        "users": "__one", "first": "__first", "first_clicked": "__clicked",
        "nn": "__nn", "cc": "__cc", "nc": "__nc",
    }  # fmt: skip
    rows = _collected(
        of_user.group_by(*(by or ["__all"])).agg(*(total(nw.col(of)).alias(name) for name, of in sums.items()))
    )
    every = sum(row["targets"] for row in wanted)
    groups: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (-row["impressions"], *(row[name] for name in by))):
        low, high = click_interval(row)
        targets = sum(
            want["targets"] for want in wanted if want["attributed"] and all(want[name] == row[name] for name in by)
        )
        groups.append(
            {
                **{name: row[name] for name in (*by, "users", "impressions", "clicked", "reached")},
                "click_through_rate": row["clicked"] / row["impressions"],
                "low": low,
                "high": high,
                "precision": row["first_clicked"] / row["first"] if row["first"] else None,
                "targets": targets,
                "recall": targets / every if every else None,
            }
        )
    return groups


def click_interval(row: dict[str, int]) -> tuple[float, float]:
    """95 % interval of a click-through rate (Wilson), widened as far as impressions of one user are alike.

    The variance of the ratio over users, against that of as many independent impressions, is the design effect, by
    which the number of impressions is divided (L. Kish, "Survey Sampling", 1965).

    Args:
        row: impressions and clicked, users, and sums over the users of the squares (nn, cc) and the product (nc).
    """
    n, clicked, users = row["impressions"], row["clicked"], row["users"]
    rate = clicked / n
    effect = 1.0
    if 0 < clicked < n and users > 1:
        spread = (row["cc"] - 2 * rate * row["nc"] + rate * rate * row["nn"]) * users / (users - 1)
        effect = max(1.0, spread / (n * rate * (1 - rate)))
    size = n / effect
    middle = (rate + _Z * _Z / (2 * size)) / (1 + _Z * _Z / size)
    half = _Z / (1 + _Z * _Z / size) * math.sqrt(rate * (1 - rate) / size + _Z * _Z / (4 * size * size))
    return max(0.0, middle - half), min(1.0, middle + half)


def _positions(shown: Frame) -> list[dict[str, Any]]:
    """Impressions and clicks of each of the first places, by placement."""
    counted = (
        shown.filter(nw.col("position") <= _MOST_POSITIONS)
        .group_by("placement", "position")
        .agg(impressions=nw.len().cast(nw.Int64), clicked=nw.col("clicked").sum().cast(nw.Int64))
    )
    return sorted(_collected(counted), key=lambda row: (row["placement"], row["position"]))


def _collected(frame: Frame) -> list[dict[str, Any]]:
    return list(frame.collect(backend="polars").rows(named=True))
