"""The figures of ``backtest_report``: results of the as-of days of a window, as plain JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from math import fsum
from typing import Any

import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.core.insight.figures import Figures

METRICS = ("ndcg", "recall", "coverage", "novelty", "diversity")
"""The metrics that are followed over the days, each at ``DECISIVE_K``."""

COMPARED = (FINAL_LISTS, "ranker", "fused")
"""Models that are compared, over the days that all of them have: means over different days are not comparable."""

PERSISTENCE = 0.9
"""Of rank-biased overlap: the weight of each place, relative to the place above it."""


@dataclass(frozen=True)
class BacktestInputs:
    """Results of the as-of days of a window, each by its day (``YYYY-MM-DD``); any of them may be missing on a day.

    Args:
        evaluation: RANKER_EVALUATION of all days, with ``dt``.
        promotions: decisions of the gate.
        lists: RECOMMENDATIONS.
    """

    evaluation: Frame
    promotions: Mapping[str, Promotion]
    lists: Mapping[str, Frame]


@dataclass(frozen=True)
class BacktestParams:
    """Parameters of the report: the data set's name, and the length of the window in days."""

    dataset: str
    days: int = 60


@dataclass(frozen=True)
class Changes:
    """How the lists of one as-of day, cut to k, differ from those of the one before.

    Attributes:
        users: users with a list.
        kept: users who have one on both days.
        jaccard: mean over those users of shared items over all items of their two lists; None without such users.
        overlap: mean rank-biased overlap of the two lists, to their depth and scaled so that equal lists have 1
            (Webber, Moffat and Zobel, 2010): the first places have the highest weights.
        items: distinct items in the lists.
        new_items: items of which no list of the day before had any.
    """

    users: int
    kept: int
    jaccard: float | None
    overlap: float | None
    items: int
    new_items: int


def backtest(inputs: BacktestInputs, as_of: date, params: BacktestParams) -> Figures:
    """All figures of the report of one day; equal inputs give equal figures.

    Args:
        inputs: of the days up to ``as_of``.
        as_of: the newest day of the window.
        params: see :class:`BacktestParams`.

    Returns:
        JSON. ``days`` are the days that have anything; ``series`` (metric, model), ``users``, ``gate`` and ``lists``
        have an entry for each, null where a day lacks it. An entry of a series is value, low, high. ``means`` are over
        the days that a model has, ``compared`` over those that all of ``COMPARED`` have.
    """
    evaluated: dict[str, list[dict[str, Any]]] = {}
    # Metrics over no users mean nothing.
    decisive = inputs.evaluation.filter((nw.col("k") == DECISIVE_K) & (nw.col("users") > 0))
    for row in decisive.collect(backend="polars").rows(named=True):
        evaluated.setdefault(row["dt"].isoformat(), []).append(row)
    days = sorted({*evaluated, *inputs.promotions, *inputs.lists})
    gate = [_decision(inputs.promotions[day]) if day in inputs.promotions else None for day in days]
    series = {metric: _series(metric, evaluated, days) for metric in METRICS}
    return {
        "dataset": params.dataset,
        "as_of": as_of.isoformat(),
        "window_days": params.days,
        "k": DECISIVE_K,
        "days": days,
        "users": [evaluated[day][0]["users"] if day in evaluated else 0 for day in days],
        "series": series,
        "means": {metric: {name: _mean(points) for name, points in of.items()} for metric, of in series.items()},
        "compared": _compared(series),
        "gate": gate,
        "verdicts": dict(sorted(Counter(decision["verdict"] for decision in gate if decision).items())),
        "ordered_by": dict(sorted(Counter(decision["order_by"] for decision in gate if decision).items())),
        "lists": _lists(inputs.lists, days),
    }


def list_changes(before: Frame | None, lists: Frame, k: int) -> Changes:
    """Compare the lists of the same users on two days.

    Args:
        before: user_id, item_id, rank of the earlier day; None if there is none, then no user is kept.
        lists: the same of the later day.
        k: length that lists are cut to.
    """
    return _changes(None if before is None else _cut(before, k), _cut(lists, k))


def _changes(old: Frame | None, new: Frame) -> Changes:
    users, items = (_distinct(new, name) for name in ("user_id", "item_id"))
    if old is None:
        return Changes(users, 0, None, None, items, items)
    old_items = old.select("item_id").unique()
    fresh = new.select("item_id").unique().join(old_items, on="item_id", how="anti")
    new_items = int(fresh.select(n=nw.len()).collect(backend="polars").item())
    lengths = _lengths(old, "old").join(_lengths(new, "new"), on="user_id")
    shared = old.join(new.rename({"rank": "now"}), on=["user_id", "item_id"])
    # Users whose lists share nothing are in the first frame only.
    sizes = _counted(
        lengths.join(_lengths(shared, "shared"), on="user_id", how="left").with_columns(nw.col("shared").fill_null(0)),
        "old", "new", "shared",
    )  # fmt: skip
    deeper = shared.with_columns(place=nw.max_horizontal("rank", "now").cast(nw.Int64))
    places = _counted(deeper.join(lengths, on="user_id"), "old", "new", "place")
    kept = sum(n for *_, n in sizes)
    if not kept:
        return Changes(users, 0, None, None, items, new_items)
    jaccard = fsum(n * both / (a + b - both) for a, b, both, n in sizes) / kept
    overlap = fsum(n * _share_of_place(place, max(a, b)) for a, b, place, n in places) / kept
    return Changes(users, kept, jaccard, overlap, items, new_items)


def _share_of_place(place: int, depth: int) -> float:
    """Contribution to the rank-biased overlap of an item that both lists have at ``place`` or above."""
    whole = fsum(PERSISTENCE ** (d - 1) for d in range(1, depth + 1))
    return fsum(PERSISTENCE ** (d - 1) / d for d in range(place, depth + 1)) / whole


def _cut(lists: Frame, k: int) -> Frame:
    """The first places, in memory: they are a small part of what a scan has to read."""
    short = lists.filter(nw.col("rank") <= k).select("user_id", "item_id", "rank")
    return short.collect(backend="polars").lazy()


def _distinct(lists: Frame, column: str) -> int:
    return int(lists.select(n=nw.col(column).n_unique()).collect(backend="polars").item())


def _lengths(lists: Frame, name: str) -> Frame:
    return lists.group_by("user_id").agg(nw.len().cast(nw.Int64).alias(name))


def _counted(rows: Frame, *by: str) -> list[tuple[int, ...]]:
    """The number of rows of each combination, in a fixed order, so that sums do not depend on the engine."""
    counts = rows.group_by(*by).agg(n=nw.len().cast(nw.Int64)).select(*by, "n")
    return sorted(tuple(row) for row in counts.collect(backend="polars").rows())


def _lists(lists: Mapping[str, Frame], days: Sequence[str]) -> list[Figures | None]:
    """Changes of the lists of each day against the latest day before it that has lists."""
    changes: list[Figures | None] = []
    since: str | None = None
    before: Frame | None = None
    for day in days:
        if day not in lists:
            changes.append(None)
            continue
        now = _cut(lists[day], DECISIVE_K)
        changes.append({"since": since, **asdict(_changes(before, now))})
        since, before = day, now
    return changes


def _series(
    metric: str, evaluated: Mapping[str, Sequence[Mapping[str, Any]]], days: Sequence[str]
) -> dict[str, list[list[float | None] | None]]:
    """Value, low and high of each model on each day, models by name."""
    of: dict[tuple[str, str], list[float | None]] = {
        (row["model"], day): [row["value"], row["low"], row["high"]]
        for day, rows in evaluated.items()
        for row in rows
        if row["metric"] == metric and row["value"] is not None
    }
    return {model: [of.get((model, day)) for day in days] for model in sorted({model for model, _ in of})}


def _compared(series: Mapping[str, Mapping[str, Sequence[list[float | None] | None]]]) -> Figures:
    """Means of the models of ``COMPARED`` that exist, over the days that they share."""
    names = [name for name in COMPARED if name in series["ndcg"]]
    shared = [all(points) for points in zip(*(series["ndcg"][name] for name in names), strict=True)]
    both = {
        (metric, name): [point for point, counts in zip(of.get(name, ()), shared, strict=False) if counts and point]
        for metric, of in series.items()
        for name in names
    }
    means = {metric: {name: _mean(both[metric, name]) for name in names if both[metric, name]} for metric in series}
    return {"days": sum(shared), **means}


def _mean(points: Sequence[list[float | None] | None]) -> float:
    """The mean over the days that have a value; at least one has."""
    values = [float(point[0]) for point in points if point and point[0] is not None]
    return fsum(values) / len(values)


def _decision(promotion: Promotion) -> Figures:
    gate = promotion.gate
    before, after = promotion.before.champion, promotion.after.champion
    return {
        "verdict": promotion.verdict,
        "model": promotion.model.id if promotion.model else None,
        "against": gate.against,
        "gain": gate.gain,
        "low": gate.low,
        "high": gate.high,
        "champion_before": before.id if before else None,
        "champion": after.id if after else None,
        "order_by": promotion.order_by,
        "why": gate.why,
    }
