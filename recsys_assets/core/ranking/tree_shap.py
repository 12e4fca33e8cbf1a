"""SHAP values of CatBoost's trees (TreeSHAP; Lundberg, Erion and Lee, 2018).

All rows in a leaf of a symmetric tree have the same values, so they are computed once per leaf and looked up. A test
compares them with CatBoost's own ``ShapValues``, which take 30 microseconds per row whatever the number of trees: as
long as all else that is done for a recommendation. Trees that are deeper or not symmetric get CatBoost's.
"""

from __future__ import annotations

import json
import tempfile
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.arrays import Matrix
from recsys_assets.core.ranking.formats import TreesOfCatBoost

if TYPE_CHECKING:
    from catboost import CatBoost


class LeafTable(NamedTuple):
    """The SHAP values of a tree.

    Attributes:
        features: positions of the features that it splits by.
        values: [features, leaves].
    """

    features: list[int]
    values: Floats


class TreeShap:
    """SHAP values of a model of trees of numeric features.

    Args:
        model: of CatBoost.

    Attributes:
        baseline: mean of the model's scores on its training rows.
    """

    def __init__(self, model: TreesOfCatBoost) -> None:
        self._model = model.model
        stated = _as_json(model.model)
        scale, (bias, *_) = stated["scale_and_bias"]
        trees = stated.get("oblivious_trees")
        self._tables: list[LeafTable] | None = None
        if trees is None or any(len(tree["splits"]) > _DEEPEST for tree in trees):
            nothing = np.full((1, len(model.columns)), np.nan, np.float32)
            self.baseline = float(self._values_of_catboost(nothing)[0, -1])
            return
        pairs = [_leaf_table(tree) for tree in trees]
        self._tables = [LeafTable(table.features, scale * table.values) for table, _ in pairs]
        self.baseline = float(bias) + scale * sum(mean for _, mean in pairs)

    def values(self, matrix: Matrix) -> Floats:
        """[rows, columns] What each column adds to the baseline; their sum with it is the score."""
        found = np.zeros(matrix.shape)
        if not len(matrix):
            return found
        if self._tables is None:
            return self._values_of_catboost(matrix)[:, :-1]
        if self._tables:
            leaves = np.asarray(self._model.calc_leaf_indexes(matrix)).astype(np.int64)
            for at, table in enumerate(self._tables):
                for feature, values in zip(table.features, table.values, strict=True):
                    found[:, feature] += values[leaves[:, at]]
        return found

    def _values_of_catboost(self, matrix: Matrix) -> Floats:
        """[rows, columns + 1] The values, and last the baseline."""
        from catboost import EFstrType, Pool

        values = self._model.get_feature_importance(
            Pool(np.ascontiguousarray(matrix)), type=EFstrType.ShapValues, shap_mode="UsePreCalc"
        )
        return np.asarray(values, np.float64)


_DEEPEST = 8
"""Splits of the trees whose tables are made: the work doubles twice with each further one."""


def _as_json(model: CatBoost) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return json.loads(path.read_text("utf-8"))


def _leaf_table(tree: dict[str, Any]) -> tuple[LeafTable, float]:
    """The table of a tree, and the mean of its scores.

    The value of a feature in a leaf is its weighted mean gain over all sets of the other features of the tree; of a set
    of features, the expectation of the score where only they are known.
    """
    of_level = [int(split["float_feature_index"]) for split in tree["splits"]]
    features = sorted(set(of_level))
    expected = {
        known: _expectation(tree, [feature in known for feature in of_level])
        for size in range(len(features) + 1)
        for known in map(frozenset, combinations(features, size))
    }
    values = np.zeros((len(features), len(tree["leaf_values"])))
    for at, feature in enumerate(features):
        for known in expected:
            if feature not in known:
                before, after = len(known), len(features) - len(known) - 1
                weight = factorial(before) * factorial(after) / factorial(len(features))
                values[at] += weight * (expected[known | {feature}] - expected[known])
    return LeafTable(features, values), float(expected[frozenset()][0])


def _expectation(tree: dict[str, Any], known: list[bool]) -> Floats:
    """[leaves] The expected score of a tree for the rows of each leaf where some levels' splits are known.

    Bit ``n`` of the number of a leaf is the outcome of split ``n``, and the last split is the root. Below a split that
    is not known, the two sides count by their training rows.
    """
    shape = [2] * len(known)
    score, weight = (np.asarray(tree[name], np.float64).reshape(shape) for name in ("leaf_values", "leaf_weights"))
    for level, is_known in enumerate(known):  # from the leaves up
        axis = len(known) - 1 - level
        above = weight.sum(axis=axis, keepdims=True)
        if not is_known:
            share = np.divide(weight, above, out=np.zeros_like(weight), where=above > 0)
            score = (score * share).sum(axis=axis, keepdims=True)
        weight = above
    return np.broadcast_to(score, shape).reshape(-1)
