"""Exact top-k by inner product, in blocks, with the same result whatever the batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from recsys_assets.core.retrieval.ids import Ints

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Forbid = Callable[[int, int], tuple[Ints, Ints]]

_ROWS = 256
_STRIDE = 32


def nearest(queries: Floats, items: Floats, k: int, forbid: Forbid | None = None) -> tuple[Ints, Ints, Doubles]:
    """The ``k`` best items of each query by inner product.

    BLAS finds the few items that may be among the best; its last bits depend on where in a block a row stands, so those
    few are scored again one by one in float64, and a query's result does not depend on its neighbours.

    Args:
        queries: float32, queries x factors.
        items: float32, items x factors; the position of an item breaks ties (smaller first).
        k: how many; queries get fewer where fewer are allowed.
        forbid: given the first and last+1 query of a block, the (row within the block, item) pairs not to be found.

    Returns:
        Query positions, item positions and scores, ordered by query, then score descending, then item.
    """
    found: list[tuple[Ints, Ints, Doubles]] = []
    with threadpool_limits(limits=1, user_api="blas"):
        longest = np.linalg.norm(items, axis=1).max() if len(items) else 0.0
        for start in range(0, len(queries) if len(items) and k > 0 else 0, _ROWS):
            block = queries[start : start + _ROWS]
            rough = block @ items.T
            if forbid is not None:
                rough[forbid(start, start + len(block))] = -np.inf
            # Twice the most that rounding can move a float32 inner product of this length.
            margin = 2 * block.shape[1] * np.finfo(np.float32).eps * longest * np.linalg.norm(block, axis=1)
            rows, columns = np.nonzero((rough >= (_bound(rough, k) - margin)[:, None]) & np.isfinite(rough))
            scores = np.sum(block[rows].astype(np.float64) * items[columns], axis=1)
            order = np.lexsort((columns, -scores, rows))
            order = order[np.arange(len(rows)) - np.searchsorted(rows, rows) < k]
            found.append((rows[order] + start, columns[order], scores[order]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
    rows, columns, values = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _bound(scores: Floats, k: int) -> Floats:
    """A value for each row that at least its k best scores reach.

    The k-th largest of the maxima of more than k disjoint parts is no more than the k-th largest score, and little
    less; finding it is ten times faster than to partition rows of many thousand items.
    """
    parts = scores.shape[1] // _STRIDE
    if parts > k:
        scores = scores[:, : parts * _STRIDE].reshape(len(scores), parts, _STRIDE).max(axis=2)
    width = scores.shape[1]
    if width <= k:
        return np.full(len(scores), -np.inf, np.float32)
    return np.partition(scores, width - k, axis=1)[:, width - k]
