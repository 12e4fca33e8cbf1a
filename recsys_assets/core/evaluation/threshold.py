r"""Metrics of scores as a classifier: rows with a label and a score, regardless of whose list they are in.

============  ====================================================================================
auc           share of the pairs (positive, negative) in which the positive has the higher score; ties count half
f_beta        (1 + b²) TP / ((1 + b²) TP + b² FN + FP) of "score at least the threshold"; recall counts b times as
              much as precision. 0 where nothing is positive and nothing is predicted
============  ====================================================================================

A threshold belongs to the model: it is chosen on rows of training windows and never on those of the evaluation.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.core.evaluation.bootstrap import Interval
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints

BETA = 1.5


def auc(labels: Bools, scores: Floats) -> float:
    """Area under the ROC curve; NaN unless there are positives and negatives."""
    return _auc(labels, scores)[0]


def auc_interval(labels: Bools, scores: Floats, group: Ints, *, level: float) -> Interval:
    """The AUC with an interval that takes into account that the rows of one user are dependent.

    The variance is that of DeLong's placements summed by user (Obuchowski, Biometrics 1997), which costs one sort
    where a bootstrap would cost a thousand.

    Args:
        labels: [rows].
        scores: [rows].
        group: [rows] code of the user.
        level: of the interval.
    """
    value, placements = _auc(labels, scores)
    users = len(np.unique(group))
    if np.isnan(value) or users < 2:
        return Interval(value, np.nan, np.nan)
    positives = int(labels.sum())
    each = (placements - value) / np.where(labels, positives, len(labels) - positives)
    by_user = np.bincount(group, weights=each)
    # scipy takes a tenth of a second to import; only steps that evaluate pay for it.
    from scipy.special import ndtri

    half = float(ndtri(0.5 + level / 2)) * float(np.sqrt(users / (users - 1) * (by_user**2).sum()))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def f_beta(labels: Bools, predicted: Bools, beta: float = BETA) -> float:
    """F-beta of predictions; see the module."""
    top, bottom = f_beta_parts(labels, predicted, np.zeros(len(labels), dtype=np.int64), 1, beta)
    return float(top[0] / bottom[0]) if bottom[0] else 0.0


def f_beta_parts(
    labels: Bools, predicted: Bools, group: Ints, groups: int, beta: float = BETA
) -> tuple[Floats, Floats]:
    """Numerator and denominator of F-beta by user, [groups] each: F of any users is the ratio of their sums."""

    def by_user(rows: Bools) -> Floats:
        return np.bincount(group, weights=rows, minlength=groups).astype(np.float64)

    hit = by_user(labels & predicted) * (1 + beta**2)
    return hit, hit + by_user(labels & ~predicted) * beta**2 + by_user(~labels & predicted)


def best_threshold(labels: Bools, scores: Floats, beta: float = BETA) -> float:
    """The score from which on rows are predicted positive, so that F-beta is largest; of equals, the highest.

    Infinite where there is no positive row: then nothing is predicted.
    """
    if not labels.any():
        return float("inf")
    order = np.argsort(-scores, kind="stable")
    ranked, values = labels[order], scores[order]
    hit = ranked.cumsum()
    figures = (1 + beta**2) * hit / (beta**2 * int(labels.sum()) + np.arange(1, len(order) + 1))
    last = np.append(values[1:] != values[:-1], True)  # a threshold takes all rows of its score
    return float(values[np.argmax(np.where(last, figures, -1.0))])


def _auc(labels: Bools, scores: Floats) -> tuple[float, Floats]:
    """The AUC, and for each row the share of the other side's rows that it is on the right side of."""
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan"), np.zeros(len(labels))

    def share_below(values: Floats, others: Floats) -> Floats:
        ordered = np.sort(others)
        left, right = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
        return (left + right) / (2 * len(ordered))

    placements = np.empty(len(labels))
    placements[labels] = share_below(scores[labels], scores[~labels])
    placements[~labels] = 1 - share_below(scores[~labels], scores[labels])
    return float(placements[labels].mean()), placements
