"""Merge the daily marts of a window: merging the days equals aggregating their union.

Sums use :func:`~recsys_assets.core.frames.exact_sum`, whose daily results are exact multiples of its unit, so adding
days has no rounding error. Distinct users of a day cannot be added; their sum is named user days.
"""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import exact_sum, total


def merge_user_activity(window: Frame, also: Sequence[str] = ()) -> Frame:
    """One row per user and item of a window of ``USER_ACTIVITY`` with ``dt``.

    Args:
        window: the daily marts.
        also: further float columns to sum, such as a decayed weight.

    Returns:
        user_id, item_id, events, targets, weight, top_weight, last_ts, days, first_day, last_day and ``also``.
    """
    return window.group_by("user_id", "item_id").agg(
        *_sums(),
        nw.col("top_weight").max(),
        nw.col("last_ts").max(),
        *_days(),
        *(exact_sum(nw.col(name)).alias(name) for name in also),
    )


def merge_item_activity(window: Frame) -> Frame:
    """One row per item of a window of ``ITEM_ACTIVITY`` with ``dt``.

    Returns:
        item_id, events, targets, weight, users (user days), sessions, last_ts, days, first_day, last_day.
    """
    return window.group_by("item_id").agg(
        *_sums(), total(nw.col("users")), total(nw.col("sessions")), nw.col("last_ts").max(), *_days()
    )


def merge_item_pairs(window: Frame) -> Frame:
    """One row per pair of a window of ``ITEM_PAIRS`` with ``dt``.

    Returns:
        item_id, other_item_id, sessions, weight, days, first_day, last_day.
    """
    return window.group_by("item_id", "other_item_id").agg(
        total(nw.col("sessions")), exact_sum(nw.col("weight")).alias("weight"), *_days()
    )


def _sums() -> tuple[nw.Expr, ...]:
    return total(nw.col("events")), total(nw.col("targets")), exact_sum(nw.col("weight")).alias("weight")


def _days() -> tuple[nw.Expr, ...]:
    # A mart has each key once a day, so rows are days.
    return (
        nw.len().cast(nw.Int64).alias("days"),
        nw.col("dt").min().alias("first_day"),
        nw.col("dt").max().alias("last_day"),
    )
