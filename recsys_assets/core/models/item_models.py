"""Item-to-item models: an item's score for a user is the sum of its weights from the items of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Bools, Doubles, Floats, Interactions, shape_of, standardize
from recsys_assets.core.models.sparse_rows import largest_of_rows
from recsys_assets.core.models.top_k import largest

_ENTRIES = 20_000_000
"""Entries of a product of sparse matrices at a time: 160 MB."""


@dataclass(frozen=True)
class Rp3BetaParams:
    """Parameters of the random walk.

    Args:
        alpha: exponent of the probability of each step.
        beta: exponent of the penalty on popular items.
        neighbours: kept per item.
    """

    alpha: float = 0.7
    beta: float = 0.3
    neighbours: int = 500


@dataclass(frozen=True)
class ItemKnnParams:
    """Parameters of the similarity.

    Args:
        shrinkage: added to the denominator of the cosine.
        neighbours: kept per item.
    """

    shrinkage: float = 10.0
    neighbours: int = 200


@dataclass(frozen=True)
class EaseParams:
    """Parameters of the linear model.

    Args:
        regularization: L2 penalty.
        most_items: items with the most users, which it is fitted on: time grows with the cube of their number, memory
            with its square (8 bytes, twice).
        neighbours: weights kept per item, the largest in size.
    """

    regularization: float = 200.0
    most_items: int = 10_000
    neighbours: int = 1000


class Neighbours:
    """A sparse matrix of weights from items of the user to recommended items.

    Args:
        weights: [items, items] float32.
    """

    def __init__(self, weights: csr_matrix):
        self.weights = weights

    @staticmethod
    def of(arrays: Mapping[str, npt.NDArray[Any]]) -> Neighbours:
        """The model of :attr:`arrays`."""
        items = len(arrays["starts"]) - 1
        parts = (arrays["weights"], arrays["items"], arrays["starts"])
        return Neighbours(csr_matrix(parts, shape=(items, items)))

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        matrix = self.weights
        return {"weights": matrix.data, "items": matrix.indices.astype(np.int32), "starts": matrix.indptr}

    def scores(self, histories: csr_matrix) -> NeighbourScores:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        return NeighbourScores(csr_matrix(histories @ self.weights))


class NeighbourScores:
    """The scores of a block of histories: a sparse matrix; what is not stored scores 0."""

    def __init__(self, matrix: csr_matrix):
        matrix.sort_indices()
        self._matrix = matrix
        self._rows = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))

    def best(self, k: int, histories: csr_matrix, available: Bools) -> tuple[Ints, Ints]:
        """See :class:`~recsys_assets.core.models.interactions.Scores`; only scores above 0 count."""
        matrix, rows = self._matrix, self._rows
        items = shape_of(matrix)[1]
        known = np.repeat(np.arange(len(histories.indptr) - 1), np.diff(histories.indptr)) * items + histories.indices
        allowed = (matrix.data > 0) & available[matrix.indices]
        allowed[allowed] = ~among(rows[allowed] * items + matrix.indices[allowed], np.sort(known))
        starts = np.searchsorted(rows[allowed], np.arange(len(matrix.indptr)))
        parts = (matrix.data[allowed], matrix.indices[allowed], starts)
        best = largest_of_rows(csr_matrix(parts, shape=matrix.shape), k)
        return np.repeat(np.arange(len(best.indptr) - 1), np.diff(best.indptr)), best.indices.astype(np.int64)

    def standardized(self, rows: Ints, columns: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.Scores`."""
        count, items = shape_of(self._matrix)
        values: Doubles = self._matrix.data.astype(np.float64)
        mean, square = (np.bincount(self._rows, moment, count) / items for moment in (values, values**2))
        stored, asked = self._rows * items + self._matrix.indices, rows * items + columns
        if not len(stored):
            return np.zeros(len(rows), np.float32)
        place = np.minimum(np.searchsorted(stored, asked), len(stored) - 1)
        found = np.where(stored[place] == asked, values[place], 0.0)
        return standardize(found, mean, square, rows)


def among(values: Ints, ascending: Ints) -> Bools:
    """Whether each value is one of the others."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    return ascending[np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)] == values


def ease(interactions: Interactions, params: EaseParams) -> Neighbours:
    """A linear model without self-similarity, in closed form (Steck, Embarrassingly Shallow Autoencoders, WWW 2019)."""
    users = np.bincount(interactions.matrix.indices, minlength=interactions.shape[1])
    chosen = np.sort(np.argsort(-users, kind="stable")[: params.most_items])
    matrix, size = csr_matrix(interactions.matrix[:, chosen]), len(chosen)
    gram = np.asarray((matrix.T @ matrix).todense(), np.float64)
    gram[np.diag_indices(size)] += params.regularization
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
        # Less than half of the work of solving for the identity.
        factorize, invert = get_lapack_funcs(("potrf", "potri"), (gram,))
        upper, _ = invert(factorize(gram, overwrite_a=True, clean=True)[0], overwrite_c=True)
    inverse = upper + np.triu(upper, 1).T
    inverse /= -np.diag(inverse)
    inverse[np.diag_indices(size)] = 0.0
    weights = inverse.astype(np.float32)
    columns = np.sort(largest(np.abs(weights), params.neighbours), axis=1)
    rows = np.repeat(np.arange(size), columns.shape[1])
    kept, ends = weights[rows, columns.ravel()], columns.ravel()
    stored = kept != 0
    shape = (interactions.shape[1], interactions.shape[1])
    return Neighbours(csr_matrix((kept[stored], (chosen[rows[stored]], chosen[ends[stored]])), shape=shape))


def rp3beta(interactions: Interactions, params: Rp3BetaParams) -> Neighbours:
    """Random walks from item to user to item that penalize popular ends (Paudel et al., ACM TiiS 2017)."""
    binary = interactions.matrix.copy()
    binary.data[:] = 1.0
    to_items, to_users = _steps(binary, params.alpha), _steps(csr_matrix(binary.T), params.alpha)
    popularity = np.maximum(np.bincount(binary.indices, minlength=interactions.shape[1]), 1.0)
    ends = csr_matrix(to_items @ diags_array(popularity**-params.beta))
    return Neighbours(_best(to_users, ends, params.neighbours))


def item_knn(interactions: Interactions, params: ItemKnnParams) -> Neighbours:
    """Shrunk cosine similarity of items over their users (Deshpande and Karypis, ACM TOIS 2004)."""
    items = csr_matrix(interactions.matrix.T)
    lengths = np.sqrt(np.asarray(items.multiply(items).sum(axis=1)).ravel())
    return Neighbours(_best(items, csr_matrix(interactions.matrix), params.neighbours, lengths, params.shrinkage))


def _steps(matrix: csr_matrix, alpha: float) -> csr_matrix:
    """Probability of each step from a row, to the power of alpha."""
    sums = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    steps = csr_matrix(diags_array(1.0 / sums) @ matrix)
    steps.data **= alpha
    return steps


def row_blocks(left: csr_matrix, right: csr_matrix, *, dense: bool = False) -> list[slice]:
    """Ranges of rows of ``left`` whose product with ``right`` has a bounded number of entries, or of cells."""
    entries = np.diff(right.indptr)[left.indices]
    cost = np.concatenate([[0], np.cumsum(entries)])[left.indptr]
    if dense:
        cost = np.arange(len(left.indptr)) * shape_of(right)[1]
    edges = [0]
    while edges[-1] < len(left.indptr) - 1:
        reach = int(np.searchsorted(cost, cost[edges[-1]] + _ENTRIES, side="right")) - 1
        edges.append(max(reach, edges[-1] + 1))
    return [slice(first, last) for first, last in pairwise(edges)]


def _best(
    left: csr_matrix, right: csr_matrix, k: int, lengths: Floats | None = None, shrinkage: float = 0.0
) -> csr_matrix:
    """The k largest per row of left @ right without its diagonal, divided by the product of lengths if given."""
    items = len(left.indptr) - 1
    parts: list[csr_matrix] = []
    for rows in row_blocks(left, right):
        block = csr_matrix(left[rows] @ right)
        row = np.repeat(np.arange(rows.start, rows.stop), np.diff(block.indptr))
        if lengths is not None:
            block.data = block.data / (lengths[row] * lengths[block.indices] + np.float32(shrinkage))
        block.data = np.where(row == block.indices, 0.0, block.data).astype(np.float32)
        block.eliminate_zeros()
        parts.append(largest_of_rows(block, k))
    return stacked(parts, items)


def stacked(parts: list[csr_matrix], items: int) -> csr_matrix:
    """Blocks of rows as one square matrix, with columns that ascend."""
    data, columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("data", "indices"))
    starts = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.indptr) for part in parts]))])
    return csr_matrix((data.astype(np.float32), columns, starts), shape=(items, items))


def largest_in_size(matrix: csr_matrix, k: int) -> csr_matrix:
    """The k entries of each row with the largest absolute value."""
    matrix.sort_indices()
    sizes = csr_matrix((np.abs(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
    kept = largest_of_rows(sizes, k)
    ones = csr_matrix((np.ones_like(kept.data), kept.indices, kept.indptr), shape=matrix.shape)
    return csr_matrix(matrix.multiply(ones))
