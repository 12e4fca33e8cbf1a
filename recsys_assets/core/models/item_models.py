"""Item-to-item models: an item's score for a user is the sum of its weights from the items of the user."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Floats, Interactions
from recsys_assets.core.models.top_k import largest

_ROWS = 512


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
        most_items: limit of the catalogue; above it memory (4 bytes x items x items, twice) and time grow too large.
    """

    regularization: float = 200.0
    most_items: int = 20_000


class Neighbours:
    """A sparse matrix of weights from items of the user to recommended items.

    Args:
        interactions: the users' matrix.
        weights: [items, items] float32.
    """

    def __init__(self, interactions: Interactions, weights: csr_matrix):
        self._signal, self.weights = interactions.matrix, weights

    def scores(self, users: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        return (self._signal[users] @ self.weights).toarray()


class Ease:
    """A linear model without self-similarity, in closed form (Steck, Embarrassingly Shallow Autoencoders, WWW 2019).

    Args:
        interactions: the users' matrix.
        params: see :class:`EaseParams`.

    Raises:
        ValueError: more items than ``params.most_items``.
    """

    def __init__(self, interactions: Interactions, params: EaseParams):
        self._signal = interactions.matrix
        items = interactions.shape[1]
        if items > params.most_items:
            raise ValueError(f"ease: {items:,} items, expected at most {params.most_items:,}")
        gram = np.asarray((self._signal.T @ self._signal).todense(), np.float64)
        gram[np.diag_indices(items)] += params.regularization
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
            factorize, invert = get_lapack_funcs(
                ("potrf", "potri"), (gram,)
            )  # a third of the work of solving for the identity
            upper, _ = invert(factorize(gram, overwrite_a=True, clean=True)[0], overwrite_c=True)
        inverse = upper + np.triu(upper, 1).T
        weights = inverse / -np.diag(inverse)
        weights[np.diag_indices(items)] = 0.0
        self.weights = weights.astype(np.float32)

    def scores(self, users: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        return np.asarray(self._signal[users] @ self.weights, np.float32)


def rp3beta(interactions: Interactions, params: Rp3BetaParams) -> Neighbours:
    """Random walks from item to user to item that penalize popular ends (Paudel et al., ACM TiiS 2017)."""
    binary = interactions.matrix.copy()
    binary.data[:] = 1.0
    to_items, to_users = _steps(binary, params.alpha), _steps(csr_matrix(binary.T), params.alpha)
    popularity = np.maximum(np.bincount(binary.indices, minlength=interactions.shape[1]), 1.0)
    ends = csr_matrix(to_items @ diags_array(popularity**-params.beta))
    return Neighbours(interactions, _best(to_users, ends, params.neighbours))


def item_knn(interactions: Interactions, params: ItemKnnParams) -> Neighbours:
    """Shrunk cosine similarity of items over their users (Deshpande and Karypis, ACM TOIS 2004)."""
    items = csr_matrix(interactions.matrix.T)
    lengths = np.sqrt(np.asarray(items.multiply(items).sum(axis=1)).ravel())
    return Neighbours(
        interactions, _best(items, csr_matrix(interactions.matrix), params.neighbours, lengths, params.shrinkage)
    )


def _steps(matrix: csr_matrix, alpha: float) -> csr_matrix:
    """Probability of each step from a row, to the power of alpha."""
    sums = np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1.0)
    steps = csr_matrix(diags_array(1.0 / sums) @ matrix)
    steps.data **= alpha
    return steps


def _best(
    left: csr_matrix, right: csr_matrix, k: int, lengths: Floats | None = None, shrinkage: float = 0.0
) -> csr_matrix:
    """The k largest per row of left @ right without its diagonal, divided by the product of lengths if given."""
    items = len(left.indptr) - 1
    rows, columns, values = [], [], []
    for start in range(0, items, _ROWS):
        block = np.asarray((left[start : start + _ROWS] @ right).todense(), np.float32)
        if lengths is not None:
            block /= np.outer(lengths[start : start + _ROWS], lengths) + np.float32(shrinkage)
        row_numbers = np.arange(len(block))
        block[row_numbers, row_numbers + start] = 0.0
        best = largest(block, k)
        largest_values = np.take_along_axis(block, best, axis=1)
        row, place = np.nonzero(largest_values > 0)
        rows.append(row + start)
        columns.append(best[row, place])
        values.append(largest_values[row, place])
    flat = [np.concatenate(part) for part in (values, rows, columns)]
    return csr_matrix((flat[0], (flat[1], flat[2])), shape=(items, items))
