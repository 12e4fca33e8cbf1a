"""The largest entries of the rows of a sparse matrix."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix

from recsys_assets.core.models.top_k import largest

_CELLS = 4_000_000
"""Entries that are padded to rows of equal length at a time: 16 MB."""


def largest_of_rows(matrix: csr_matrix, k: int) -> csr_matrix:
    """The matrix with the k largest stored entries of each row, of equals the first columns; columns ascend."""
    matrix.sort_indices()
    lengths = np.diff(matrix.indptr)
    keep = np.ones(matrix.nnz, np.bool_)
    long = np.flatnonzero(lengths > k)
    long = long[np.argsort(lengths[long], kind="stable")]  # rows of similar length are padded together
    start = 0
    while start < len(long):
        rows = long[start : start + max(1, _CELLS // int(lengths[long[start]]))]
        rows = rows[: max(1, int((lengths[rows] * np.arange(1, len(rows) + 1) <= 2 * _CELLS).sum()))]
        width = int(lengths[rows[-1]])
        places = matrix.indptr[rows][:, None] + np.arange(width)
        real = np.arange(width) < lengths[rows][:, None]
        values = np.where(real, matrix.data[np.minimum(places, matrix.nnz - 1)], -np.inf)
        best = np.take_along_axis(places, largest(values, k), axis=1)
        keep[places[real]] = False
        keep[best.ravel()] = True
        start += len(rows)
    starts = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
    return csr_matrix((matrix.data[keep], matrix.indices[keep], starts), shape=matrix.shape)
