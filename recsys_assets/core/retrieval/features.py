"""Features of candidates, all as of the end of day D (``FEATURES``)."""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.activity.clock import hours_before, last_days
from recsys_assets.core.activity.merge import merge_item_activity
from recsys_assets.core.contracts import FEATURES
from recsys_assets.core.frames import exact_sum
from recsys_assets.core.retrieval.generators import category_shares
from recsys_assets.engines.base import Frame

_PRIOR_EVENTS = 20.0
"""Events at the average conversion that each item is given, so that one lucky event is not a conversion of 1."""


def with_features(
    pairs: Frame,
    history: Frame,
    popularity: Frame,
    item_features: Frame,
    as_of: date,
    end: datetime,
    trending_days: int,
) -> Frame:
    """Join the features to pairs. What is a count is 0 where nothing happened; times and shares are null then.

    Features are made single precision before they are joined: there are far fewer users and items than pairs.

    Args:
        pairs: user_id, item_id and any further columns.
        history: :func:`~recsys_assets.core.retrieval.generators.user_history` of the users of the pairs.
        popularity: ``ITEM_ACTIVITY`` with ``dt`` of the popularity window.
        item_features: ``ITEM_FEATURES`` of D.
        as_of: D.
        end: the instant at which D ends.
        trending_days: window of item_trend.
    """
    shares = category_shares(history, item_features).select(
        "user_id", "category_id", nw.col("share").cast(nw.Float32).alias("user_category_share")
    )
    wide = (
        pairs.join(_pair_features(history), on=["user_id", "item_id"], how="left")
        .join(_user_features(history), on="user_id", how="left")
        .join(
            _items(_catalog_features(item_features), _item_features(popularity, as_of, end, trending_days)),
            on="item_id",
            how="left",
        )
        .join(shares, on=["user_id", "category_id"], how="left")
        .drop("category_id")
    )
    counts = [name for name in FEATURES if name in _COUNTS]
    # The zero is double precision, and some engines widen to it.
    return wide.with_columns(nw.col(*counts).fill_null(0.0).cast(nw.Float32))


_COUNTS = frozenset(
    f"{kind}_{what}"
    for kind, whats in {
        "ui": ("events", "days", "targets", "weight", "top_weight"),
        "user": ("events", "items", "targets", "category_share"),
        "item": ("events", "targets", "users"),
    }.items()
    for what in whats
)


def _pair_features(history: Frame) -> Frame:
    return history.select(
        "user_id",
        "item_id",
        *(
            nw.col(name).cast(nw.Float32).alias(f"ui_{name}")
            for name in ("events", "days", "targets", "weight", "top_weight", "hours_since")
        ),
    )


def _user_features(history: Frame) -> Frame:
    features = history.group_by("user_id").agg(
        nw.col("events").sum().alias("user_events"),
        nw.len().alias("user_items"),
        nw.col("targets").sum().alias("user_targets"),
        nw.col("hours_since").min().alias("user_hours_since"),
    )
    return _single(features, ["user_id"])


def _single(frame: Frame, others: list[str]) -> Frame:
    """All columns but the others as float32."""
    names = [name for name in frame.collect_schema().names() if name not in others]
    return frame.select(*others, nw.col(*names).cast(nw.Float32))


def _items(catalog: Frame, activity: Frame) -> Frame:
    """What is known of an item from either side, in one table, since each join of the pairs costs."""
    known = nw.concat([catalog.select("item_id"), activity.select("item_id")], how="vertical").unique()
    return known.join(_single(catalog, ["item_id", "category_id"]), on="item_id", how="left").join(
        _single(activity, ["item_id"]), on="item_id", how="left"
    )


def _item_features(popularity: Frame, as_of: date, end: datetime, trending_days: int) -> Frame:
    merged = merge_item_activity(popularity)
    recent = (
        last_days(popularity, as_of, trending_days)
        .group_by("item_id")
        .agg(exact_sum(nw.col("weight")).alias("__recent"))
    )
    everything = merged.select(nw.col("events").sum().alias("__events"), nw.col("targets").sum().alias("__targets"))
    average = nw.col("__targets") / nw.col("__events").cast(nw.Float64)
    return (
        merged.join(recent, on="item_id", how="left")
        .join(everything, how="cross")
        .select(
            "item_id",
            nw.col("events").alias("item_events"),
            nw.col("targets").alias("item_targets"),
            nw.col("users").alias("item_users"),
            ((nw.col("targets") + _PRIOR_EVENTS * average) / (nw.col("events") + _PRIOR_EVENTS)).alias(
                "item_conversion"
            ),
            nw.when(nw.col("weight") > 0)
            .then(nw.col("__recent").fill_null(0.0) / nw.col("weight"))
            .alias("item_trend"),
            hours_before(nw.col("last_ts"), end).alias("item_hours_since"),
        )
    )


def _catalog_features(item_features: Frame) -> Frame:
    return item_features.select(
        "item_id",
        "category_id",
        nw.col("days_known").alias("item_days_known"),
        nw.col("price").alias("item_price"),
        nw.col("depth").alias("item_depth"),
    )
