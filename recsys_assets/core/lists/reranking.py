"""The re-ranking policy of the final lists: exclude purchased items, cap categories, diversify.

Unavailable items are excluded from the candidates already (``RECSYS_EXCLUDE_UNAVAILABLE``): here they would have taken
the places of available ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import narwhals as nw
import numpy as np

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank, running_total
from recsys_assets.core.lists.new_items import NewItemQuota

_PAIR = ["user_id", "item_id"]

STEEPNESS = 10.0
"""How slowly relevance decreases with rank, c / (c - 1 + rank): half of the first item's at rank c + 1."""

SAME_CATEGORY, SAME_ROOT = 1.0, 0.5
"""Similarity of two items of one category, and of two categories below one root."""


@dataclass(frozen=True)
class RerankingPolicy:
    """What is done to the winner's order before it becomes the final list.

    Args:
        exclude_purchased: exclude items that the user purchased within the activity window.
        purchased_from: least weight of an event that counts as a purchase: that of the deepest target event.
        category_cap: most items of one category in a list; 0 for any number.
        diversity: 0 keeps the order; 1 orders only by dissimilarity to the items above.
        new: the quota of new items, which is applied last.
    """

    exclude_purchased: bool = False
    purchased_from: float = 0.0
    category_cap: int = 0
    diversity: float = 0.0
    new: NewItemQuota = field(default_factory=NewItemQuota)

    @property
    def by_category(self) -> bool:
        """Whether the categories of items matter."""
        return self.category_cap > 0 or self.diversity > 0

    @property
    def any(self) -> bool:
        """Whether the policy changes anything."""
        return self.exclude_purchased or self.by_category or self.new.any


def categories_of(item_features: Frame) -> Frame:
    """item_id, category_id and root_id of the items of contract ITEM_FEATURES.

    A category that is not in the tree is a root of its own. Both are null for an item without a category, which is
    similar to no other item.
    """
    return item_features.select("item_id", "category_id", root_id=nw.coalesce("root_id", "category_id"))


def apply_policy(ranked: Frame, candidates: Frame, item_features: Frame, policy: RerankingPolicy) -> Frame:
    """Exclude and reorder items in the whole order of each user's candidates; the quota of new items is not applied.

    Diversity is maximal marginal relevance (Carbonell and Goldstein, 1998): repeatedly choose the item with the
    highest (1 - d) * relevance - d * similarity to the most similar item chosen before. Relevance decreases with the
    rank, not the score, whose scale depends on the model. Similarity is that of the category tree, which makes a loop
    unnecessary: the first item of a root has no similar item before it, the first of a category is similar to one of
    its root, and each further item is similar to one of its category, so the similarity of each item follows from the
    original order. The number of categories among the first k of a list never falls as ``diversity`` grows.

    Args:
        ranked: user_id, item_id, rank (1 is best, dense within the user), score (non-increasing in rank) and source.
        candidates: these pairs with features, for what was purchased.
        item_features: frame of contract ITEM_FEATURES as of the same day.
        policy: what to apply.

    Returns:
        The columns of ``ranked`` with new ranks. Scores are the model's, capped at the lowest one above.
    """
    columns = ["user_id", "item_id", "rank", "score", "source"]
    rows = ranked.select(columns)
    if policy.exclude_purchased:
        # Candidates hold single precision, so the weight is rounded likewise.
        purchased = candidates.filter(nw.col("ui_top_weight") >= float(np.float32(policy.purchased_from))).select(_PAIR)
        rows = _renumbered(rows.join(purchased, on=_PAIR, how="anti"), -nw.col("rank"))
    if policy.by_category:
        placed = rows.join(categories_of(item_features), on="item_id", how="left")
        placed = placed.with_columns(__one=nw.lit(1, dtype=nw.Int64))
        placed = placed.with_columns(
            __in_category=running_total(nw.col("__one"), ["user_id", "category_id"], ["rank"]),
            __in_root=running_total(nw.col("__one"), ["user_id", "root_id"], ["rank"]),
            __categorized=~nw.col("category_id").is_null(),
        )
        if policy.category_cap:
            placed = placed.filter(~nw.col("__categorized") | (nw.col("__in_category") <= policy.category_cap))
        rows = _renumbered(placed, _marginal(policy.diversity))
    lowest = nw.col("score").cum_min().over("user_id", order_by="rank")
    return rows.select(columns).with_columns(score=lowest)


def _marginal(diversity: float) -> nw.Expr:
    """Weighted relevance minus weighted similarity to the most similar item above."""
    relevance = STEEPNESS / (STEEPNESS - 1 + nw.col("rank").cast(nw.Float64))
    similarity = (
        nw.when(nw.col("__categorized") & (nw.col("__in_category") > 1))
        .then(nw.lit(SAME_CATEGORY))
        .otherwise(
            nw.when(nw.col("__categorized") & (nw.col("__in_root") > 1)).then(nw.lit(SAME_ROOT)).otherwise(nw.lit(0.0))
        )
    )
    return relevance * (1 - diversity) - similarity * diversity


def _renumbered(rows: Frame, value: nw.Expr) -> Frame:
    """Rank each user's rows by a new value, best first; equal values keep the old order."""
    valued = rows.with_columns(__value=value).rename({"rank": "__before"})
    return dense_rank(valued, ["user_id"], "__value", ["__before"]).drop("__value", "__before")
