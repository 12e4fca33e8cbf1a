"""A quota of each list for new items: without it, an item that was never shown gathers no events and stays unseen."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import running_total

_PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class NewItemQuota:
    """The share of a list that is reserved for new items.

    Args:
        quota: share of the places, 0 to 1; taken to three digits.
        days: for how many days after it was first seen an item is new.
    """

    quota: float = 0.0
    days: int = 14

    @property
    def any(self) -> bool:
        """Whether any place is reserved."""
        return Fraction(self.quota).limit_denominator(1000) > 0


def apply_new_item_quota(ranked: Frame, candidates: Frame, k: int, quota: NewItemQuota) -> Frame:
    """Move the best new items up until every prefix of each list has its share of them.

    The reserved places are fixed: with a quota of 0.1, the 10th, the 20th and so on up to ``k``. Down to each of
    these places, the list has at least as many new items as reserved places so far. New items that are ranked that high
    anyway count. If they are too few, the next best one moves to the reserved place; if the user has no more of them,
    the order stays. So at most quota x k items move up, and the order among new items, and among the others, stays.

    Args:
        ranked: user_id, item_id, rank (1 is best, dense within the user), score (non-increasing in rank) and source:
            the whole order of each user's candidates.
        candidates: these pairs with features, for the age of the items.
        k: length of the list.
        quota: the share, and how old a new item may be.

    Returns:
        The columns of ``ranked`` with new ranks. An item that was moved up has the score of the best one below it.
    """
    share = Fraction(quota.quota).limit_denominator(1000)
    columns = ["user_id", "item_id", "rank", "score", "source"]
    if not share:
        return ranked.select(columns)
    age = candidates.select(*_PAIR, __new=nw.col("item_days_known") <= quota.days)
    rows = ranked.select(columns).join(age, on=_PAIR, how="left")
    rows = rows.with_columns(__new=nw.when(nw.col("__new")).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64))
    # Count within its kind: the n-th new item, the n-th other one.
    rows = rows.with_columns(__nth=running_total(nw.col("__new"), ["user_id"], ["rank"]))
    is_new, nth = nw.col("__new") == 1, nw.col("__nth")
    others = nw.col("rank") - nth
    place = (nth * share.denominator + share.numerator - 1) // share.numerator
    above = nw.when(place <= k).then(nw.min_horizontal(others, place - nth)).otherwise(others)
    # A new item comes right before the first of the others that it overtakes.
    rows = rows.with_columns(__key=nw.when(is_new).then(2 * above).otherwise(2 * others - 1)).rename({"rank": "__old"})
    rows = rows.with_columns(__one=nw.lit(1, dtype=nw.Int64))
    rows = rows.with_columns(rank=running_total(nw.col("__one"), ["user_id"], ["__key", "__old"]))
    best_below = nw.col("score").cum_max(reverse=True).over("user_id", order_by="rank")
    return rows.select(columns).with_columns(score=best_below)
