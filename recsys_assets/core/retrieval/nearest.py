"""Exact top-k by inner product, in blocks, with ties that fall the same way each time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from recsys_assets.core.retrieval.ids import Ints

Floats = npt.NDArray[np.float32]
Forbid = Callable[[int, int], tuple[Ints, Ints]]

# Every block is multiplied in this one shape, padded with zero rows: BLAS picks its kernel, and with it the last bits
# of a product, by the shape, and a row's scores must not depend on the batch it came in.
_ROWS = 256
_STRIDE = 32


def nearest(queries: Floats, items: Floats, k: int, forbid: Forbid | None = None) -> tuple[Ints, Ints, Floats]:
    """The ``k`` best items of each query by inner product.

    Args:
        queries: float32, queries x factors.
        items: float32, items x factors; the position of an item breaks ties (smaller first).
        k: how many; queries get fewer where fewer are allowed.
        forbid: given the first and last+1 query of a block, the (row within the block, item) pairs not to be found.

    Returns:
        Query positions, item positions and scores, ordered by query, then score descending, then item.
    """
    found: list[tuple[Ints, Ints, Floats]] = []
    with threadpool_limits(limits=1, user_api="blas"):
        for start in range(0, len(queries) if len(items) and k > 0 else 0, _ROWS):
            block = queries[start : start + _ROWS]
            padded = np.zeros((_ROWS, queries.shape[1]), np.float32)
            padded[: len(block)] = block
            scores = (padded @ items.T)[: len(block)]
            if forbid is not None:
                scores[forbid(start, start + len(block))] = -np.inf
            rows, columns = _top(scores, k)
            found.append((rows + start, columns, scores[rows, columns]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    rows, columns, values = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _top(scores: Floats, k: int) -> tuple[Ints, Ints]:
    """Positions of the k largest finite scores of each row, best first.

    The k-th largest of the maxima of k or more disjoint parts of a row is no more than its k-th largest score, so what
    lies below it need not be sorted. That leaves little more than k of many thousand items.
    """
    width = scores.shape[1]
    parts = width // _STRIDE
    if parts > k:
        maxima = scores[:, : parts * _STRIDE].reshape(len(scores), parts, _STRIDE).max(axis=2)
        bound = np.partition(maxima, parts - k, axis=1)[:, parts - k]
        keep = (scores >= bound[:, None]) & np.isfinite(scores)
    else:
        keep = np.isfinite(scores)
    rows, columns = np.nonzero(keep)
    order = np.lexsort((columns, -scores[rows, columns], rows))
    rows, columns = rows[order], columns[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[place < k], columns[place < k]
