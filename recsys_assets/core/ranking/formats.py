"""Stored models: files that hold all that scoring needs, without pickle.

===========================  ======================================================================================
CatBoost's ``.cbm``          a ranker or a classifier; the file names its features
``.npz`` of plain arrays     a logistic regression or a random forest, with the medians that replace nulls; the
                             platform's own rankers: linear, and linear with boosted residual
``.json``                    the order of one generator, or of their fusion; nothing is trained
===========================  ======================================================================================

Every model scores rows one by one, from named columns of CANDIDATES; higher is better.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.arrays import Matrix, arrays_of, filled, read_arrays, write_arrays
from recsys_assets.core.ranking.forest import Forest


class StoredModel(Protocol):
    """A model read from its file."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of CANDIDATES that it scores, in the order of its matrix."""
        ...

    def score(self, matrix: Matrix) -> Floats:
        """Scores [rows]; a row's score depends on no other row."""
        ...


def read_model(data: bytes) -> StoredModel:
    """Read a stored model.

    Raises:
        ValueError: the data are no model of a supported kind.
    """
    if data.startswith(b"CBM1"):
        return TreesOfCatBoost(data)
    try:
        if data.startswith(b"PK"):
            return _from_arrays(data)
        if data.startswith(b"{"):
            return GeneratorOrder(**json.loads(data))
    except (TypeError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"model: not a stored model: {error}") from error
    raise ValueError(f"model: expected a .cbm, .npz or .json file, found one that begins with {data[:4]!r}")


def suffix_of(data: bytes) -> str:
    """The file name suffix of a stored model."""
    return {b"CB": ".cbm", b"PK": ".npz"}.get(data[:2], ".json")


class TreesOfCatBoost:
    """A CatBoost model; its score is the raw sum of its trees (the log odds of a classifier)."""

    def __init__(self, data: bytes):
        # Imported here because it imports pandas and matplotlib, which takes seconds.
        from catboost import CatBoost

        self._data = data
        self.model = CatBoost().load_model(blob=data)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its features."""
        return tuple(self.model.feature_names_ or ())

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`."""
        return np.asarray(self.model.predict(matrix, prediction_type="RawFormulaVal"), dtype=np.float64)

    @property
    def importance(self) -> Floats:
        """[columns] CatBoost's PredictionValuesChange, in percent of the total."""
        from catboost import EFstrType

        return np.asarray(self.model.get_feature_importance(type=EFstrType.PredictionValuesChange), dtype=np.float64)

    @property
    def tree_count(self) -> int:
        """Number of trees."""
        return int(self.model.tree_count_ or 0)

    @property
    def spread(self) -> float:
        """Sum over the trees of the standard deviation of a tree's output on its training rows."""
        ends = np.cumsum(self.model.get_tree_leaf_counts())[:-1]
        parts = [np.split(np.asarray(of), ends) for of in (self.model.get_leaf_values(), self.model.get_leaf_weights())]
        trees = [(value, weight / max(weight.sum(), 1e-12)) for value, weight in zip(*parts, strict=True)]
        return float(sum(np.sqrt(weight @ (value - weight @ value) ** 2) for value, weight in trees))

    def to_bytes(self) -> bytes:
        """The ``.cbm`` file."""
        return self._data


@dataclass(frozen=True)
class Linear:
    """A logistic regression on standardised columns; its score is the probability of the label.

    Attributes:
        columns: names.
        medians: [columns] replace nulls.
        means: [columns].
        scales: [columns] standard deviations, 1 for a constant.
        coefficients: [columns].
        intercept: [1].
    """

    columns: tuple[str, ...]
    medians: Floats
    means: Floats
    scales: Floats
    coefficients: Floats
    intercept: Floats

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`."""
        odds = np.full(len(matrix), float(self.intercept[0]))
        for at in range(len(self.columns)):  # column by column: the order of sums in a matrix product may vary
            odds += (filled(matrix[:, at], self.medians[at]) - self.means[at]) / self.scales[at] * self.coefficients[at]
        with np.errstate(over="ignore"):  # where exp overflows, the probability is 0
            return 1.0 / (1.0 + np.exp(-odds))

    def to_bytes(self) -> bytes:
        """The ``.npz`` file."""
        return write_arrays("linear", arrays_of(self))


@dataclass(frozen=True)
class TransformedLinear:
    """A linear model of transformed features; its score is the log odds of the label up to a constant.

    Attributes:
        columns: names.
        means: [columns] of the transformed features; see :func:`transform_feature`.
        scales: [columns] their standard deviations, 1 for a constant.
        coefficients: [columns].
        missing: [columns] added where a value is missing.
    """

    columns: tuple[str, ...]
    means: Floats
    scales: Floats
    coefficients: Floats
    missing: Floats
    tree_count = 0

    @property
    def importance(self) -> Floats:
        """[columns] absolute coefficient of the standardised column, in percent of the total."""
        return 100.0 * np.abs(self.coefficients) / max(self.spread, 1e-12)

    @property
    def spread(self) -> float:
        """Sum over the columns of the standard deviation of a column's contribution on the training rows."""
        return float(np.abs(self.coefficients).sum())

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`."""
        odds = np.zeros(len(matrix))
        for start in range(0, len(matrix), _ROWS):
            block, of_block = matrix[start : start + _ROWS], odds[start : start + _ROWS]
            for at, name in enumerate(self.columns):  # by columns: the order of sums in a matrix product may vary
                column = block[:, at]
                value = transform_feature(name, column)
                value -= self.means[at]
                value /= self.scales[at]
                value *= self.coefficients[at]
                of_block += value
                if self.missing[at]:
                    of_block += np.isnan(column) * self.missing[at]
        return odds

    @staticmethod
    def zero(columns: tuple[str, ...]) -> TransformedLinear:
        """The model that scores every row 0."""
        zeros = np.zeros(len(columns))
        return TransformedLinear(columns, zeros, np.ones(len(columns)), zeros, zeros)

    def with_prior(self, weight: float) -> TransformedLinear:
        """The model with the fused score added as a prior; unchanged where ``fused_score`` is not among its columns.

        Args:
            weight: of the fused prior: log odds added per unit of the transformed fused score.
        """
        prior = np.where(np.asarray(self.columns) == "fused_score", weight * self.scales, 0.0)
        return replace(self, coefficients=self.coefficients + prior)

    def to_bytes(self) -> bytes:
        """The ``.npz`` file."""
        return write_arrays("transformed_linear", arrays_of(self))


@dataclass(frozen=True)
class BoostedLinear:
    """A linear model with boosted residual: trees fitted on top of its scores. Its score is the sum of both.

    Attributes:
        linear: the model whose scores the trees start from.
        trees: fitted to the residual.
    """

    linear: TransformedLinear
    trees: TreesOfCatBoost

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that both parts score."""
        return self.linear.columns

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`."""
        return self.linear.score(matrix) + self.trees.score(matrix)

    @property
    def tree_count(self) -> int:
        """Number of trees."""
        return self.trees.tree_count

    @property
    def importance(self) -> Floats:
        """[columns] importance of both parts, each weighted by the spread of its scores; in percent."""
        parts = self.linear, self.trees
        spread = max(sum(part.spread for part in parts), 1e-12)
        return sum((part.importance * (part.spread / spread) for part in parts), np.zeros(len(self.columns)))

    def to_bytes(self) -> bytes:
        """The ``.npz`` file, which holds the ``.cbm`` as an array of bytes."""
        trees = np.frombuffer(self.trees.to_bytes(), np.uint8)
        return write_arrays("boosted_linear", {**arrays_of(self.linear), "trees": trees})


Ranker = TransformedLinear | TreesOfCatBoost | BoostedLinear
"""The kinds of model that the platform's own ranker may be."""


def transform_feature(name: str, column: NDArray[np.floating[Any]]) -> Floats:
    """A feature for a linear model: reciprocal of ranks, signed logarithm of all else; 0 where it is missing."""
    value = column.astype(np.float64)
    value[np.isnan(column)] = np.inf if name.endswith("_rank") else 0.0
    if name.endswith("_rank"):
        value += _RANK_OFFSET
        return np.divide(1.0, value, out=value)
    size = np.abs(value)
    return np.copysign(np.log1p(size, out=size), value, out=size)


_ROWS = 8192
"""Rows that are scored at a time: their temporary columns stay in the CPU cache."""

_RANK_OFFSET = 10.0
"""Added to a rank, as in the fusion of the generators."""


@dataclass(frozen=True)
class GeneratorOrder:
    """The order of the fusion or of one generator; items that the generator lacks follow in the fused order.

    Attributes:
        by: 'fused' or a generator.
        kind: of the file.
    """

    by: str
    kind: str = "generator"

    @property
    def columns(self) -> tuple[str, ...]:
        """The ranks that give the order."""
        return (f"{self.by}_rank", "fused_rank")

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`; minus the rank."""
        rank, fused_rank = matrix[:, 0].astype(np.float64), matrix[:, 1].astype(np.float64)
        return np.where(np.isnan(rank), -_BEYOND_ANY_RANK - fused_rank, -rank)

    def to_bytes(self) -> bytes:
        """The ``.json`` file."""
        return json.dumps(asdict(self), sort_keys=True).encode()


_BEYOND_ANY_RANK = 1e6

_MODEL_OF_KIND: Mapping[str, type[Linear | TransformedLinear | Forest]] = {
    "linear": Linear,
    "transformed_linear": TransformedLinear,
    "forest": Forest,
}


def _from_arrays(data: bytes) -> Linear | TransformedLinear | Forest | BoostedLinear:
    kind, arrays = read_arrays(data)
    if kind == "boosted_linear":
        trees = TreesOfCatBoost(arrays.pop("trees").tobytes())
        return BoostedLinear(TransformedLinear(**arrays), trees)
    if kind not in _MODEL_OF_KIND:
        expected = ", ".join(sorted([*_MODEL_OF_KIND, "boosted_linear"]))
        raise ValueError(f"kind: expected one of {expected}, found {kind!r}; train the model again")
    return _MODEL_OF_KIND[kind](**arrays)
