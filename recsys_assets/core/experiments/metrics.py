"""The metrics of experiments, and their values with intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys_assets.core.evaluation.bootstrap import Interval, intervals
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints, hits_at, per_user
from recsys_assets.core.evaluation.threshold import auc_interval, f_beta_parts
from recsys_assets.core.gate.rule import CONFIDENCE

OF_LISTS = ("ndcg", "recall", "precision", "map", "mrr", "hit")
OF_ROWS = ("auc", "f_beta")
STANDARD = ("ndcg_at_10", "recall_at_10", "precision_at_10", "map_at_10", "mrr_at_10", "hit_at_10", *OF_ROWS)
"""Measured for every experiment, so that all can be compared."""

DECISIVE = "ndcg_at_10"
GAIN = "ndcg_at_10_gain"
"""NDCG@10 minus that of the fused generators, on the same users."""

_OF_LIST = re.compile(rf"({'|'.join(OF_LISTS)})_at_([1-9][0-9]?|100)")
_DECIMALS = 12


def check_metric(name: str) -> str:
    """Check and return the name of a metric.

    Raises:
        ValueError: there is no such metric.
    """
    if name not in OF_ROWS and not _OF_LIST.fullmatch(name):
        raise ValueError(f"expected auc, f_beta, or <metric>_at_<1 to 100> with one of {', '.join(OF_LISTS)}")
    return name


@dataclass(frozen=True)
class EvaluatedLists:
    """Lists to evaluate on: the rows of some users; a group is one user in one window.

    Attributes:
        group: [rows] code 0, 1, … of the group.
        labels: [rows] whether the user acted on the item.
        targets: [groups] number of items the user acted on, among the rows or not.
        fused: [rows] scores of the fused generators, the baseline.
    """

    group: Ints
    labels: Bools
    targets: Ints
    fused: Floats


@dataclass(frozen=True)
class Figure:
    """One metric with its interval; NaN where it is not defined."""

    metric: str
    value: float
    low: float
    high: float


def figures(
    evaluated: EvaluatedLists,
    scores: Floats,
    threshold: float,
    metrics: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> list[Figure]:
    """Metrics of a model and its gain over the fused generators, all on the same resamples of users.

    Args:
        evaluated: rows that the model was not trained on.
        scores: [rows].
        threshold: from which score on a row counts as predicted; chosen elsewhere.
        metrics: see :func:`check_metric`.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        One figure per metric, in order, and ``GAIN`` last.
    """
    groups = len(evaluated.targets)
    columns: dict[str, Floats] = {}
    denominators: dict[str, Floats] = {}
    ones = np.ones(groups)
    for name in (*metrics, GAIN):
        if name == "f_beta":
            top, bottom = f_beta_parts(evaluated.labels, scores >= threshold, evaluated.group, groups)
            columns[name], denominators[name] = top, bottom
        elif name == GAIN:
            columns[name] = _of_list(DECISIVE, evaluated, scores) - _of_list(DECISIVE, evaluated, evaluated.fused)
        elif name != "auc":
            columns[name] = _of_list(name, evaluated, scores)
    values = np.stack(list(columns.values()), axis=1)
    divisors = np.stack([denominators.get(name, ones) for name in columns], axis=1)
    values_of: dict[str, Interval] = dict(
        zip(columns, intervals(values, divisors, resamples, seed, level=CONFIDENCE), strict=True)
    )
    if "auc" in metrics:
        values_of["auc"] = auc_interval(evaluated.labels, scores, evaluated.group, level=CONFIDENCE)
    return [_rounded(name, values_of[name]) for name in (*metrics, GAIN)]


def defined(value: float) -> float | None:
    """A value for JSON and tables: None where it is not defined (NaN or infinite)."""
    return value if math.isfinite(value) else None


def _of_list(name: str, evaluated: EvaluatedLists, scores: Floats) -> Floats:
    """A metric of each group."""
    metric, _, k = name.partition("_at_")
    hits = hits_at(evaluated.group, evaluated.labels, scores, int(k))
    return per_user(hits, evaluated.targets, int(k))[metric]


def _rounded(name: str, interval: Interval) -> Figure:
    return Figure(name, *(round(value, _DECIMALS) for value in (interval.mean, interval.low, interval.high)))
