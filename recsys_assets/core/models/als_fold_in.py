"""Vectors of histories by the loss of implicit ALS, given the vectors of items (Hu, Koren and Volinsky, 2008)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Floats

_CELLS = 4_000_000
"""Numbers of gathered vectors at a time: 32 MB."""


class AlsFoldIn:
    """The vector of a history that minimizes the loss: what a fit would give a user with that history.

    Args:
        items: [items, factors] float32.
        regularization: L2 penalty.
        alpha: scale of the confidence, which is alpha x log(1 + weight).
    """

    def __init__(self, items: Floats, regularization: float, alpha: float):
        self._items, self._alpha = items.astype(np.float64), alpha
        self._gram = self._items.T @ self._items + regularization * np.eye(items.shape[1])

    def __call__(self, histories: csr_matrix) -> Floats:
        """See :class:`~recsys_assets.core.models.factor_models.Embed`."""
        factors = self._items.shape[1]
        lengths = np.diff(histories.indptr)
        vectors = np.zeros((len(lengths), factors), np.float32)
        for length in np.unique(lengths[lengths > 0]):
            # Rows of equal length are solved together: padding would change the last bits of some.
            rows = np.flatnonzero(lengths == length)
            step = max(1, _CELLS // (int(length + factors) * factors))
            for start in range(0, len(rows), step):
                vectors[rows[start : start + step]] = self._solved(histories, rows[start : start + step], int(length))
        return vectors

    def _solved(self, histories: csr_matrix, rows: Ints, length: int) -> Floats:
        entries = histories.indptr[rows][:, None] + np.arange(length)
        touched = self._items[histories.indices[entries]]  # [rows, length, factors]
        confidence = self._alpha * np.log1p(histories.data[entries].astype(np.float64))
        turned = touched.transpose(0, 2, 1)
        left = self._gram + (turned * (confidence - 1.0)[:, None, :]) @ touched
        return np.asarray(np.linalg.solve(left, turned @ confidence[:, :, None])[:, :, 0], np.float32)
