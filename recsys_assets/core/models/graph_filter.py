"""Graph filters: the score of an item is a user's signal, smoothed over the graph of items.

With R~ = D_U^-1/2 R D_I^-1/2, P = R~' R~ and V the first right singular vectors of R~, a signal r is smoothed by the
linear filter to r P, and by the ideal low-pass filter to r D_I^-1/2 V V' D_I^1/2 (GF-CF, Shen et al., How Powerful is
Graph Convolution for Recommendation?, CIKM 2021). Each is then sharpened from x to x - sharpening * x P: one Euler step
(BSPM, Choi et al., Blurring-Sharpening Process Models for Collaborative Filtering, SIGIR 2023). Components of P with an
eigenvalue above 0.75 / sharpening lose only 0.75 of their size, which the paper does not bound: otherwise a user in a
group with items of its own (eigenvalue 1) would be recommended every item but those.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from recsys_assets.core.models.factor_models import FactorModel, Linear
from recsys_assets.core.models.interactions import Floats, Interactions, shape_of
from recsys_assets.core.models.item_models import Neighbours, largest_in_size, row_blocks, stacked

_MOST = 0.75
"""Largest share of a component that sharpening removes: 1 would remove it, more would change its sign."""


@dataclass(frozen=True)
class GraphFilterParams:
    """Parameters of the filters.

    Args:
        rank: of the ideal low-pass filter, which keeps at most a quarter of the users' or items' components: a filter
            that passes everything filters nothing. Also the number of components on which sharpening is bounded.
        sharpening: share of the twice smoothed signal that is subtracted. It lowers items that are close to everything,
            mostly popular ones. 0 turns it off.
        neighbours: weights of the linear filter kept per item, the largest in size.
        seed: of the randomized decomposition.
    """

    rank: int = 448
    sharpening: float = 1.75
    neighbours: int = 1000
    seed: int = 0


def graph_filter(interactions: Interactions, params: GraphFilterParams) -> Neighbours:
    """The linear filter, sharpened."""
    graph = _Graph(interactions, params)
    parts: list[csr_matrix] = []
    for rows in row_blocks(graph.transposed, graph.smooth, dense=params.sharpening > 0):
        block = csr_matrix(graph.transposed[rows] @ graph.smooth)
        if params.sharpening:
            # Row by row it is the signal of one item, whose components are those of the item.
            block = csr_matrix(graph.sharpened(block.toarray(), graph.components(rows)))
        parts.append(largest_in_size(block, params.neighbours))
    return Neighbours(stacked(parts, interactions.shape[1]))


def low_pass(interactions: Interactions, params: GraphFilterParams) -> FactorModel:
    """The ideal low-pass filter, sharpened."""
    graph = _Graph(interactions, params)
    items = graph.degrees
    passed = graph.right[: max(1, min(len(graph.right), min(interactions.shape) // 4))]
    up = (passed * np.sqrt(items)).astype(np.float32)
    down = (passed * _inverse_root(items)).T.astype(np.float32)
    if params.sharpening:
        with threadpool_limits(limits=1, user_api="blas"):
            up = graph.sharpened(up, up @ graph.right.T.astype(np.float32))
    return FactorModel(np.ascontiguousarray(up.T), Linear(np.ascontiguousarray(down)))


class _Graph:
    """The normalized matrix, its first right singular vectors, and the sharpening that they bound."""

    def __init__(self, interactions: Interactions, params: GraphFilterParams):
        signal = interactions.matrix
        users, self.degrees = _degree(signal, 1), _degree(signal, 0)
        self.smooth = csr_matrix(diags_array(_inverse_root(users)) @ signal @ diags_array(_inverse_root(self.degrees)))
        self.transposed = csr_matrix(self.smooth.T)
        self._params, self._sharpening = params, np.float32(params.sharpening)

    @cached_property
    def _decomposition(self) -> tuple[Floats, Floats]:
        """Eigenvalues of P [rank] and its vectors [rank, items], the largest first."""
        from sklearn.utils import extmath  # imported here: it takes a second, which loading the graph must not

        svd: Any = extmath.randomized_svd
        rank = min(self._params.rank, *shape_of(self.smooth))
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
            _, roots, right = svd(self.smooth, n_components=rank, n_iter=4, random_state=self._params.seed)
        return roots**2, right

    @property
    def right(self) -> Floats:
        """The first right singular vectors of R~ [rank, items]."""
        return self._decomposition[1]

    def components(self, rows: slice) -> Floats:
        """Some rows of P [rows, items] in the singular vectors [rows, rank]."""
        eigenvalues, right = self._decomposition
        return np.asarray(right[:, rows].T * eigenvalues, np.float32)

    def sharpened(self, signals: Floats, components: Floats) -> Floats:
        """Sharpen signals [n, items] in place, given their components [n, rank]."""
        eigenvalues, right = self._decomposition
        beyond = (self._params.sharpening * eigenvalues - _MOST).astype(np.float32)  # which is added back
        bounded = beyond > 0
        signals -= self._sharpening * (self.transposed @ (self.smooth @ signals.T)).T
        signals += (components[:, bounded] * beyond[bounded]) @ right[bounded].astype(np.float32)
        return signals


def _degree(matrix: csr_matrix, axis: int) -> Floats:
    return np.asarray(matrix.sum(axis=axis), np.float32).ravel()


def _inverse_root(degrees: Floats) -> Floats:
    return np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
