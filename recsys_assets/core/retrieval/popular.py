"""Popular items: of a window, of the last days, and of each category."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import narwhals as nw

from recsys_assets.core.activity.clock import days_before, half_life, last_days
from recsys_assets.core.frames import exact_sum, top_k
from recsys_assets.engines.base import Frame

ALL = "all"
TRENDING = "trending"
CATEGORY = "category:"


@dataclass(frozen=True)
class PopularParams:
    """How popularity is measured.

    Args:
        days: window of 'all' and of the categories.
        trending_days: window of 'trending'.
        trending_half_life: days in which an event's weight halves for 'trending'.
        k: items per segment. More than a user is given, so that items left out for one user can be replaced.
        exclude_unavailable: leave out items known to be unavailable.
    """

    days: int = 28
    trending_days: int = 7
    trending_half_life: float = 2.0
    k: int = 200
    exclude_unavailable: bool = True


def top_popular(item_activity: Frame, item_features: Frame, as_of: date, params: PopularParams) -> Frame:
    """The most popular items of each segment as of day D (``TOP_POPULAR``), by summed event weight.

    Args:
        item_activity: window of ``ITEM_ACTIVITY`` with ``dt``; only the days that a segment asks for are read.
        item_features: ``ITEM_FEATURES`` of D, for the categories and the availability.
        as_of: D.
        params: windows and sizes.
    """
    known = item_features.select("item_id", "category_id", "available")
    if params.exclude_unavailable:
        item_activity = item_activity.join(known.filter(~nw.col("available")), on="item_id", how="anti")
    window = _popularity(last_days(item_activity, as_of, params.days), nw.col("weight"))
    trending = _popularity(
        last_days(item_activity, as_of, params.trending_days),
        nw.col("weight") * half_life(days_before(nw.col("dt"), as_of), params.trending_half_life),
    )
    by_category = window.join(known.filter(~nw.col("category_id").is_null()), on="item_id", how="inner").select(
        nw.concat_str(nw.lit(CATEGORY), nw.col("category_id")).alias("segment"), "item_id", "score"
    )
    segments = [
        window.select(nw.lit(ALL).alias("segment"), "item_id", "score"),
        trending.select(nw.lit(TRENDING).alias("segment"), "item_id", "score"),
        by_category,
    ]
    return top_k(nw.concat(segments, how="vertical"), params.k, by=["segment"], score="score", ties=["item_id"])


def _popularity(window: Frame, weight: nw.Expr) -> Frame:
    scored = window.with_columns(__weight=weight).group_by("item_id").agg(exact_sum(nw.col("__weight")).alias("score"))
    return scored.filter(nw.col("score") > 0)
