"""Measure every contender on the same users: metrics, and the paired gains that the gate decides by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema, generators_in
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import Interval, intervals, paired_difference
from recsys_assets.core.evaluation.evaluator import Evaluator, Lists
from recsys_assets.core.evaluation.metrics import Floats, Ints, novelty, per_user
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K

LEARNED = ("ranker", "champion")
"""The contenders that are models: the new one, and the one that was champion before it."""

FINAL_LISTS = "final"
"""The final lists of the window, with the rules of lists kept: no contender, but what people would have been shown."""

OVER_CHAMPION = "ndcg_gain_over_champion"
OVER_FUSED = "ndcg_gain_over_fused"

PickBaseline = Callable[[str | None, Interval | None], str]
"""The best single generator and its gain over the fused ones in, what models are compared with out."""

_DECIMALS = 12
"""Figures are rounded here, so that the order in which a linear algebra library adds does not show in the file."""


def lists_from_candidates(candidates: Frame) -> dict[str, Frame]:
    """The lists of the contenders that need no model: ``fused`` and each generator by its own rank.

    Args:
        candidates: frame of contract CANDIDATES.

    Returns:
        Per contender a frame of user_id, item_id, rank; a generator's lists hold only its own candidates.
    """
    generators = generators_in(candidates.collect_schema().names())
    return {
        name: candidates.filter(~nw.col(f"{name}_rank").is_null()).select(
            "user_id", "item_id", rank=nw.col(f"{name}_rank")
        )
        for name in ("fused", *generators)
    }


def evaluate(
    lists: Mapping[str, Frame],
    targets: Frame,
    users: Frame | None,
    popularity: Frame,
    catalogue_size: int,
    ks: tuple[int, ...] = (10, 20),
    resamples: int = 1000,
    seed: int = 0,
    *,
    level: float,
    pick_baseline: PickBaseline,
) -> pa.Table:
    """Metrics of all contenders on the same users, with intervals on the same resamples.

    Args:
        lists: contender to user_id, item_id, rank, all on one engine; see :func:`lists_from_candidates`.
        targets: user_id, item_id of the target events of the window.
        users: user_id of those who had candidates; None evaluates every user with a target.
        popularity: what :func:`recsys_assets.core.evaluation.evaluator.popularity` returns.
        catalogue_size: items that could have been recommended, for coverage.
        ks: lengths of the lists.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        level: of the intervals.
        pick_baseline: the rule that picks what models are compared with (``core.gate``).

    Returns:
        Table of contract RANKER_EVALUATION, sorted by its key. Beside the metrics at each k:
        ``candidate_recall`` of each generator and, as ``fused``, of their union: the share of all targets that is
        among the candidates, with k the longest list; ``ndcg_gain``, paired, of the best single generator over
        ``fused``, and of each model over the baseline; ``ndcg_gain_over_champion`` of the ranker;
        ``ndcg_gain_over_fused`` of every other contender, for people to read.
    """
    evaluator = Evaluator(targets, popularity, users)
    return evaluate_lists(
        evaluator, lists, catalogue_size, ks, resamples, seed, level=level, pick_baseline=pick_baseline
    )


def evaluate_lists(
    evaluator: Evaluator,
    lists: Mapping[str, Frame],
    catalogue_size: int,
    ks: tuple[int, ...] = (10, 20),
    resamples: int = 1000,
    seed: int = 0,
    *,
    level: float,
    pick_baseline: PickBaseline,
) -> pa.Table:
    """Like :func:`evaluate`, with the users and targets of an evaluator."""
    figures = _Figures(np.ones(len(evaluator.targets)))
    ndcg: dict[str, Floats] = {}
    for model in sorted(lists):
        read = evaluator.read(lists[model], max(*ks, DECISIVE_K))
        for k in ks:
            for metric, column in measured(read, evaluator.targets, k).items():
                figures.add(model, metric, k, column)
            figures.plain.append((model, "coverage", k, read.coverage(k, catalogue_size)))
        if model not in (*LEARNED, FINAL_LISTS):
            longest = max(1, read.longest)
            recalled, targets = read.recalled.astype(np.float64), evaluator.targets.astype(np.float64)
            figures.add(model, "candidate_recall", longest, recalled, targets)
        ndcg[model] = per_user(read.hits, evaluator.targets, DECISIVE_K)["ndcg"]
    _add_gains(
        figures, ndcg, pick_baseline, lambda ours, theirs: paired_difference(ours, theirs, resamples, seed, level=level)
    )
    return evaluation_table(figures.bounded(resamples, seed, level), figures.plain, users=len(evaluator.targets))


@dataclass
class _Figures:
    """Figures of the contenders, collected so that one bootstrap bounds them all.

    Attributes:
        ones: [users] the divisor of a plain mean.
        keys: contender, metric and k of each column.
        values: [users] each, one value per user.
        divisors: [users] each, what the sum of the values is divided by.
        plain: contender, metric, k and figure of those without an interval.
    """

    ones: Floats
    keys: list[tuple[str, str, int]] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)
    divisors: list[Floats] = field(default_factory=list)
    plain: list[tuple[str, str, int, float]] = field(default_factory=list)

    def add(self, model: str, metric: str, k: int, column: Floats, divisor: Floats | None = None) -> None:
        """Add a column."""
        self.keys.append((model, metric, k))
        self.values.append(column)
        self.divisors.append(self.ones if divisor is None else divisor)

    def bounded(self, resamples: int, seed: int, level: float) -> list[tuple[str, str, int, Interval]]:
        """The mean of each column with its interval."""
        if not self.keys:
            return []
        values, divisors = np.stack(self.values, axis=1), np.stack(self.divisors, axis=1)
        bounds = intervals(values, divisors, resamples, seed, level=level)
        return [(*key, bound) for key, bound in zip(self.keys, bounds, strict=True)]


def _add_gains(
    figures: _Figures,
    ndcg: Mapping[str, Floats],
    pick_baseline: PickBaseline,
    difference: Callable[[Floats, Floats], Interval],
) -> None:
    """Add the paired gains: of all over fusion, of models over the baseline, of the ranker over the champion."""
    best = best_generator({model: float(column.mean()) if len(column) else 0.0 for model, column in ndcg.items()})
    over_fused = None
    if best and "fused" in ndcg:
        over_fused = difference(ndcg[best], ndcg["fused"])
    baseline = pick_baseline(best, over_fused)
    for model in LEARNED:
        if model in ndcg and baseline in ndcg:
            figures.add(model, "ndcg_gain", DECISIVE_K, ndcg[model] - ndcg[baseline])
    for model in sorted(ndcg.keys() - {"fused"}) if "fused" in ndcg else ():
        figures.add(model, OVER_FUSED, DECISIVE_K, ndcg[model] - ndcg["fused"])
    if ndcg.keys() >= set(LEARNED):
        figures.add("ranker", OVER_CHAMPION, DECISIVE_K, ndcg["ranker"] - ndcg["champion"])


def best_generator(ndcg: Mapping[str, float]) -> str | None:
    """The single generator with the best mean NDCG; of equals, the first by name."""
    singles = [model for model in ndcg if model not in (*LEARNED, FINAL_LISTS, "fused")]
    return min(singles, key=lambda model: (-round(ndcg[model], _DECIMALS), model), default=None)


def measured(read: Lists, targets: Ints, k: int) -> dict[str, Floats]:
    """Every metric at k that has a value per user, [users] each; NaN where it is not defined."""
    return {**per_user(read.hits, targets, k), "novelty": novelty(read.self_information, k)}


def evaluation_table(
    bounded: list[tuple[str, str, int, Interval]], plain: list[tuple[str, str, int, float]], users: int
) -> pa.Table:
    """Rows of contract RANKER_EVALUATION, sorted by its key; NaN becomes null.

    Args:
        bounded: model, metric, k and figure with its interval.
        plain: model, metric, k and a figure without one.
        users: users evaluated.
    """

    def figure(value: float) -> float | None:
        return None if math.isnan(value) else round(value, _DECIMALS)

    rows = [(*key, figure(bound.mean), figure(bound.low), figure(bound.high), users) for *key, bound in bounded]
    rows += [(*key, figure(value), None, None, users) for *key, value in plain]
    schema = arrow_schema(RANKER_EVALUATION, IdTypes())
    ordered = sorted(rows, key=lambda row: row[:3])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in ordered], schema=schema)
