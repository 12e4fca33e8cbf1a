"""Popular items: of a window, of the last days, and of each category."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.activity.marts import EventWeights
from recsys_assets.core.clock import days_before, half_life, hours_before, last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import exact_sum, top_k

ALL = "all"
TRENDING = "trending"
CATEGORY = "category:"
HOURLY_DAYS = 3
"""Window of a half-life below one day, counted in hours."""


@dataclass(frozen=True)
class PopularParams:
    """How popularity is measured.

    Args:
        days: window of 'all'.
        trending_days: window of 'trending', where its half-life is a day or more.
        trending_half_life: days in which an event's weight halves for 'trending'; below one day, events are aged by
            the hour.
        k: items per segment: more than a user gets, so that items excluded for one user can be replaced.
        exclude_unavailable: leave out items known to be unavailable.
        category_days: window of the categories; None: that of 'all'.
    """

    days: int = 28
    trending_days: int = 7
    trending_half_life: float = 2.0
    k: int = 200
    exclude_unavailable: bool = True
    category_days: int | None = None


def item_hours(events: Frame, weights: EventWeights, end: datetime) -> Frame:
    """Weight of the events of each item, by the hour.

    Args:
        events: clean events of some days, without those of bots.
        weights: weight of each event type.
        end: the instant at which the last of the days ends.

    Returns:
        item_id, hours (whole hours from the event to ``end``, 0 within the last one), weight.
    """
    # The clock counts whole seconds, by which an event within the last one is 0 hours old, not less.
    hours = hours_before(nw.col("ts"), end).floor().cast(nw.Int64)
    aged = events.with_columns(weight=weights.weight(), hours=hours)
    return aged.group_by("item_id", "hours").agg(exact_sum(nw.col("weight")).alias("weight"))


def top_popular(
    item_activity: Frame, item_features: Frame, as_of: date, params: PopularParams, hours: Frame | None = None
) -> Frame:
    """The most popular items of each segment as of day D (``TOP_POPULAR``), by summed event weight.

    Args:
        item_activity: window of ``ITEM_ACTIVITY`` with ``dt``; only the days that a segment asks for are read.
        item_features: ``ITEM_FEATURES`` of D, for the categories and the availability.
        as_of: D.
        params: windows and sizes.
        hours: :func:`item_hours` up to the end of D, of ``HOURLY_DAYS``; for a half-life below one day.

    Raises:
        ValueError: the half-life is below one day, and there are no hours.
    """
    features = item_features.select("item_id", "category_id", "available")
    unavailable = features.filter(~nw.col("available")) if params.exclude_unavailable else features.head(0)
    item_activity = item_activity.join(unavailable, on="item_id", how="anti")
    window = _popularity(last_days(item_activity, as_of, params.days), nw.col("weight"))
    if params.trending_half_life >= 1:
        lately = last_days(item_activity, as_of, params.trending_days)
        age = days_before(nw.col("dt"), as_of)
    elif hours is None:
        raise ValueError(f"a half-life of {params.trending_half_life} days needs the events by hour")
    else:
        recent = hours.filter((nw.col("hours") >= 0) & (nw.col("hours") < HOURLY_DAYS * 24))
        lately = recent.join(unavailable, on="item_id", how="anti")
        age = nw.col("hours") * (1 / 24)
    trending = _popularity(lately, nw.col("weight") * half_life(age, params.trending_half_life))
    of_categories = window
    if params.category_days not in (None, params.days):
        of_categories = _popularity(last_days(item_activity, as_of, params.category_days), nw.col("weight"))
    by_category = of_categories.join(
        features.filter(~nw.col("category_id").is_null()), on="item_id", how="inner"
    ).select(nw.concat_str(nw.lit(CATEGORY), nw.col("category_id")).alias("segment"), "item_id", "score")
    segments = [
        window.select(nw.lit(ALL).alias("segment"), "item_id", "score"),
        trending.select(nw.lit(TRENDING).alias("segment"), "item_id", "score"),
        by_category,
    ]
    return top_k(nw.concat(segments, how="vertical"), params.k, by=["segment"], score="score", ties=["item_id"])


def _popularity(window: Frame, weight: nw.Expr) -> Frame:
    scored = window.with_columns(__weight=weight).group_by("item_id").agg(exact_sum(nw.col("__weight")).alias("score"))
    return scored.filter(nw.col("score") > 0)
