"""Graph filters: the score of an item is a user's signal, smoothed over the graph of items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Floats, Interactions

_MOST = 0.75
"""Largest share of a component that sharpening removes: 1 would remove it, more would change its sign."""


@dataclass(frozen=True)
class GraphFilterParams:
    """Parameters of the filters.

    Args:
        rank: of the ideal low-pass filter, which keeps at most a quarter of the users' or items' components: a filter
            that passes everything filters nothing. Also the number of components on which sharpening is bounded.
        low_pass: weight of the ideal low-pass filter; that of the linear filter is 1.
        sharpening: share of the twice smoothed signal that is subtracted. It lowers items that are close to everything,
            mostly popular ones. 0 turns it off.
        seed: of the randomized decomposition.
    """

    rank: int = 448
    low_pass: float = 0.15
    sharpening: float = 1.75
    seed: int = 0


class GraphFilter:
    """The linear filter of the normalized item graph and an ideal low-pass filter, sharpened, in closed form.

    With R~ = D_U^-1/2 R D_I^-1/2, P = R~' R~ and V the first right singular vectors of R~, a user's signal r is
    smoothed to x = r P + low_pass * r D_I^-1/2 V V' D_I^1/2, then sharpened to x - sharpening * x P. Components of P
    with an eigenvalue above 0.75 / sharpening lose only 0.75 of their size: without that bound, a user in a group with
    items of its own (eigenvalue 1) would be recommended every item but those. (Filters: GF-CF, Shen et al., How
    Powerful is Graph Convolution for Recommendation?, CIKM 2021. Sharpening, one Euler step: BSPM, Choi et al.,
    Blurring-Sharpening Process Models for Collaborative Filtering, SIGIR 2023, where it has no bound.)

    Args:
        interactions: the users' signals.
        params: see :class:`GraphFilterParams`.
    """

    def __init__(self, interactions: Interactions, params: GraphFilterParams):
        from sklearn.utils import extmath  # imported here: it takes a second, which loading the graph must not

        signal = interactions.matrix
        users, items = _degree(signal, 1), _degree(signal, 0)
        self._smooth = csr_matrix(diags_array(_inverse_root(users)) @ signal @ diags_array(_inverse_root(items)))
        self._transposed = csr_matrix(self._smooth.T)
        svd: Any = extmath.randomized_svd
        rank = min(params.rank, *interactions.shape)
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
            _, roots, right = svd(self._smooth, n_components=rank, n_iter=4, random_state=params.seed)
        self._signal, self._sharpening = signal, np.float32(params.sharpening)
        eigenvalues = roots**2
        beyond = params.sharpening * eigenvalues - _MOST  # the part beyond the bound, which is added back
        bounded = beyond > 0
        self._bounded = right[bounded].astype(np.float32)
        self._beyond = beyond[bounded].astype(np.float32)
        self._smoothed = (right[bounded].T * eigenvalues[bounded]).astype(np.float32)
        passed = right[: max(1, min(rank, min(interactions.shape) // 4))]
        self._down = (passed * _inverse_root(items)).T.astype(np.float32)
        up = (params.low_pass * passed * np.sqrt(items)).astype(np.float32)
        with threadpool_limits(limits=1, user_api="blas"):
            self._up = self._sharpened(up, up @ self._bounded.T)

    def vectors(self, users: Ints) -> Floats:
        """Some users' signals in the components of the low-pass filter [users, rank]."""
        return np.asarray(self._signal[users] @ self._down, np.float32)

    def scores(self, users: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        signal = self._signal[users]
        scores = self._sharpened(((signal @ self._transposed) @ self._smooth).toarray(), signal @ self._smoothed)
        scores += self.vectors(users) @ self._up
        return scores

    def _sharpened(self, signals: Floats, components: Floats) -> Floats:
        """Sharpen signals [n, items] in place, given their bounded components [n, bounded]."""
        if self._sharpening:
            signals -= self._sharpening * (self._transposed @ (self._smooth @ signals.T)).T
            signals += (components * self._beyond) @ self._bounded
        return signals


def _degree(matrix: csr_matrix, axis: int) -> Floats:
    return np.asarray(matrix.sum(axis=axis), np.float32).ravel()


def _inverse_root(degrees: Floats) -> Floats:
    return np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
