"""Graph filters: an item scores high when the users' signal, smoothed over the graph of items, is strong there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Floats, Interactions

_MOST = 0.75
"""Most of a component that sharpening takes off: at 1 it would be gone, above it would be turned round."""


@dataclass(frozen=True)
class GraphFilterParams:
    """How the signal is smoothed.

    Args:
        rank: of the ideal low-pass filter, which has at most a quarter of the users' or items' components: one that
            lets everything pass is none. Sharpening is held within bounds on as many components as there are, up to it.
        low_pass: its share, beside the 1 of the linear filter.
        sharpening: share of the once more smoothed result that is taken off again: what is near to everything, popular
            items above all, stands out less. 0 is none.
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
    with an eigenvalue of more than 0.75 / sharpening lose 0.75 of themselves only: without that bound, a user in
    a group with items of its own (eigenvalue 1) would get every item but those. (Filters: GF-CF, Shen et
    al., How Powerful is Graph Convolution for Recommendation?, CIKM 2021. Sharpening, one Euler step: BSPM, Choi et
    al., Blurring-Sharpening Process Models for Collaborative Filtering, SIGIR 2023, where it has no bound.)

    Args:
        interactions: what is smoothed.
        params: see :class:`GraphFilterParams`.
    """

    def __init__(self, interactions: Interactions, params: GraphFilterParams):
        from sklearn.utils import extmath  # a second that loading the graph must not take

        signal = interactions.matrix
        users, items = _degree(signal, 1), _degree(signal, 0)
        self._smooth = csr_matrix(diags_array(_inverse_root(users)) @ signal @ diags_array(_inverse_root(items)))
        self._turned = csr_matrix(self._smooth.T)
        svd: Any = extmath.randomized_svd
        rank = min(params.rank, *interactions.shape)
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
            _, roots, right = svd(self._smooth, n_components=rank, n_iter=4, random_state=params.seed)
        self._signal, self._sharpening = signal, np.float32(params.sharpening)
        eigenvalues = roots**2
        beyond = params.sharpening * eigenvalues - _MOST  # taken off beyond the bound, given back
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
        """What the low-pass filter keeps of some users' signals [users, rank]."""
        return np.asarray(self._signal[users] @ self._down, np.float32)

    def scores(self, users: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        signal = self._signal[users]
        found = self._sharpened(((signal @ self._turned) @ self._smooth).toarray(), signal @ self._smoothed)
        found += self.vectors(users) @ self._up
        return found

    def _sharpened(self, found: Floats, components: Floats) -> Floats:
        """Sharpened signals [n, items], given what each has of the bounded components [n, bounded]."""
        if self._sharpening:
            found -= self._sharpening * (self._turned @ (self._smooth @ found.T)).T
            found += (components * self._beyond) @ self._bounded
        return found


def _degree(matrix: csr_matrix, axis: int) -> Floats:
    return np.asarray(matrix.sum(axis=axis), np.float32).ravel()


def _inverse_root(degrees: Floats) -> Floats:
    return np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
