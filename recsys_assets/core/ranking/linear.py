"""The linear ranker: a logistic regression of single candidates on reciprocal ranks and logarithms.

Trees alone need thousands of lists before they beat the generators whose candidates they order. A linear model learns
one coefficient per feature, and the features are transformed as is known to suit them: ranks to their reciprocal, as in
the fusion, and amounts to their logarithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys_assets.core.evaluation.metrics import Bools, Floats
from recsys_assets.core.ranking.formats import TransformedLinear, transform_feature
from recsys_assets.core.ranking.split import Split


def fit_linear(examples: Split, penalty: float, rows: Bools) -> TransformedLinear:
    """Fit to some of the rows; each list has the same weight, however many positives it has.

    Args:
        examples: see :mod:`recsys_assets.core.ranking.split`.
        penalty: L2: half of it times the squared coefficients of standardised columns is added to the sum of the
            lists' losses, so its influence falls with the number of lists.
        rows: [rows] mask of the training rows.
    """
    # Imported here because it takes a second, which loading the graph must not.
    from sklearn.linear_model import LogisticRegression

    matrix, labels, group = examples.matrix[rows], examples.labels[rows], examples.group[rows]
    columns = np.asarray(examples.columns)
    absent = np.isnan(matrix)
    transformed = np.stack([transform_feature(name, matrix[:, at]) for at, name in enumerate(examples.columns)], axis=1)
    means, scales = transformed.mean(axis=0), _scales(transformed)
    # A missing rank means a rank far down. For other features, a column of its own says that the value is missing.
    flagged = absent.any(axis=0) & ~np.char.endswith(columns, "_rank")
    inputs = np.concatenate([(transformed - means) / scales, absent[:, flagged]], axis=1)
    positives = np.bincount(group, weights=labels)[group]
    with threadpool_limits(limits=1):  # the same bits on any number of cores
        # With far more rows than columns, Newton takes few steps, each of one product of the columns.
        fitted: Any = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-8).fit(
            inputs, labels > 0, sample_weight=1.0 / np.maximum(positives, 1.0)
        )
    coefficients = np.asarray(fitted.coef_[0], dtype=np.float64)
    missing = np.zeros(len(columns))
    missing[flagged] = coefficients[len(columns) :]
    return TransformedLinear(examples.columns, means, scales, coefficients[: len(columns)], missing)


def fit_to_all(examples: Split, penalty: float) -> TransformedLinear:
    """:func:`fit_linear` to all rows."""
    return fit_linear(examples, penalty, np.ones(len(examples.held_out), np.bool_))


def _scales(columns: NDArray[np.float64]) -> Floats:
    """Standard deviations, 1 for a constant."""
    scales = columns.std(axis=0)
    scales[scales == 0] = 1.0
    return scales
