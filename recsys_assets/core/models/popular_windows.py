"""The choice of popularity windows and half-lives, by the NDCG of their lists on earlier days.

Popularity changes within hours for news and within a season for gifts. So each window of a ladder, from one hour to all
time, gives the lists that it would have given at the end of some earlier days, and the window with the highest NDCG
over the horizon after them is used for D. Nothing after D is read.

'trending' is judged like 'all', since its list is served as long: the two differ in how they forget, one at once at the
end of a window, the other by half-lives. The better one is the list for users who are not known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.popular import ALL, ALL_TIME, CATEGORY, HOURLY_DAYS, TRENDING, PopularParams
from recsys_assets.core.models.popular_evaluation import Past, Targets, best, best_of_each, ndcg, window_of

_Ladder = Mapping[float, float | None]
"""The NDCG of each window or half-life; None where there are too few users."""
_HOURS = tuple(hours / 24 for hours in (1, 2, 3, 6, 12))
_SCORES = pa.schema([("segment", pa.string()), ("days", pa.float64()), ("ndcg", pa.float64()), ("chosen", pa.bool_())])


@dataclass(frozen=True)
class WindowParams:
    """How popularity windows are chosen.

    Args:
        horizon_days: lists are judged by the targets of so many days after them.
        fewest: with fewer users to evaluate, the windows of the settings stay.
        days: windows to choose from for 'all' and for the categories, in days, ascending; those below one day are
            counted by the hour.
        half_lives: to choose from for 'trending', likewise.
        cuts: earlier lists that are evaluated, a horizon apart.
        k: length of the lists. On film ratings and gift orders, windows chosen by NDCG@50 had an NDCG@10 up to 2 %
            higher than those chosen by NDCG@10, which depends on fewer hits.
    """

    horizon_days: int = 7
    fewest: int = 30
    days: tuple[float, ...] = (*_HOURS, 1, 3, 7, 14, 28, 60, 90, 180, ALL_TIME)
    half_lives: tuple[float, ...] = (*_HOURS, 1, 2, 4, 7, 14, 30, ALL_TIME)
    cuts: int = 4
    k: int = 50

    @property
    def target_days(self) -> int:
        """Days of ``USER_ACTIVITY`` with the targets of the lists."""
        return self.cuts * self.horizon_days

    @property
    def hourly_days(self) -> int:
        """Days up to D within which the days of :meth:`hourly_dates` lie."""
        return self.target_days + HOURLY_DAYS

    def hourly_dates(self, as_of: date) -> list[date]:
        """The days whose clean events are counted by the hour: the last ones before each list and before D."""
        ages = {cut * self.horizon_days + day for cut in range(self.cuts + 1) for day in range(HOURLY_DAYS)}
        return [as_of - timedelta(days=age) for age in sorted(ages, reverse=True)]

    @property
    def daily_reach(self) -> int:
        """Days up to D of which a window or half-life that ends needs each by itself."""
        spans = [*self.days, *(window_of(life) for life in self.half_lives if life < ALL_TIME)]
        return math.ceil(max([span for span in spans if span < ALL_TIME], default=1)) + self.target_days


@dataclass(frozen=True)
class Windows:
    """The windows of a day.

    Args:
        params: those of the settings with the chosen windows and the fallback.
        scores: segment, days (the window or half-life), ndcg (of its lists, mean over users; null where there were too
            few users), chosen; each segment's days ascending.
    """

    params: PopularParams
    scores: pa.Table

    @property
    def at_the_end(self) -> list[str]:
        """The segments for which the best is the shortest or the longest of the ladder."""
        ladders: dict[str, list[dict[str, Any]]] = {}
        for row in self.scores.to_pylist():
            ladders.setdefault(row["segment"], []).append(row)
        return [
            segment
            for segment, ladder in ladders.items()
            if any(row["chosen"] and row["ndcg"] is not None for row in (ladder[0], ladder[-1]))
        ]

    def markdown(self) -> str:
        """The windows that were evaluated, as a table in markdown."""
        ends = self.at_the_end
        lines = ["segment | window or half-life | NDCG of its lists | chosen", "--- | --- | --- | ---"]
        for row in self.scores.to_pylist():
            ndcg = "too few users" if row["ndcg"] is None else f"{row['ndcg']:.4f}"
            chosen = ("✓ at the end of the ladder" if row["segment"] in ends else "✓") if row["chosen"] else ""
            lines.append(f"{row['segment'].removesuffix(':')} | {_span(row['days'])} | {ndcg} | {chosen}")
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
    """The windows with the highest NDCG lately; of equals, the longest.

    Args:
        item_activity: ``ITEM_ACTIVITY`` with ``dt``, of all days.
        hours: :func:`~recsys_assets.core.models.popular.item_hours` of :meth:`WindowParams.hourly_dates` to the end
            of D.
        user_activity: ``USER_ACTIVITY`` with ``dt``, :attr:`WindowParams.target_days` of it.
        item_features: ``ITEM_FEATURES`` of D, for the categories and the availability.
        as_of: D.
        defaults: sizes, and the windows and the fallback where there are too few users.
        search: the windows to choose from, and the evaluation.
    """
    past = Past.read(
        item_activity,
        hours,
        item_features,
        as_of,
        search.daily_reach,
        keep_unavailable=not defaults.exclude_unavailable,
    )
    h, cuts, k = search.horizon_days, search.cuts, search.k
    categories = item_features.filter(~nw.col("category_id").is_null()).select("item_id", "category_id")
    of_users = past.targets(user_activity, as_of, h, cuts, k)
    of_categories = past.targets(user_activity, as_of, h, cuts, k, categories)
    ever = {cut * h: past.last(cut * h, ALL_TIME) for cut in range(1, cuts + 1)}

    def window(length: float, cut: int) -> tuple[Ints, Ints]:
        return best(past.last(cut, length), ever[cut], k)

    def decayed(half_life: float, cut: int) -> tuple[Ints, Ints]:
        return best(past.decayed(cut, half_life), ever[cut], k)

    def of_each(length: float, cut: int) -> tuple[Ints, Ints]:
        return best_of_each(past.last(cut, length), past.category, k)

    def ladder(spans: Sequence[float], lists: Callable[[float, int], tuple[Ints, Ints]], targets: Targets) -> _Ladder:
        if targets.users < max(search.fewest, 1):
            return dict.fromkeys(spans)
        return {span: ndcg(targets, h, partial(lists, span)) for span in spans}

    scores = {
        ALL: ladder(search.days, window, of_users),
        CATEGORY: ladder(search.days, of_each, of_categories),
        TRENDING: ladder(search.half_lives, decayed, of_users),
    }
    chosen = {
        ALL: _chosen(scores[ALL], defaults.days),
        CATEGORY: _chosen(scores[CATEGORY], defaults.category_days or defaults.days),
        TRENDING: _chosen(scores[TRENDING], defaults.trending_half_life),
    }
    rows = [
        {"segment": segment, "days": days, "ndcg": ndcg, "chosen": days == chosen[segment]}
        for segment, ladder in scores.items()
        for days, ndcg in ladder.items()
    ]
    return Windows(_in_force(chosen, scores, defaults), pa.Table.from_pylist(rows, schema=_SCORES))


def _in_force(chosen: Mapping[str, float], scores: Mapping[str, _Ladder], defaults: PopularParams) -> PopularParams:
    """The parameters with the chosen windows, and with the better of 'all' and 'trending' as the fallback."""
    params = replace(
        defaults,
        days=chosen[ALL],
        category_days=chosen[CATEGORY],
        trending_half_life=chosen[TRENDING],
    )
    by_window, by_half_life = scores[ALL].get(chosen[ALL]), scores[TRENDING].get(chosen[TRENDING])
    if by_window is None or by_half_life is None:
        return params
    fallback = TRENDING if by_half_life > by_window else ALL
    return replace(params, trending_days=window_of(chosen[TRENDING]), fallback=fallback)


def _chosen(scores: _Ladder, default: float) -> float:
    measured = [(ndcg, days) for days, ndcg in scores.items() if ndcg is not None]
    return max(measured)[1] if measured else default


def _span(days: float) -> str:
    """A window or half-life as text."""
    if days >= ALL_TIME:
        return "all time"
    return f"{days:g} d" if days >= 1 else f"{days * 24:g} h"
