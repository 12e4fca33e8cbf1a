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
ALL_TIME = 36_500
"""Days, more than any data set has: a window of all days, or a half-life with which nothing decays."""


@dataclass(frozen=True)
class PopularParams:
    """How popularity is measured.

    Args:
        days: window of 'all'; below one day, events are counted by the hour, and ``ALL_TIME`` has no limit.
        trending_days: window of 'trending', where its half-life is a day or more.
        trending_half_life: days in which an event's weight halves for 'trending'; below one day, events are aged by
            the hour, and with ``ALL_TIME`` nothing decays.
        k: items per segment: more than a user gets, so that items excluded for one user can be replaced.
        exclude_unavailable: leave out items known to be unavailable.
        category_days: window of the categories; None: that of 'all'.
        fallback: the segment for users who are not known: 'all' or 'trending'.
    """

    days: float = 28
    trending_days: int = 7
    trending_half_life: float = 2.0
    k: int = 200
    exclude_unavailable: bool = True
    category_days: float | None = None
    fallback: str = ALL

    @property
    def hourly(self) -> bool:
        """Whether a segment needs the events by hour."""
        return min(self.days, self.trending_half_life, self.category_days or self.days) < 1


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

    Where a window holds fewer than k items, 'all' and 'trending' go on with the other items of ``item_activity``, at
    score 0; of equal scores, the item with the most weight in all of it comes first.

    Args:
        item_activity: window of ``ITEM_ACTIVITY`` with ``dt``.
        item_features: ``ITEM_FEATURES`` of D, for the categories and the availability.
        as_of: D.
        params: windows and sizes.
        hours: :func:`item_hours` up to the end of D, of ``HOURLY_DAYS``; for windows and half-lives below one day.

    Raises:
        ValueError: a window or half-life is below one day, and there are no hours.
    """
    if params.hourly and hours is None:
        raise ValueError(f"a window or half-life below one day needs the events by hour, found {params}")
    features = item_features.select("item_id", "category_id", "available")
    unavailable = features.filter(~nw.col("available")) if params.exclude_unavailable else features.head(0)

    def available(rows: Frame) -> Frame:
        return rows.join(unavailable, on="item_id", how="anti")

    days = available(last_days(item_activity, as_of, ALL_TIME))
    by_hour = None if hours is None else available(hours.filter(nw.col("hours") >= 0))
    ever = _popularity(days, nw.col("weight")).rename({"score": "__ever"})
    of_categories = _window(days, by_hour, as_of, params.category_days or params.days)
    by_category = of_categories.join(
        features.filter(~nw.col("category_id").is_null()), on="item_id", how="inner"
    ).select(
        nw.concat_str(nw.lit(CATEGORY), nw.col("category_id")).alias("segment"), "item_id", "score", __ever=nw.lit(0.0)
    )
    segments = [
        _completed(_window(days, by_hour, as_of, params.days), ever, ALL),
        _completed(_trending(days, by_hour, as_of, params), ever, TRENDING),
        by_category,
    ]
    # Ties are ascending: of equal scores, the greatest weight first.
    ordered = nw.concat(segments, how="vertical").with_columns(__rest=-nw.col("__ever"))
    best = top_k(ordered, params.k, by=["segment"], score="score", ties=["__rest", "item_id"])
    return best.select("segment", "item_id", "score", "rank", is_fallback=nw.col("segment") == params.fallback)


def _window(days: Frame, by_hour: Frame | None, as_of: date, length: float) -> Frame:
    """item_id and score of the items of a window."""
    if length >= 1 or by_hour is None:
        return _popularity(last_days(days, as_of, int(length)), nw.col("weight"))
    return _popularity(by_hour.filter(nw.col("hours") < round(length * 24)), nw.col("weight"))


def _trending(days: Frame, by_hour: Frame | None, as_of: date, params: PopularParams) -> Frame:
    """item_id and score with the half-life of 'trending'."""
    life = params.trending_half_life
    if life >= ALL_TIME:
        return _popularity(days, nw.col("weight"))
    if life >= 1 or by_hour is None:
        lately, age = last_days(days, as_of, params.trending_days), days_before(nw.col("dt"), as_of)
    else:
        lately, age = by_hour.filter(nw.col("hours") < HOURLY_DAYS * 24), nw.col("hours") * (1 / 24)
    return _popularity(lately, nw.col("weight") * half_life(age, life))


def _completed(window: Frame, ever: Frame, segment: str) -> Frame:
    """The scores of a window as a segment, with the items that it does not hold at 0."""
    return ever.join(window, on="item_id", how="left").select(
        nw.lit(segment).alias("segment"), "item_id", nw.col("score").fill_null(0.0), "__ever"
    )


def _popularity(window: Frame, weight: nw.Expr) -> Frame:
    scored = window.with_columns(__weight=weight).group_by("item_id").agg(exact_sum(nw.col("__weight")).alias("score"))
    return scored.filter(nw.col("score") > 0)
