"""Windows of time."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from recsys_assets.core.settings.kinds import days, half_life


class WindowSettings(BaseSettings):
    """Windows of time."""

    horizon_days: int = days(
        7, "how many days ahead a recommendation may come true; also the distance between the ranker's training windows"
    )
    training_windows: int = Field(
        default=8,
        ge=1,
        le=26,
        description="past windows of `RECSYS_HORIZON_DAYS` each that rankers and weights learn from, as far as the "
        "data reach",
    )
    active_days: int = days(28, "who gets a list of their own: users with an event in the last so many days")
    activity_days: int = days(90, "how far back a user's history is read")
    popular_windows: Literal["found", "stated"] = Field(
        default="found",
        description="how far back popular and trending lists count: `found` for each day, from an hour to all time, by "
        "which lists served users best lately; `stated`: by the next two settings and the half-life",
    )
    popular_days: int = days(
        28, "how far back popularity is counted as a feature, and for lists where there is too little to find it by"
    )
    trending_days: int = days(3, "how far back trends are counted, likewise")
    covisit_days: int = days(45, "how far back items seen in one session are counted")
    factors_days: int = days(90, "how far back the events lie that matrix factorization (ALS) is fitted on")
    properties_days: int = days(365, "how far back an item's category, price and other properties are looked up")
    new_item_days: int = days(14, "for how many days from when it was first seen an item is new")
    report_days: int = days(28, "how far back `data_report` and `feedback_report` look")
    backtest_days: int = days(60, "how far back `backtest_report` looks for as-of days")
    attribution_hours: int = Field(
        default=24, ge=1, le=720, description="hours in which an event of an impression's user and item follows from it"
    )
    trending_half_life: float = half_life(2, "among trending items, where it is not found; below 1, hours count")
    repeat_half_life: float = half_life(30, "when items that a user knows are proposed again")
    covisit_half_life: float = half_life(14, "when a user's items say which neighbours to propose")
    factors_half_life: float = half_life(30, "when ALS is fitted")
