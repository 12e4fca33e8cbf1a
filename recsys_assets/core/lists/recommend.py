"""The final lists: candidates in the order of the winner, after the re-ranking policy."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.contracts import generators_in
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.lists.new_items import apply_new_item_quota
from recsys_assets.core.lists.reranking import RerankingPolicy, apply_policy

LONGEST = 100
"""Longest list that contract RECOMMENDATIONS allows."""


def recommend(
    candidates: Frame,
    order_by: str,
    scores: Frame | None = None,
    k: int = LONGEST,
    policy: RerankingPolicy | None = None,
    item_features: Frame | None = None,
) -> Frame:
    """Order each user's candidates and keep the best.

    Args:
        candidates: frame of contract CANDIDATES, as of day D; with features where there is a policy.
        order_by: 'ranker' orders by ``scores``, 'fused' by fused_rank, a generator by its own rank. Where a generator's
            list ends, fused_rank continues it; those rows have the source 'fused' and the score fused_score, capped at
            the lowest score above them.
        scores: user_id, item_id, score of exactly these candidates; only for 'ranker'.
        k: most items of a user, 1 to 100.
        policy: see :func:`~recsys_assets.core.lists.reranking.apply_policy` and
            :func:`~recsys_assets.core.lists.new_items.apply_new_item_quota`; a list is shorter than ``k`` where the
            policy leaves too few candidates.
        item_features: frame of contract ITEM_FEATURES as of day D; only for a policy.

    Returns:
        Frame of contract RECOMMENDATIONS. Equal scores of the ranker are ordered by item_id.

    Raises:
        ValueError: an unknown ``order_by``, 'ranker' without scores, a policy without features, or k out of range.
    """
    if not 1 <= k <= LONGEST:
        raise ValueError(f"recommendations: k is {k}, expected 1 to {LONGEST}")
    ranked = _ranked(candidates, order_by, scores)
    if policy is not None and policy.any:
        if item_features is None:
            raise ValueError("recommendations: a re-ranking policy needs the items' features, found none")
        ranked = apply_policy(ranked, candidates, item_features, policy)
        ranked = apply_new_item_quota(ranked, candidates, k, policy.new)
    return ranked.filter(nw.col("rank") <= k)


def _ranked(candidates: Frame, order_by: str, scores: Frame | None) -> Frame:
    """All candidates of each user in order: user_id, item_id, rank, score, source."""
    if order_by == "ranker":
        if scores is None:
            raise ValueError("recommendations: order_by is 'ranker', expected the scores of the candidates, found none")
        ordered = scores.with_columns(priority=nw.col("score"), source=nw.lit("ranker"))
    elif order_by == "fused":
        return candidates.select("user_id", "item_id", rank="fused_rank", score="fused_score", source=nw.lit("fused"))
    elif order_by in (generators := generators_in(candidates.collect_schema().names())):
        ordered = _generator_first(candidates, order_by)
    else:
        expected = ", ".join(("ranker", "fused", *generators))
        raise ValueError(f"recommendations: order_by is '{order_by}', expected one of {expected}")
    return dense_rank(ordered, ["user_id"], "priority", ["item_id"]).select(
        "user_id", "item_id", "rank", "score", "source"
    )


def _generator_first(candidates: Frame, generator: str) -> Frame:
    """Columns priority, score, source: the generator's own items by its rank, then the others by fused_rank."""
    score, place = nw.col(f"{generator}_score"), nw.col(f"{generator}_rank")
    own = ~place.is_null()
    ranked = candidates.with_columns(
        own=nw.when(own).then(1).otherwise(0),
        place=nw.when(own).then(-place).otherwise(-nw.col("fused_rank")),
        lowest=nw.when(own).then(score).otherwise(None).min().over("user_id"),
    )
    filler = nw.min_horizontal("fused_score", "lowest")
    return ranked.with_columns(
        score=nw.when(own).then(score).otherwise(filler),
        source=nw.when(own).then(nw.lit(generator)).otherwise(nw.lit("fused")),
        priority=nw.col("place") - (1 - nw.col("own")) * 2**40,
    )
