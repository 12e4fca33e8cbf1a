"""The properties of each item at the end of day D."""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.clock import days_before
from recsys_assets.core.contracts import ITEM_FEATURES
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.vocabulary import YES


def item_features(properties: Frame, item_activity: Frame, tree: Frame, end: datetime, as_of: date) -> Frame:
    """Items with the last value of each of their properties at the end of day D (``ITEM_FEATURES``).

    The newest snapshot of each property before ``end`` counts; later ones change nothing. All items are read as of the
    same moment, so no as-of join is needed.

    Args:
        properties: window of ``ITEM_PROPERTIES`` with ``dt``.
        item_activity: window of ``ITEM_ACTIVITY`` with ``dt``; items with activity or a property are in the result.
        tree: ``CATEGORY_TREE``; a category outside it keeps its id, with null root and depth.
        end: the instant at which D ends (exclusive), with its time zone.
        as_of: D.

    Returns:
        ITEM_FEATURES. An item that never stated its availability is available; one whose last availability or price
        means nothing that is known has null there.
    """
    snapshots = properties.filter((nw.col("dt") <= as_of) & (nw.col("ts") < end))
    newest = snapshots.group_by("item_id", "property").agg(nw.col("ts").max())
    last = snapshots.join(newest, on=["item_id", "property", "ts"], how="semi")
    wide = last.group_by("item_id").agg(
        *(_value_of(name) for name in ("category", "available", "price", "brand", "title")),
        nw.when(nw.col("property") == "available").then(nw.lit("stated")).max().alias("__stated"),
    )
    values = wide.select(
        "item_id",
        nw.col("category").alias("category_id"),
        (nw.col("available") == YES).alias("available"),
        nw.col("price").cast(nw.Float64),
        "__stated",
        "brand",
        "title",
    )
    seen = (
        nw.concat(
            [snapshots.select("item_id", "dt"), item_activity.filter(nw.col("dt") <= as_of).select("item_id", "dt")],
            how="vertical",
        )
        .group_by("item_id")
        .agg(nw.col("dt").min().alias("first_seen"))
    )
    return (
        seen.join(values, on="item_id", how="left")
        .join(tree.select("category_id", "root_id", "depth"), on="category_id", how="left")
        .with_columns(
            available=nw.when(nw.col("__stated").is_null()).then(nw.lit(True)).otherwise(nw.col("available")),
            days_known=days_before(nw.col("first_seen"), as_of) + 1,
        )
        .select(*ITEM_FEATURES.columns)
    )


def _value_of(name: str) -> nw.Expr:
    return nw.when(nw.col("property") == name).then(nw.col("value")).max().alias(name)
