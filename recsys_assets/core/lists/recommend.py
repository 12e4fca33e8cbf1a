"""The final lists: candidates ordered by whoever won."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.contracts import GENERATORS
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.lists.new_items import explore
from recsys_assets.core.lists.reranking import RerankingPolicy, apply_rules

LONGEST = 100
"""Longest list that contract RECOMMENDATIONS allows."""


def recommend(
    candidates: Frame,
    order_by: str,
    scores: Frame | None = None,
    k: int = LONGEST,
    rules: RerankingPolicy | None = None,
    item_features: Frame | None = None,
) -> Frame:
    """Order each user's candidates and keep the best.

    Args:
        candidates: frame of contract CANDIDATES, as of day D.
        order_by: 'ranker' orders by ``scores``, 'fused' by fused_rank, a generator by its own rank. Where a generator's
            list ends, fused_rank goes on; those rows name 'fused' as their source, and their score is fused_score, held
            at most at the lowest score above them.
        scores: user_id, item_id, score of exactly these candidates; only for 'ranker'.
        k: most items of a user, 1 to 100.
        rules: what the lists keep to, see :func:`~recsys_assets.core.lists.reranking.apply_rules` and
            :func:`~recsys_assets.core.lists.new_items.explore`; a list is as long as
            the candidates that they leave allow.
        item_features: frame of contract ITEM_FEATURES as of day D; only for rules.

    Returns:
        Frame of contract RECOMMENDATIONS. Equal scores of the ranker are ordered by item_id.

    Raises:
        ValueError: an unknown ``order_by``, 'ranker' without scores, rules without features, or k out of range.
    """
    if not 1 <= k <= LONGEST:
        raise ValueError(f"recommendations: k is {k}, expected 1 to {LONGEST}")
    ranked = _ranked(candidates, order_by, scores)
    if rules is not None and rules.any:
        if item_features is None:
            raise ValueError("recommendations: rules need the items' features, found none")
        ranked = explore(apply_rules(ranked, candidates, item_features, rules), candidates, k, rules.new)
    return ranked.filter(nw.col("rank") <= k)


def _ranked(candidates: Frame, order_by: str, scores: Frame | None) -> Frame:
    """All candidates of each user in order: user_id, item_id, rank, score, source."""
    if order_by == "ranker":
        if scores is None:
            raise ValueError("recommendations: order_by is 'ranker', expected the scores of the candidates, found none")
        ordered = scores.with_columns(priority=nw.col("score"), source=nw.lit("ranker"))
    elif order_by == "fused":
        return candidates.select("user_id", "item_id", rank="fused_rank", score="fused_score", source=nw.lit("fused"))
    elif order_by in GENERATORS:
        ordered = _generator_first(candidates, order_by)
    else:
        expected = ", ".join(("ranker", "fused", *GENERATORS))
        raise ValueError(f"recommendations: order_by is '{order_by}', expected one of {expected}")
    return dense_rank(ordered, ["user_id"], "priority", ["item_id"]).select(
        "user_id", "item_id", "rank", "score", "source"
    )


def _generator_first(candidates: Frame, generator: str) -> Frame:
    """Columns priority, score, source: the generator's own items by its rank, then the others by fused_rank."""
    score, place = nw.col(f"{generator}_score"), nw.col(f"{generator}_rank")
    proposed = ~place.is_null()
    ranked = candidates.with_columns(
        own=nw.when(proposed).then(1).otherwise(0),
        place=nw.when(proposed).then(-place).otherwise(-nw.col("fused_rank")),
        lowest=nw.when(proposed).then(score).otherwise(None).min().over("user_id"),
    )
    filler = nw.min_horizontal("fused_score", "lowest")
    return ranked.with_columns(
        score=nw.when(proposed).then(score).otherwise(filler),
        source=nw.when(proposed).then(nw.lit(generator)).otherwise(nw.lit("fused")),
        priority=nw.col("place") - (1 - nw.col("own")) * 2**40,
    )
