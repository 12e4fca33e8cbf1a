"""Items that co-occur in sessions: cosine over the merged pair counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.activity.merge import merge_item_activity, merge_item_pairs
from recsys_assets.core.engine import Engine, Frame, Persist, unchanged
from recsys_assets.core.frames import exact_sum, top_k
from recsys_assets.core.parts import by_rows


@dataclass(frozen=True)
class CovisitParams:
    """How co-occurring items are compared.

    Args:
        k: neighbours per item.
        shrinkage: sessions added to the denominator, so that a single co-occurrence of two rare items does not score 1.
    """

    k: int = 60
    shrinkage: float = 5.0


def covisit_similarity(
    item_pairs: Frame, item_activity: Frame, params: CovisitParams, persist: Persist = unchanged
) -> Frame:
    """The nearest items by co-visitation: weight(i,j) / (sqrt(sessions_i * sessions_j) + shrinkage).

    Args:
        item_pairs: window of ``ITEM_PAIRS`` with ``dt``.
        item_activity: the same days of ``ITEM_ACTIVITY``.
        params: sizes.
        persist: of the engine.

    Returns:
        item_id, similar_item_id, score, rank: both directions of each pair, never the item itself.
    """
    pairs = merge_item_pairs(item_pairs).select("item_id", nw.col("other_item_id").alias("similar_item_id"), "weight")
    return _nearest(_both_ways(persist(_scored(pairs, _sessions(item_activity), params))), params)


def covisit_in_parts(engine: Engine, item_pairs: Frame, item_activity: Frame, params: CovisitParams) -> Iterator[Frame]:
    """The rows of :func:`covisit_similarity`, by ranges of items where the engine prefers parts."""
    daily = item_pairs.select("item_id", nw.col("other_item_id").alias("similar_item_id"), "weight")
    parts = by_rows(engine, "item_id", _both_ways(daily))
    if len(parts) == 1:
        yield covisit_similarity(item_pairs, item_activity, params, engine.persist)
        return
    sessions = engine.from_arrow(_sessions(item_activity).collect(backend="polars").to_arrow())  # merged once for all
    for (daily_part,) in parts:
        pairs = daily_part.group_by("item_id", "similar_item_id").agg(exact_sum(nw.col("weight")).alias("weight"))
        yield _nearest(_scored(pairs, sessions, params), params)


def _sessions(item_activity: Frame) -> Frame:
    return merge_item_activity(item_activity).select("item_id", "sessions")


def _scored(pairs: Frame, sessions: Frame, params: CovisitParams) -> Frame:
    other = sessions.select(nw.col("item_id").alias("similar_item_id"), nw.col("sessions").alias("__others"))
    norm = _norm(nw.col("sessions"), nw.col("__others"))
    return (
        pairs.join(sessions, on="item_id", how="inner")
        .join(other, on="similar_item_id", how="inner")
        .select("item_id", "similar_item_id", (nw.col("weight") / (norm + params.shrinkage)).alias("score"))
    )


def _norm(left: nw.Expr, right: nw.Expr) -> nw.Expr:
    return (left.cast(nw.Float64) * right.cast(nw.Float64)).sqrt()


def _both_ways(pairs: Frame) -> Frame:
    """Each pair from either side."""
    swapped = {"item_id": "similar_item_id", "similar_item_id": "item_id"}
    columns = pairs.collect_schema().names()
    return nw.concat([pairs, pairs.rename(swapped).select(columns)], how="vertical")


def _nearest(scored: Frame, params: CovisitParams) -> Frame:
    return top_k(scored, params.k, by=["item_id"], score="score", ties=["similar_item_id"])
