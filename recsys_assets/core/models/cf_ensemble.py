"""An ensemble of collaborative filtering models: the weighted sum of their scores, standardized for each history.

It is fitted on a matrix of users and items, and recommends to any history: that of a user at night, of one in a
training window, or of a visitor in a request. The result does not depend on the other histories of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix

from recsys_assets.core.ids import Ints, distinct
from recsys_assets.core.models.cf_models import MODELS, Kind, ModelParams
from recsys_assets.core.models.interactions import Floats, InteractionModel, Interactions, Scores, shape_of
from recsys_assets.core.models.stored_arrays import from_bytes, rounded, to_bytes
from recsys_assets.core.models.top_k import best_of_rows
from recsys_assets.core.threads import FEW, in_threads

_ROWS = 1024
"""Histories at a time: a product with the weights of item models has some thousand entries for each."""


@dataclass(frozen=True)
class CfEnsemble:
    """Fitted models.

    Attributes:
        items: ids, ascending; the columns of the histories.
        models: by name.
    """

    items: pa.Array
    models: Mapping[str, InteractionModel]

    def to_bytes(self) -> bytes:
        """The file; equal models give equal bytes."""
        arrays = {
            f"{name}.{part}": array for name, model in self.models.items() for part, array in model.arrays.items()
        }
        return to_bytes(self.items, arrays)

    @staticmethod
    def from_bytes(data: bytes) -> CfEnsemble:
        """What :meth:`to_bytes` wrote.

        Raises:
            ValueError: it is the file of something else or of another version.
        """
        return CfEnsemble.of(*from_bytes(data))

    @staticmethod
    def of(items: pa.Array, arrays: Mapping[str, npt.NDArray[Any]]) -> CfEnsemble:
        """The models of the arrays of a file.

        Raises:
            ValueError: they are those of something else or of another version.
        """
        models: dict[str, InteractionModel] = {}
        for name in dict.fromkeys(key.partition(".")[0] for key in arrays):
            if name not in MODELS:
                raise ValueError(f"cf_ensemble: unknown model {name!r}; fit it again")
            parts = {key.partition(".")[2]: array for key, array in arrays.items() if key.startswith(f"{name}.")}
            try:
                models[name] = MODELS[name].of(parts)
            except KeyError as part:
                raise ValueError(f"cf_ensemble: {name} lacks {part}; fit it again") from None
        return CfEnsemble(items, models)


def fit(interactions: Interactions, params: ModelParams | None = None) -> CfEnsemble:
    """Fit every model; none where there is no pair. Parameters are rounded, as they are stored."""
    if not interactions.matrix.nnz:
        return CfEnsemble(interactions.items, {})

    def fitted(kind: Kind) -> InteractionModel:
        arrays = kind.fit(interactions, params or ModelParams()).arrays
        return kind.of({part: rounded(array) for part, array in arrays.items()})

    models = in_threads(fitted, MODELS.values(), FEW)
    return CfEnsemble(interactions.items, dict(zip(MODELS, models, strict=True)))


@dataclass(frozen=True)
class Candidates:
    """Items of histories, ordered by row and column, each pair once.

    Attributes:
        rows: [pairs] of the histories.
        columns: [pairs] position of the item.
        scores: [models, pairs] standardized scores.
    """

    rows: Ints
    columns: Ints
    scores: Floats


def candidates(model: CfEnsemble, histories: csr_matrix, k: int, unavailable: Ints | None = None) -> Candidates:
    """The k best items of each history by each model, without the items of the history.

    Args:
        model: fitted.
        histories: [rows, items] float32.
        k: items per model and history.
        unavailable: positions of items to leave out.
    """
    items = max(1, len(model.items))
    available = np.ones(len(model.items), np.bool_)
    available[unavailable if unavailable is not None else []] = False

    def best_of_block(start: int) -> Candidates:
        block = _block(histories, start)
        scores = [one.scores(block) for one in model.models.values()]
        best = [rows * items + columns for rows, columns in (one.best(k, block, available) for one in scores)]
        rows, columns = np.divmod(distinct(np.concatenate([np.empty(0, np.int64), *best])), items)
        return Candidates(rows + start, columns, _standardized(scores, rows, columns))

    parts = in_threads(best_of_block, _starts(histories), FEW)
    return Candidates(
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.scores for part in parts], axis=1),
    )


def score(model: CfEnsemble, histories: csr_matrix, rows: Ints, columns: Ints) -> Floats:
    """Standardized scores [models, pairs] of pairs.

    Args:
        model: fitted.
        histories: [rows, items] float32.
        rows: of the pairs, ascending.
        columns: position of the item of each pair.
    """

    def of_block(start: int) -> Floats:
        block = _block(histories, start)
        pairs = slice(*np.searchsorted(rows, (start, start + shape_of(block)[0])))
        scores = [one.scores(block) for one in model.models.values()]
        return _standardized(scores, rows[pairs] - start, columns[pairs])

    return np.concatenate(in_threads(of_block, _starts(histories), FEW), axis=1)


def weighted(found: Candidates, weights: Mapping[str, float], model: CfEnsemble) -> Floats:
    """The weighted sum of the scores of candidates; a model without a weight counts nothing."""
    total = np.zeros(len(found.rows), np.float32)
    for name, scores in zip(model.models, found.scores, strict=True):
        total += np.float32(weights.get(name, 0.0)) * scores
    return total


def best_of(found: Candidates, totals: Floats, k: int) -> Ints:
    """Positions among candidates of the k best of each row, by row, score descending, column."""
    return best_of_rows(found.rows, totals, k)


def _standardized(scores: list[Scores], rows: Ints, columns: Ints) -> Floats:
    if not scores:
        return np.empty((0, len(rows)), np.float32)
    return np.stack([one.standardized(rows, columns) for one in scores])


def _starts(histories: csr_matrix) -> range:
    """The first row of each block; at least one."""
    return range(0, max(1, shape_of(histories)[0]), _ROWS)


def _block(histories: csr_matrix, start: int) -> csr_matrix:
    return csr_matrix(histories[start : start + _ROWS])
