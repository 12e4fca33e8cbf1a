"""What every ranker starts from: a logistic regression of single candidates on logs and reciprocal ranks.

Trees alone need thousands of lists before they beat the generators that they order. A linear model has a coefficient
per feature to learn and bends what is known to be bent: places count by their reciprocal, as in the fusion, and amounts
by their logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys_assets.core.evaluation.metrics import Bools, Floats
from recsys_assets.core.ranking.formats import FeatureTransform, transform
from recsys_assets.core.ranking.split import Split


def fit_linear(examples: Split, penalty: float, rows: Bools) -> FeatureTransform:
    """Learn from some of the rows; each list counts the same, however many positives it has.

    Args:
        examples: as those of :mod:`recsys_assets.core.ranking.split` give them.
        penalty: L2: half of it times the squared coefficients of standardised columns is added to the sum of the
            lists' losses, so that it weighs less, the more lists there are.
        rows: [rows] those to learn from.
    """
    # Imported where it is used: it takes a second that loading the graph must not take.
    from sklearn.linear_model import LogisticRegression

    matrix, labels, group = examples.matrix[rows], examples.labels[rows], examples.group[rows]
    columns = np.asarray(examples.columns)
    absent = np.isnan(matrix)
    bent = np.stack([transform(name, matrix[:, at]) for at, name in enumerate(examples.columns)], axis=1)
    means, scales = bent.mean(axis=0), _scales(bent)
    # A place that is missing is a place far down; of other features, that they are missing may say something.
    told = absent.any(axis=0) & ~np.char.endswith(columns, "_rank")
    inputs = np.concatenate([(bent - means) / scales, absent[:, told]], axis=1)
    positives = np.bincount(group, weights=labels)[group]
    with threadpool_limits(limits=1):  # the same bits whatever the cores
        # Far more rows than columns: Newton's steps are few, and each costs one product of the columns.
        fitted: Any = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-8).fit(
            inputs, labels > 0, sample_weight=1.0 / np.maximum(positives, 1.0)
        )
    found = np.asarray(fitted.coef_[0], dtype=np.float64)
    missing = np.zeros(len(columns))
    missing[told] = found[len(columns) :]
    return FeatureTransform(examples.columns, means, scales, found[: len(columns)], missing)


def _scales(columns: NDArray[np.float64]) -> Floats:
    """Standard deviations, 1 for a constant."""
    scales = columns.std(axis=0)
    scales[scales == 0] = 1.0
    return scales
