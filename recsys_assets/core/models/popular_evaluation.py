"""The evaluation of popularity lists: those of earlier days, and their NDCG for the users of the days after them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.clock import days_before, last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import exact_sum
from recsys_assets.core.ids import Ints, lookup, positions
from recsys_assets.core.models.popular import ALL_TIME, HOURLY_DAYS

Floats = npt.NDArray[np.float64]
HALF_LIVES = 8
"""Window of a half-life: what is older weighs less than 1/256."""


def window_of(half_life: float) -> int:
    """Days that a half-life reaches back."""
    return min(max(math.ceil(half_life * HALF_LIVES), HOURLY_DAYS), ALL_TIME)


@dataclass(frozen=True)
class Targets:
    """What a list is judged by.

    Args:
        gains: of each cut, the NDCG that an item at the first place adds, by position, summed over users [items].
        users: to divide by: one per user and cut, or per user, cut and category.
    """

    gains: list[Floats]
    users: int


@dataclass(frozen=True)
class Past:
    """Activity of items, given as positions; ages in days or hours before the end of D, ascending.

    Args:
        items: sorted ids.
        category: of each item, as a number; -1 where it has none.
        daily: item, age, weight.
        hourly: item, age, weight.
    """

    items: pa.Array
    category: Ints
    daily: tuple[Ints, Ints, Floats]
    hourly: tuple[Ints, Ints, Floats]

    @classmethod
    def read(
        cls,
        item_activity: Frame,
        hours: Frame,
        item_features: Frame,
        as_of: date,
        reach: int,
        *,
        keep_unavailable: bool,
    ) -> Past:
        """The activity up to D, without the items that are known to be unavailable then unless they are kept.

        Args:
            item_activity: ``ITEM_ACTIVITY`` with ``dt``, of all days.
            hours: :func:`~recsys_assets.core.models.popular.item_hours` to the end of D.
            item_features: ``ITEM_FEATURES`` of D.
            as_of: D.
            reach: older days count for all time alone.
            keep_unavailable: whether items that are unavailable are listed.
        """
        features = item_features.select("item_id", "category_id", "available")
        unavailable = features.head(0) if keep_unavailable else features.filter(~nw.col("available"))
        age = days_before(nw.col("dt"), as_of)
        # What is older counts for all time alone: one row per item is enough.
        days = last_days(item_activity, as_of, ALL_TIME).with_columns(
            age=nw.when(age < reach).then(age).otherwise(nw.lit(reach, dtype=nw.Int64))
        )
        window = days.group_by("item_id", "age").agg(exact_sum(nw.col("weight")).alias("weight"))
        daily, hourly = (
            _table(
                rows.join(unavailable, on="item_id", how="anti").select("item_id", "age", "weight"), "age", "item_id"
            )
            for rows in (window, hours.with_columns(age=nw.col("hours")))
        )
        items, codes = positions(daily["item_id"])
        categories = _table(
            features.filter(~nw.col("category_id").is_null()).select("item_id", "category_id"), "item_id"
        )
        category = np.full(len(items), -1, np.int64)
        at = lookup(categories["item_id"], items)
        category[at[at >= 0]] = positions(categories["category_id"])[1][at >= 0]
        hour = lookup(hourly["item_id"], items)
        has_position = hour >= 0
        return cls(
            items,
            category,
            (codes, daily["age"].to_numpy(), daily["weight"].to_numpy()),
            (hour[has_position], hourly["age"].to_numpy()[has_position], hourly["weight"].to_numpy()[has_position]),
        )

    def last(self, cut: int, length: float) -> Floats:
        """Weight of each item in a window that ends ``cut`` days before D."""
        if length < 1:
            item, _, weight = _between(self.hourly, cut * 24, cut * 24 + round(length * 24))
        else:
            item, _, weight = _between(self.daily, cut, cut + int(length))
        return _sums(item, weight, len(self.items))

    def decayed(self, cut: int, half_life: float) -> Floats:
        """Decayed weight of each item, ``cut`` days before D."""
        if half_life >= ALL_TIME:
            return self.last(cut, ALL_TIME)
        if half_life < 1:
            item, age, weight = _between(self.hourly, cut * 24, (cut + HOURLY_DAYS) * 24)
            ages = (age - cut * 24) / 24
        else:
            item, age, weight = _between(self.daily, cut, cut + window_of(half_life))
            ages = age - cut
        return _sums(item, weight * 0.5 ** (ages / half_life), len(self.items))

    def targets(
        self,
        user_activity: Frame,
        as_of: date,
        horizon_days: int,
        cuts: int,
        k: int,
        categories: Frame | None = None,
    ) -> Targets:
        """What the lists of each cut are judged by: the targets of the horizon after it.

        Each user weighs 1 per cut, so that a few busy users do not decide.

        Args:
            user_activity: with ``dt``.
            as_of: D.
            horizon_days: between the cuts.
            cuts: number of lists.
            k: length of the lists.
            categories: item_id, category_id: each category has a list, by which its targets are judged.
        """
        age = days_before(nw.col("dt"), as_of)
        hit = last_days(user_activity, as_of, horizon_days * cuts).filter(nw.col("targets") > 0)
        pairs = hit.select("user_id", "item_id", cut=age // horizon_days).unique()
        by = ["user_id", "cut"]
        if categories is not None:
            pairs, by = pairs.join(categories, on="item_id", how="inner"), [*by, "category_id"]
        sizes = pairs.group_by(*by).agg(nw.len().cast(nw.Int64).alias("n"))
        sized = pairs.join(sizes, on=by, how="inner")
        counted = sized.group_by("cut", "item_id", "n").agg(nw.len().cast(nw.Int64).alias("users"))
        table = _table(counted, "cut", "item_id", "n")
        cut, n, users = (table[name].to_numpy() for name in ("cut", "n", "users"))
        ideal = np.cumsum(_discount(np.arange(k)))[np.minimum(n, k) - 1]
        item, gain = lookup(table["item_id"], self.items), users / ideal
        of_cut = [(cut == number) & (item >= 0) for number in range(cuts)]
        gains = [_sums(item[rows], gain[rows], len(self.items)) for rows in of_cut]
        return Targets(gains, round(float((users / n).sum())))


def ndcg(targets: Targets, horizon_days: int, best: Callable[[int], tuple[Ints, Ints]]) -> float:
    """Mean NDCG of lists over all cuts.

    Args:
        targets: with at least one user.
        horizon_days: between the cuts.
        best: positions and places of the list that ends so many days before D.
    """
    total = 0.0
    for number, gains in enumerate(targets.gains, 1):
        items, places = best(number * horizon_days)
        total += float((gains[items] * _discount(places)).sum())
    return total / targets.users


def best(score: Floats, ever: Floats, k: int) -> tuple[Ints, Ints]:
    """The k best of the items known by then.

    Args:
        score: of each item; equal ones are ordered by ``ever``, then by id.
        ever: weight of each item in all time; 0 where it is not known yet.
        k: length of the list.

    Returns:
        Positions, and places from 0.
    """
    known = np.flatnonzero(ever > 0)
    if len(known) > k:
        # Sorting all items takes long: of those equal to the last one, only the best by ``ever`` are kept.
        last = np.partition(score[known], -k)[-k]
        above, equal = known[score[known] > last], known[score[known] == last]
        room = k - len(above)
        known = np.append(above, equal[ever[equal] >= np.partition(ever[equal], -room)[-room]])
    ordered = known[np.lexsort((known, -ever[known], -score[known]))][:k]
    return ordered, np.arange(len(ordered))


def best_of_each(score: Floats, category: Ints, k: int) -> tuple[Ints, Ints]:
    """Positions of the k best of each category, and their places from 0."""
    positive = np.flatnonzero((score > 0) & (category >= 0))
    ordered = positive[np.lexsort((positive, -score[positive], category[positive]))]
    of = category[ordered]
    places = np.arange(len(of)) - np.searchsorted(of, of)
    return ordered[places < k], places[places < k]


def _discount(places: Ints) -> Floats:
    """The weight of a hit in NDCG, by its place from 0."""
    return 1.0 / np.log2(places + 2.0)


def _sums(item: Ints, weight: Floats, size: int) -> Floats:
    return np.bincount(item, weight, size).astype(np.float64)


def _between(rows: tuple[Ints, Ints, Floats], first: int, end: int) -> tuple[Ints, Ints, Floats]:
    """The rows of ages from ``first`` to before ``end``."""
    item, age, weight = rows
    cut = slice(*np.searchsorted(age, (first, end)))
    return item[cut], age[cut], weight[cut]


def _table(frame: Frame, *order: str) -> pa.Table:
    return frame.sort(*order).collect(backend="polars").to_arrow()
