"""What each feature adds to the score that a stored model gives a row.

=========================  =============================================================================
linear models              coefficient times standardised value (log odds, as their score is or derives from)
CatBoost's trees           SHAP values; see :mod:`recsys_assets.core.ranking.tree_shap`
linear with boosted trees  the sum of both
random forest              the change of the share of positives at each split of a path (Saabas, 2014)
order of a generator       the rank is the whole score
=========================  =============================================================================

Contributions are additive: their sum over the columns and the baseline is the score of the row, of a logistic
regression its log odds.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.arrays import Matrix, filled
from recsys_assets.core.ranking.forest import Forest
from recsys_assets.core.ranking.formats import (
    BoostedLinear,
    GeneratorOrder,
    Linear,
    StoredModel,
    TransformedLinear,
    TreesOfCatBoost,
    transform_feature,
)
from recsys_assets.core.ranking.tree_shap import TreeShap

_ROWS = 8192
"""Rows at a time: their temporary columns stay in the CPU cache."""


class Explainer(Protocol):
    """Splits scores into contributions."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of CANDIDATES with features that it takes, in the order of its matrix."""
        ...

    @property
    def baseline(self) -> float:
        """The score without any contribution."""
        ...

    def contributions(self, matrix: Matrix) -> Floats:
        """[rows, columns] What each column adds to the baseline; those of a row depend on no other row."""
        ...


class ModelExplainer:
    """The :class:`Explainer` of a stored model.

    Args:
        model: of any kind.
    """

    def __init__(self, model: StoredModel) -> None:
        self._model = model
        self._shap: TreeShap | None = None
        if isinstance(model, TreesOfCatBoost):
            self._shap = TreeShap(model)
        elif isinstance(model, BoostedLinear):
            self._shap = TreeShap(model.trees)

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Explainer`."""
        return self._model.columns

    @property
    def baseline(self) -> float:
        """See :class:`Explainer`."""
        if isinstance(self._model, Linear):
            return float(self._model.intercept[0])
        if isinstance(self._model, Forest):
            return float(self._model.share[self._model.roots].mean())
        return self._shap.baseline if self._shap else 0.0

    def contributions(self, matrix: Matrix) -> Floats:
        """See :class:`Explainer`."""
        model = self._model
        if isinstance(model, Linear):
            return _of_linear(model, matrix)
        if isinstance(model, TransformedLinear):
            return _of_transformed(model, matrix)
        if isinstance(model, Forest):
            return _of_forest(model, matrix)
        if isinstance(model, GeneratorOrder):
            return _of_order(model, matrix)
        of_trees = self._shap.values(matrix) if self._shap else np.zeros(matrix.shape)
        return of_trees + _of_transformed(model.linear, matrix) if isinstance(model, BoostedLinear) else of_trees


def _of_linear(model: Linear, matrix: Matrix) -> Floats:
    columns = [
        (filled(matrix[:, at], model.medians[at]) - model.means[at]) / model.scales[at] * model.coefficients[at]
        for at in range(len(model.columns))
    ]
    return np.stack(columns, axis=1)


def _of_transformed(model: TransformedLinear, matrix: Matrix) -> Floats:
    found = np.empty(matrix.shape)
    for start in range(0, len(matrix), _ROWS):
        block = matrix[start : start + _ROWS]
        for at, name in enumerate(model.columns):
            value = (transform_feature(name, block[:, at]) - model.means[at]) / model.scales[at]
            found[start : start + _ROWS, at] = (
                value * model.coefficients[at] + np.isnan(block[:, at]) * model.missing[at]
            )
    return found


def _of_forest(model: Forest, matrix: Matrix) -> Floats:
    found, values = np.zeros(matrix.shape), model.values(matrix)
    for root in model.roots:
        for rows, node, child in model.steps(values, root):
            found[rows, model.feature[node]] += model.share[child] - model.share[node]
    return found / len(model.roots)


def _of_order(model: GeneratorOrder, matrix: Matrix) -> Floats:
    own = ~np.isnan(matrix[:, 0])
    score = model.score(matrix)
    return np.stack([np.where(own, score, 0.0), np.where(own, 0.0, score)], axis=1)
