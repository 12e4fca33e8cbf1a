"""Items that meet in sessions: cosine over the merged pair counts."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.activity.merge import merge_item_activity, merge_item_pairs
from recsys_assets.core.frames import top_k
from recsys_assets.engines.base import Frame


@dataclass(frozen=True)
class CovisitParams:
    """How items that meet are compared.

    Args:
        k: neighbours per item.
        shrinkage: sessions added to the denominator, so that one chance meeting of two rare items is not certainty.
    """

    k: int = 60
    shrinkage: float = 5.0


def covisit_similarity(item_pairs: Frame, item_activity: Frame, params: CovisitParams) -> Frame:
    """The nearest items by co-visitation: weight(i,j) / (sqrt(sessions_i * sessions_j) + shrinkage).

    Args:
        item_pairs: window of ``ITEM_PAIRS`` with ``dt``.
        item_activity: the same days of ``ITEM_ACTIVITY``.
        params: sizes.

    Returns:
        item_id, similar_item_id, score, rank: both directions of each pair, never the item itself.
    """
    pairs = merge_item_pairs(item_pairs).select("item_id", nw.col("other_item_id").alias("similar_item_id"), "weight")
    sessions = merge_item_activity(item_activity).select("item_id", "sessions")
    other = sessions.select(nw.col("item_id").alias("similar_item_id"), nw.col("sessions").alias("__others"))
    norm = (nw.col("sessions").cast(nw.Float64) * nw.col("__others").cast(nw.Float64)).sqrt()
    scored = (
        pairs.join(sessions, on="item_id", how="inner")
        .join(other, on="similar_item_id", how="inner")
        .select("item_id", "similar_item_id", (nw.col("weight") / (norm + params.shrinkage)).alias("score"))
    )
    mirrored = scored.select(
        nw.col("similar_item_id").alias("item_id"), nw.col("item_id").alias("similar_item_id"), "score"
    )
    both = nw.concat([scored, mirrored], how="vertical")
    return top_k(both, params.k, by=["item_id"], score="score", ties=["similar_item_id"])
