"""A share of each list for new items: what nobody was ever shown, nobody can be known to want."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import running_total

_PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class NewItems:
    """How much of a list is for new items.

    Args:
        quota: share of the places, 0 to 1; taken to three digits.
        days: for how many days from when it was first seen an item is new.
    """

    quota: float = 0.0
    days: int = 14

    @property
    def any(self) -> bool:
        """Whether there is a place for them."""
        return Fraction(self.quota).limit_denominator(1000) > 0


def explore(ranked: Frame, candidates: Frame, k: int, new: NewItems) -> Frame:
    """Move the best new items up until each list has its share of them, everywhere in it.

    The places for them are fixed: with a quota of 0.1, the 10th, the 20th and so on up to ``k``. By each of these
    places, as many new items stand in the list as there are such places so far. New items that stand there by
    themselves count; where they are too few, the next best one comes to the place, and where a user has no more of
    them, the order stays. So no more than quota x k items are moved up, and the order of new items among themselves,
    and of others among themselves, stays as it is.

    Args:
        ranked: user_id, item_id, rank (1 is best, dense within the user), score (non-increasing in rank) and source:
            the whole order of each user's candidates.
        candidates: frame of contract CANDIDATES that holds these pairs; says for how long an item is known.
        k: length of the list.
        new: quota, and what is new.

    Returns:
        The columns of ``ranked`` with new ranks. An item that was moved up has the score of the best one below it.
    """
    share = Fraction(new.quota).limit_denominator(1000)
    columns = ["user_id", "item_id", "rank", "score", "source"]
    if not share:
        return ranked.select(columns)
    age = candidates.select(*_PAIR, __new=nw.col("item_days_known") <= new.days)
    rows = ranked.select(columns).join(age, on=_PAIR, how="left")
    rows = rows.with_columns(__new=nw.when(nw.col("__new")).then(nw.lit(1)).otherwise(nw.lit(0)).cast(nw.Int64))
    # Of its kind: the n-th new item, the n-th other one.
    rows = rows.with_columns(__nth=running_total(nw.col("__new"), ["user_id"], ["rank"]))
    is_new, nth = nw.col("__new") == 1, nw.col("__nth")
    others = nw.col("rank") - nth
    place = (nth * share.denominator + share.numerator - 1) // share.numerator
    above = nw.when(place <= k).then(nw.min_horizontal(others, place - nth)).otherwise(others)
    # A new item stands right before the first of the others that it has no longer above it.
    rows = rows.with_columns(__key=nw.when(is_new).then(2 * above).otherwise(2 * others - 1)).rename({"rank": "__old"})
    rows = rows.with_columns(__one=nw.lit(1, dtype=nw.Int64))
    rows = rows.with_columns(rank=running_total(nw.col("__one"), ["user_id"], ["__key", "__old"]))
    best_below = nw.col("score").cum_max(reverse=True).over("user_id", order_by="rank")
    return rows.select(columns).with_columns(score=best_below)
