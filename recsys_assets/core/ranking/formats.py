"""What a stored model is: a file that says by itself how to score, without pickle.

===========================  ======================================================================================
CatBoost's ``.cbm``          a ranker or a classifier; the file names its features
``.npz`` of plain arrays     a logistic regression or a random forest, with the medians that stand for nulls; the
                             platform's own linear ranker
``.json``                    the order of one generator, or of their fusion: nothing was learned
===========================  ======================================================================================

Every model scores rows one by one, from named columns of CANDIDATES; a higher score is better.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.arrays import Matrix, arrays_of, filled, read_arrays, write_arrays
from recsys_assets.core.ranking.forest import Forest


class StoredModel(Protocol):
    """A model that was read."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of CANDIDATES that it scores from, in the order of its matrix."""
        ...

    def score(self, matrix: Matrix) -> Floats:
        """Scores [rows]; a row's score depends on that row alone."""
        ...


def read_model(data: bytes) -> StoredModel:
    """Read a stored model.

    Raises:
        ValueError: it is of no kind that is known here.
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
    """How the name of a file with such a model ends."""
    return {b"CB": ".cbm", b"PK": ".npz"}.get(data[:2], ".json")


class TreesOfCatBoost:
    """A CatBoost model; its score is the raw sum of its trees (of a classifier, the log odds)."""

    def __init__(self, data: bytes):
        # Imported where it is used: it brings pandas and matplotlib along, which takes seconds.
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
        """[columns] CatBoost's PredictionValuesChange, in percent of all."""
        from catboost import EFstrType

        return np.asarray(self.model.get_feature_importance(type=EFstrType.PredictionValuesChange), dtype=np.float64)

    @property
    def tree_count(self) -> int:
        """How many trees it has."""
        return int(self.model.tree_count_ or 0)

    @property
    def spread(self) -> float:
        """Sum over the trees of the standard deviation of what a tree adds to the rows that it was grown on."""
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
        medians: [columns] what stands for null.
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
        for at in range(len(self.columns)):  # column by column: a matrix product adds in an order of its own
            odds += (filled(matrix[:, at], self.medians[at]) - self.means[at]) / self.scales[at] * self.coefficients[at]
        with np.errstate(over="ignore"):  # beyond the largest float, the probability is 0
            return 1.0 / (1.0 + np.exp(-odds))

    def to_bytes(self) -> bytes:
        """The ``.npz`` file."""
        return write_arrays("linear", arrays_of(self))


@dataclass(frozen=True)
class FeatureTransform:
    """A linear model of bent columns; its score is the log odds of the label, but for a constant.

    Attributes:
        columns: names.
        means: [columns] of what :func:`transform` gives.
        scales: [columns] its standard deviations, 1 for a constant.
        coefficients: [columns].
        missing: [columns] what is added where a value is missing.
    """

    columns: tuple[str, ...]
    means: Floats
    scales: Floats
    coefficients: Floats
    missing: Floats
    tree_count = 0

    @property
    def importance(self) -> Floats:
        """[columns] size of the coefficient of the standardised column, in percent of all."""
        return 100.0 * np.abs(self.coefficients) / max(self.spread, 1e-12)

    @property
    def spread(self) -> float:
        """Sum over the columns of the standard deviation of what a column adds to the rows that were learned from."""
        return float(np.abs(self.coefficients).sum())

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`."""
        odds = np.zeros(len(matrix))
        for at, name in enumerate(self.columns):  # column by column: a matrix product adds in an order of its own
            column = matrix[:, at]
            odds += (transform(name, column) - self.means[at]) / self.scales[at] * self.coefficients[at]
            odds += np.isnan(column) * self.missing[at]
        return odds

    @staticmethod
    def of_nothing(columns: tuple[str, ...]) -> FeatureTransform:
        """The one that gives every row the same score."""
        zeros = np.zeros(len(columns))
        return FeatureTransform(columns, zeros, np.ones(len(columns)), zeros, zeros)

    def prior_weight(self, on_fused: float) -> FeatureTransform:
        """The same with so many log odds more for a bent fused score of 1; as it is where it has no such column."""
        more = np.where(np.asarray(self.columns) == "fused_score", on_fused * self.scales, 0.0)
        return replace(self, coefficients=self.coefficients + more)

    def to_bytes(self) -> bytes:
        """The ``.npz`` file."""
        return write_arrays("bent", arrays_of(self))


@dataclass(frozen=True)
class BoostedLinear:
    """A linear model and the trees that correct it; its score is the sum of both.

    Attributes:
        linear: where the trees started from.
        trees: what they add.
    """

    linear: FeatureTransform
    trees: TreesOfCatBoost

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that both score from."""
        return self.linear.columns

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`."""
        return self.linear.score(matrix) + self.trees.score(matrix)

    @property
    def tree_count(self) -> int:
        """How many trees it has."""
        return self.trees.tree_count

    @property
    def importance(self) -> Floats:
        """[columns] that of both parts, each as much as its scores are spread; in percent."""
        parts = self.linear, self.trees
        spread = max(sum(part.spread for part in parts), 1e-12)
        return sum((part.importance * (part.spread / spread) for part in parts), np.zeros(len(self.columns)))

    def to_bytes(self) -> bytes:
        """The ``.npz`` file, in which the ``.cbm`` lies as an array of bytes."""
        trees = np.frombuffer(self.trees.to_bytes(), np.uint8)
        return write_arrays("corrected", {**arrays_of(self.linear), "trees": trees})


Ranker = FeatureTransform | TreesOfCatBoost | BoostedLinear
"""What the platform itself trains."""


def transform(name: str, column: NDArray[np.floating[Any]]) -> Floats:
    """A column as a linear model likes it: ranks as reciprocals, others as logarithms; 0 where it is missing."""
    value = np.nan_to_num(column.astype(np.float64), nan=np.inf if name.endswith("_rank") else 0.0, posinf=np.inf)
    if name.endswith("_rank"):
        return 1.0 / (_FUSION + value)
    return np.sign(value) * np.log1p(np.abs(value))


_FUSION = 10.0
"""Added to a rank, as in the fusion of the generators."""


@dataclass(frozen=True)
class GeneratorOrder:
    """The order of ``fused`` or of one generator; where that one's list ends, the fused order goes on.

    Attributes:
        by: 'fused' or a generator.
        kind: of the file.
    """

    by: str
    kind: str = "generator"

    @property
    def columns(self) -> tuple[str, ...]:
        """The ranks that it orders by."""
        return (f"{self.by}_rank", "fused_rank")

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`StoredModel`; minus the rank."""
        own, fused = matrix[:, 0].astype(np.float64), matrix[:, 1].astype(np.float64)
        return np.where(np.isnan(own), -_BEYOND_ANY_RANK - fused, -own)

    def to_bytes(self) -> bytes:
        """The ``.json`` file."""
        return json.dumps(asdict(self), sort_keys=True).encode()


_BEYOND_ANY_RANK = 1e6


def _from_arrays(data: bytes) -> Linear | FeatureTransform | Forest | BoostedLinear:
    kind, arrays = read_arrays(data)
    if kind == "corrected":
        trees = TreesOfCatBoost(arrays.pop("trees").tobytes())
        return BoostedLinear(FeatureTransform(**arrays), trees)
    return {"linear": Linear, "bent": FeatureTransform, "forest": Forest}[kind](**arrays)
