"""Rules of the final lists: what was bought is left out, no category takes a list over, and lists vary.

That items are available is a rule of the candidates (``RECSYS_EXCLUDE_UNAVAILABLE``), since an item that is gone would
take the place of one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import narwhals as nw
import numpy as np

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank, running_total
from recsys_assets.core.lists.new_items import NewItems

_PAIR = ["user_id", "item_id"]

STEEPNESS = 10.0
"""How slowly relevance falls with rank, c / (c - 1 + rank): half of the first item's at rank c + 1."""

SAME_CATEGORY, SAME_ROOT = 1.0, 0.5
"""Similarity of two items of one category, and of two categories below one root."""


@dataclass(frozen=True)
class RerankingPolicy:
    """What a list has to keep to.

    Args:
        exclude_purchased: leave out items that the user bought within the activity window.
        purchased_from: weight of the event type that buys: the deepest step that counts as a target.
        category_cap: most items of one category in a list; 0 for any number.
        diversity: 0 keeps the order; 1 orders by what is unlike the items above alone.
        new: the share of new items, which comes last.
    """

    exclude_purchased: bool = False
    purchased_from: float = 0.0
    category_cap: int = 0
    diversity: float = 0.0
    new: NewItems = field(default_factory=NewItems)

    @property
    def by_category(self) -> bool:
        """Whether the categories of items matter."""
        return self.category_cap > 0 or self.diversity > 0

    @property
    def any(self) -> bool:
        """Whether there is anything to keep to."""
        return self.exclude_purchased or self.by_category or self.new.any


def categories_of(item_features: Frame) -> Frame:
    """item_id, category_id and root_id of the items of contract ITEM_FEATURES.

    A category that is not in the tree is a root of its own. Both are null for an item without a category, which is
    like no other.
    """
    return item_features.select("item_id", "category_id", root_id=nw.coalesce("root_id", "category_id"))


def apply_rules(ranked: Frame, candidates: Frame, item_features: Frame, rules: RerankingPolicy) -> Frame:
    """Leave out and reorder what the rules say, in the whole order of each user's candidates.

    Diversity is maximal marginal relevance (Carbonell and Goldstein, 1998): again and again the item with the most
    (1 - d) * relevance - d * similarity to the most similar item chosen before. Relevance falls with the rank and not
    with the score, whose scale is the model's own. Similarity is that of the category tree, for which the choice needs
    no loop. The first of a root in the order given is like nothing chosen before it, the first of a category is like
    one of its root, and each further item is like one of its category: what each is compared with is known from the
    order alone. So the number of categories among the first k of a list never falls as ``diversity`` grows.

    Args:
        ranked: user_id, item_id, rank (1 is best, dense within the user), score (non-increasing in rank) and source.
        candidates: frame of contract CANDIDATES that holds these pairs; says what was bought.
        item_features: frame of contract ITEM_FEATURES as of the same day.
        rules: at least one of them.

    Returns:
        The columns of ``ranked`` with new ranks. Scores are the model's, held at most at the lowest one above.
    """
    columns = ["user_id", "item_id", "rank", "score", "source"]
    rows = ranked.select(columns)
    if rules.exclude_purchased:
        # Candidates hold single precision, in which the weight has to be said too.
        purchased = candidates.filter(nw.col("ui_top_weight") >= float(np.float32(rules.purchased_from))).select(_PAIR)
        rows = _renumbered(rows.join(purchased, on=_PAIR, how="anti"), -nw.col("rank"))
    if rules.by_category:
        placed = rows.join(categories_of(item_features), on="item_id", how="left")
        placed = placed.with_columns(__one=nw.lit(1, dtype=nw.Int64))
        placed = placed.with_columns(
            __in_category=running_total(nw.col("__one"), ["user_id", "category_id"], ["rank"]),
            __in_root=running_total(nw.col("__one"), ["user_id", "root_id"], ["rank"]),
            __known=~nw.col("category_id").is_null(),
        )
        if rules.category_cap:
            placed = placed.filter(~nw.col("__known") | (nw.col("__in_category") <= rules.category_cap))
        rows = _renumbered(placed, _marginal(rules.diversity))
    lowest = nw.col("score").cum_min().over("user_id", order_by="rank")
    return rows.select(columns).with_columns(score=lowest)


def _marginal(diversity: float) -> nw.Expr:
    """Relevance less similarity to what stands above."""
    relevance = STEEPNESS / (STEEPNESS - 1 + nw.col("rank").cast(nw.Float64))
    like = (
        nw.when(nw.col("__known") & (nw.col("__in_category") > 1))
        .then(nw.lit(SAME_CATEGORY))
        .otherwise(
            nw.when(nw.col("__known") & (nw.col("__in_root") > 1)).then(nw.lit(SAME_ROOT)).otherwise(nw.lit(0.0))
        )
    )
    return relevance * (1 - diversity) - like * diversity


def _renumbered(rows: Frame, value: nw.Expr) -> Frame:
    """Rank each user's rows anew by a value, best first; where it is equal, the old order stays."""
    valued = rows.with_columns(__value=value).rename({"rank": "__before"})
    return dense_rank(valued, ["user_id"], "__value", ["__before"]).drop("__value", "__before")
