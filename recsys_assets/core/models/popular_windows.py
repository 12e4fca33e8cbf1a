"""The choice of popularity windows and half-lives, by the recall of their lists on earlier days.

Popularity changes within hours for news and within a season for gifts. So each window of a ladder gives the lists that
it would have given at the end of some earlier days, and the window with the highest recall is used for D: over the
horizon for 'all' and the categories, on the next day for 'trending'. Nothing after D is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import narwhals as nw
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.clock import days_before, last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import exact_sum
from recsys_assets.core.ids import Ints, lookup, positions
from recsys_assets.core.models.popular import ALL, CATEGORY, HOURLY_DAYS, TRENDING, PopularParams

_Floats = npt.NDArray[np.float64]
_HALF_LIVES = 8
"""Window of a half-life: what is older weighs less than 1/256."""
_SCORES = pa.schema(
    [("segment", pa.string()), ("days", pa.float64()), ("recall", pa.float64()), ("chosen", pa.bool_())]
)


@dataclass(frozen=True)
class WindowParams:
    """How popularity windows are chosen.

    Args:
        horizon_days: recall of 'all' and the categories is over the targets of so many days after a list.
        fewest: with fewer users to evaluate, the windows of the settings stay.
        days: windows to choose from for 'all' and for the categories, ascending.
        half_lives: to choose from for 'trending', in days, ascending; those below one day are computed by the hour.
        cuts: earlier lists that are evaluated, a horizon apart, or a day apart for 'trending'.
        k: length of the lists.
        category_k: length of the list of a category.
    """

    horizon_days: int = 7
    fewest: int = 30
    days: tuple[int, ...] = (1, 3, 7, 14, 28, 60, 90)
    half_lives: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 7.0, 14.0)
    cuts: int = 4
    k: int = 50
    category_k: int = 10

    @property
    def target_days(self) -> int:
        """Days of ``USER_ACTIVITY`` with the targets of the lists."""
        return self.cuts * self.horizon_days

    @property
    def activity_days(self) -> int:
        """Days of ``ITEM_ACTIVITY`` that the lists are made from."""
        return max(self.days[-1] + self.target_days, _window(self.half_lives[-1]) + self.cuts)

    @property
    def hourly_days(self) -> int:
        """Days of clean events that half-lives below one day are counted in."""
        return HOURLY_DAYS + self.cuts


@dataclass(frozen=True)
class Windows:
    """The windows of a day.

    Args:
        params: those of the settings with the chosen windows.
        scores: segment, days (the window or half-life), recall (mean over users of the share of their targets that the
            lists held; null where there were too few users), chosen.
    """

    params: PopularParams
    scores: pa.Table

    def markdown(self) -> str:
        """The windows that were evaluated, as a table in markdown."""
        lines = ["segment | window or half-life | recall of its lists | chosen", "--- | --- | --- | ---"]
        for row in self.scores.to_pylist():
            span = f"{row['days']:g} d" if row["days"] >= 1 else f"{row['days'] * 24:g} h"
            recall = "too few users" if row["recall"] is None else f"{row['recall']:.4f}"
            lines.append(f"{row['segment'].removesuffix(':')} | {span} | {recall} | {'✓' if row['chosen'] else ''}")
        return "\n".join(f"| {line} |" for line in lines)


def find_windows(
    item_activity: Frame,
    hours: Frame,
    user_activity: Frame,
    item_features: Frame,
    as_of: date,
    defaults: PopularParams,
    search: WindowParams,
) -> Windows:
    """The windows with the highest recall lately; of equals, the longest.

    Args:
        item_activity: ``ITEM_ACTIVITY`` with ``dt``, :attr:`WindowParams.activity_days` of it.
        hours: :func:`~recsys_assets.core.models.popular.item_hours` of :attr:`WindowParams.hourly_days` to the end
            of D.
        user_activity: ``USER_ACTIVITY`` with ``dt``, :attr:`WindowParams.target_days` of it.
        item_features: ``ITEM_FEATURES`` of D, for the categories and the availability.
        as_of: D.
        defaults: sizes, and the windows where there are too few users.
        search: the windows to choose from, and the evaluation.
    """
    past = _Past.read(
        item_activity,
        hours,
        item_features,
        as_of,
        search.activity_days,
        keep_unavailable=not defaults.exclude_unavailable,
    )
    later = past.targets(user_activity, as_of, search.horizon_days, search.cuts)
    tomorrow = past.targets(user_activity, as_of, 1, search.cuts)
    h, days = search.horizon_days, [float(length) for length in search.days]

    def window(cut: int, length: float) -> _Floats:
        return past.last(cut * h, int(length))

    def best(score: _Floats) -> Ints:
        return _best(score, search.k)

    def best_of_each(score: _Floats) -> Ints:
        return _best_of_each(score, past.category, search.category_k)

    recalls = {
        ALL: _recalls(days, window, best, later, search.fewest),
        CATEGORY: _recalls(days, window, best_of_each, later, search.fewest),
        TRENDING: _recalls(search.half_lives, past.decayed, best, tomorrow, search.fewest),
    }
    default_of = {
        ALL: defaults.days,
        CATEGORY: defaults.category_days or defaults.days,
        TRENDING: defaults.trending_half_life,
    }
    chosen = {segment: _chosen(recall_of, float(default_of[segment])) for segment, recall_of in recalls.items()}
    enough_users = None not in recalls[TRENDING].values()
    params = replace(
        defaults,
        days=int(chosen[ALL]),
        category_days=int(chosen[CATEGORY]),
        trending_half_life=chosen[TRENDING],
        trending_days=_window(chosen[TRENDING]) if enough_users else defaults.trending_days,
    )
    rows = [
        {"segment": segment, "days": days, "recall": recall, "chosen": days == chosen[segment]}
        for segment, recall_of in recalls.items()
        for days, recall in recall_of.items()
    ]
    return Windows(params, pa.Table.from_pylist(rows, schema=_SCORES))


@dataclass(frozen=True)
class _Past:
    """Activity of items, given as positions; ages in days or hours before the end of D, ascending.

    Args:
        items: sorted ids.
        category: of each item, as a number; -1 where it has none.
        daily: item, age, weight.
        hourly: item, age, weight.
    """

    items: pa.Array
    category: Ints
    daily: tuple[Ints, Ints, _Floats]
    hourly: tuple[Ints, Ints, _Floats]

    @classmethod
    def read(
        cls, item_activity: Frame, hours: Frame, item_features: Frame, as_of: date, days: int, *, keep_unavailable: bool
    ) -> _Past:
        features = item_features.select("item_id", "category_id", "available")
        unavailable = features.head(0) if keep_unavailable else features.filter(~nw.col("available"))
        window = last_days(item_activity, as_of, days).with_columns(age=days_before(nw.col("dt"), as_of))
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

    def last(self, cut: int, days: int) -> _Floats:
        """Weight of each item in a window that ends ``cut`` days before D."""
        item, _, weight = _between(self.daily, cut, cut + days)
        return _sums(item, weight, len(self.items))

    def decayed(self, cut: int, half_life: float) -> _Floats:
        """Decayed weight of each item, ``cut`` days before D."""
        if half_life < 1:
            item, age, weight = _between(self.hourly, cut * 24, (cut + HOURLY_DAYS) * 24)
            ages = (age - cut * 24) / 24
        else:
            item, age, weight = _between(self.daily, cut, cut + _window(half_life))
            ages = age - cut
        return _sums(item, weight * 0.5 ** (ages / half_life), len(self.items))

    def targets(self, user_activity: Frame, as_of: date, step: int, cuts: int) -> list[_Floats]:
        """Share of targets on each item [items + 1] in the ``step`` days after each cut; last: items of no list.

        Each user weighs 1 per cut, so that a few busy users do not decide.
        """
        age = days_before(nw.col("dt"), as_of)
        hit = last_days(user_activity, as_of, step * cuts).filter(nw.col("targets") > 0)
        pairs = hit.select("user_id", "item_id", cut=age // step).unique()
        users = pairs.group_by("user_id", "cut").agg(nw.len().cast(nw.Float64).alias("__n"))
        shares = pairs.join(users, on=["user_id", "cut"], how="inner").with_columns(share=1.0 / nw.col("__n"))
        summed = shares.group_by("cut", "item_id").agg(exact_sum(nw.col("share")).alias("share"))
        table = _table(summed, "cut", "item_id")
        cut, share = table["cut"].to_numpy(), table["share"].to_numpy()
        at = lookup(table["item_id"], self.items)
        at[at < 0] = len(self.items)
        return [_sums(at[cut == number], share[cut == number], len(self.items) + 1) for number in range(cuts)]


def _recalls(
    ladder: Sequence[float],
    scores: Callable[[int, float], _Floats],
    best: Callable[[_Floats], Ints],
    targets: Sequence[_Floats],
    fewest: int,
) -> dict[float, float | None]:
    """Recall of the lists of each window, over all cuts."""
    users = sum(float(shares.sum()) for shares in targets)
    if users < fewest:
        return dict.fromkeys(ladder)
    return {
        days: sum(float(then[best(scores(cut, days))].sum()) for cut, then in enumerate(targets, 1)) / users
        for days in ladder
    }


def _chosen(recalls: Mapping[float, float | None], default: float) -> float:
    measured = [(recall, days) for days, recall in recalls.items() if recall is not None]
    return max(measured)[1] if measured else default


def _best(score: _Floats, k: int) -> Ints:
    """Positions of the k best of those above 0, ties to the smaller id."""
    positive = np.flatnonzero(score > 0)
    if len(positive) > k:
        positive = positive[score[positive] >= np.partition(score[positive], -k)[-k]]
    return positive[np.lexsort((positive, -score[positive]))][:k]


def _best_of_each(score: _Floats, category: Ints, k: int) -> Ints:
    """Positions of the k best of each category."""
    positive = np.flatnonzero((score > 0) & (category >= 0))
    ordered = positive[np.lexsort((positive, -score[positive], category[positive]))]
    of = category[ordered]
    return ordered[np.arange(len(of)) - np.searchsorted(of, of) < k]


def _sums(item: Ints, weight: _Floats, size: int) -> _Floats:
    return np.bincount(item, weight, size).astype(np.float64)


def _between(rows: tuple[Ints, Ints, _Floats], first: int, end: int) -> tuple[Ints, Ints, _Floats]:
    """The rows of ages from ``first`` to before ``end``."""
    item, age, weight = rows
    cut = slice(*np.searchsorted(age, (first, end)))
    return item[cut], age[cut], weight[cut]


def _window(half_life: float) -> int:
    """Days that a half-life reaches back."""
    return max(math.ceil(half_life * _HALF_LIVES), HOURLY_DAYS)


def _table(frame: Frame, *order: str) -> pa.Table:
    return frame.sort(*order).collect(backend="polars").to_arrow()
