"""One table of similar items: by co-visitation, by factors, and both fused."""

from __future__ import annotations

from collections.abc import Iterator

import narwhals as nw

from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import exact_sum, top_k
from recsys_assets.core.parts import by_rows

RRF_CONSTANT = 60
"""Rank at which the weight of a list's entry has halved against its top: Cormack, Clarke and Büttcher, 2009."""


def similar_in_parts(engine: Engine, covisit: Frame, factors: Frame, k: int) -> Iterator[Frame]:
    """The rows of :func:`similar_items`, by ranges of items where the engine prefers parts."""
    for near, alike in by_rows(engine, "item_id", covisit, factors, makes=3):
        yield similar_items(near, alike, k)


def similar_items(covisit: Frame, factors: Frame, k: int) -> Frame:
    """Stack the neighbours of each source and fuse them by reciprocal rank (``SIMILAR_ITEMS``).

    Args:
        covisit: item_id, similar_item_id, score, rank by co-visitation.
        factors: the same by factors.
        k: neighbours per item and source.
    """
    columns = ["item_id", "similar_item_id", "score", "rank"]
    lists = [
        frame.select(*columns)
        .filter(nw.col("rank") <= k)
        .with_columns(nw.col("rank").cast(nw.Int64), generator=nw.lit(name))
        for name, frame in (("covisit", covisit), ("als", factors))
    ]
    stacked = nw.concat(lists, how="vertical")
    scored = (
        stacked.with_columns(__quota=1.0 / (RRF_CONSTANT + nw.col("rank")))
        .group_by("item_id", "similar_item_id")
        .agg(exact_sum(nw.col("__quota")).alias("score"), __best=nw.col("rank").min())
    )
    # The list that has the neighbour at the better place has the larger share; of equal places, 'covisit'.
    covisited = lists[0].select("item_id", "similar_item_id", __covisit=nw.col("rank"))
    scored = scored.join(covisited, on=["item_id", "similar_item_id"], how="left").with_columns(
        generator=nw.when(nw.col("__covisit") == nw.col("__best")).then(nw.lit("covisit")).otherwise(nw.lit("als"))
    )
    fused = top_k(scored, k, by=["item_id"], score="score", ties=["similar_item_id"])
    parts = zip(("covisit", "als", "fused"), [*lists, fused.select(*columns, "generator")], strict=True)
    return nw.concat(
        [
            part.select(
                "item_id",
                nw.lit(source).alias("source"),
                "similar_item_id",
                "score",
                nw.col("rank").cast(nw.Int64).alias("rank"),
                "generator",
            )
            for source, part in parts
        ],
        how="vertical",
    )
