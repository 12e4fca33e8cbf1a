"""Graph filters: an item scores high when the users' signal, smoothed over the graph of items, is strong there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags_array
from threadpoolctl import threadpool_limits

from recsys_assets.core.collaborative.interactions import Floats, Interactions
from recsys_assets.core.retrieval.ids import Ints


@dataclass(frozen=True)
class GraphFilterParams:
    """How the signal is smoothed.

    Args:
        rank: of the ideal low-pass filter.
        low_pass: its share, beside the 1 of the linear filter.
        sharpening: share, in [0, 1), of the once more smoothed result that is taken off again: what is near to
            everything, popular items above all, stands out less. From 1 on, signals that smoothing keeps as they are,
            such as that of a group of users with items of their own, would be taken off whole or turned round.
        seed: of the randomized decomposition.

    Raises:
        ValueError: sharpening outside of its range.
    """

    rank: int = 448
    low_pass: float = 0.3
    sharpening: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.sharpening < 1.0:
            raise ValueError(f"graph filter: sharpening {self.sharpening}, expected 0 <= sharpening < 1")


class GraphFilter:
    """The linear filter of the normalized item graph, sharpened, and an ideal low-pass filter, in closed form.

    With R~ = D_U^-1/2 R D_I^-1/2, P = R~' R~ and V the first right singular vectors of R~, a user's signal r gives
    r P (1 - sharpening * P) + low_pass * r D_I^-1/2 V V' D_I^1/2. (Filters: GF-CF, Shen et al., How Powerful is Graph
    Convolution for Recommendation?, CIKM 2021. Sharpening, one Euler step before the filters are merged: BSPM, Choi et
    al., Blurring-Sharpening Process Models for Collaborative Filtering, SIGIR 2023.)

    Args:
        known: what is smoothed.
        params: see :class:`GraphFilterParams`.
    """

    def __init__(self, known: Interactions, params: GraphFilterParams):
        from sklearn.utils import extmath  # a second that loading the graph must not take

        signal = known.matrix
        users, items = _degree(signal, 1), _degree(signal, 0)
        self._smooth = csr_matrix(diags_array(_inverse_root(users)) @ signal @ diags_array(_inverse_root(items)))
        self._turned = csr_matrix(self._smooth.T)
        rank = min(params.rank, *known.shape)
        svd: Any = extmath.randomized_svd
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
            _, _, right = svd(self._smooth, n_components=rank, n_iter=4, random_state=params.seed)
        self._signal, self._sharpening = signal, np.float32(params.sharpening)
        self._down = (right * _inverse_root(items)).T.astype(np.float32)
        self._up = np.float32(params.low_pass) * np.ascontiguousarray(right * np.sqrt(items), dtype=np.float32)

    def vectors(self, users: Ints) -> Floats:
        """What the low-pass filter keeps of some users' signals [users, rank]."""
        return np.asarray(self._signal[users] @ self._down, np.float32)

    def scores(self, users: Ints) -> Floats:
        """See :class:`~recsys_assets.core.collaborative.interactions.Model`."""
        found = ((self._signal[users] @ self._turned) @ self._smooth).toarray()
        if self._sharpening:
            found -= self._sharpening * (self._turned @ (self._smooth @ found.T)).T
        found += self.vectors(users) @ self._up
        return found


def _degree(matrix: csr_matrix, axis: int) -> Floats:
    return np.asarray(matrix.sum(axis=axis), np.float32).ravel()


def _inverse_root(degrees: Floats) -> Floats:
    return np.divide(1.0, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
