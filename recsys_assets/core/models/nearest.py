"""Exact top-k by inner product, in tiles; the result does not depend on the batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recsys_assets.core.ids import Ints
from recsys_assets.core.threads import in_threads

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Forbid = Callable[[int, int], tuple[Ints, Ints]]

# A tile of scores (2 MB) stays in the CPU cache until its maxima are computed.
_QUERIES, _ITEMS = 512, 1024
_GROUP = 16
_BINS = 8  # for each item of a list
_PAIRS = 2048
_CELLS = 131_072
"""Numbers of gathered vectors at a time: 1 MB, which stays in the CPU cache."""


class NearestIndex:
    """Items that are ready to be searched by inner product.

    BLAS preselects the few items that may be among the best. The last bits of its results depend on a row's position in
    the block, so these items are scored again in float64, row by row; a query's result does not depend on the others in
    its block. Items go by length, the longest first: as soon as the rest is too short to reach any query's best, it is
    skipped. Where lengths differ, as those of ALS do, that is nearly everything.

    Args:
        items: float32, items x factors; the position of an item breaks ties (smaller first).
    """

    def __init__(self, items: Floats) -> None:
        lengths = np.linalg.norm(items, axis=1)
        self._items, self._order = items, np.argsort(-lengths, kind="stable")
        self._place, self._lengths = np.argsort(self._order, kind="stable"), lengths[self._order]
        self._groups = _grouped(items[self._order]) if len(items) else items

    def search(self, queries: Floats, k: int, forbid: Forbid | None = None) -> tuple[Ints, Ints, Doubles]:
        """The ``k`` best items of each query.

        Args:
            queries: float32, queries x factors.
            k: items per query; fewer where fewer are allowed.
            forbid: given the first and last+1 query of a block, returns its forbidden pairs (row within the block,
                item).

        Returns:
            Query positions, item positions and scores, ordered by query, then score descending, then item.
        """
        if not (len(self._items) and len(queries) and k > 0):
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
        if len(queries) <= _QUERIES:
            return self._best_of(0, queries, k, forbid)
        starts = range(0, len(queries), _QUERIES)
        blocks = in_threads(lambda start: self._best_of(start, queries, k, forbid), starts)
        rows, columns, values = zip(*blocks, strict=True)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)

    def _best_of(self, start: int, queries: Floats, k: int, forbid: Forbid | None) -> tuple[Ints, Ints, Doubles]:
        """The result for the block of queries that begins at ``start``."""
        items, nothing = self._items, np.empty(0, np.int64)
        block = queries[start : start + _QUERIES]
        forbidden = forbid(start, start + len(block)) if forbid is not None else (nothing, nothing)
        placed = (forbidden[0], self._place[forbidden[1]])
        maxima, bound = _maxima(block, self._groups, self._lengths, placed, k)
        rows, columns = _within(block, self._groups, maxima, bound)
        rows, columns = rows[columns < len(items)], self._order[columns[columns < len(items)]]
        allowed = ~np.isin(rows * len(items) + columns, forbidden[0] * len(items) + forbidden[1])
        rows, columns = rows[allowed], columns[allowed]
        scores = inner_products(block.astype(np.float64), items, rows, columns)
        best = np.lexsort((columns, -scores, rows))
        best = best[np.arange(len(rows)) - np.searchsorted(rows[best], rows[best]) < k]
        return rows[best] + start, columns[best], scores[best]


def nearest(queries: Floats, items: Floats, k: int, forbid: Forbid | None = None) -> tuple[Ints, Ints, Doubles]:
    """:meth:`NearestIndex.search` of items that are searched once."""
    return NearestIndex(items).search(queries, k, forbid)


def inner_products(queries: Doubles, items: Floats, rows: Ints, columns: Ints) -> Doubles:
    """Inner products of pairs in float64; that of a pair does not depend on the others.

    Args:
        queries: queries x factors.
        items: items x factors.
        rows: query of each pair.
        columns: item of each pair.
    """
    products = np.empty(len(rows), np.float64)
    step = max(1, _CELLS // max(1, items.shape[1]))
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        products[pairs] = np.sum(queries[rows[pairs]] * items[columns[pairs]], axis=1)
    return products


def _grouped(items: Floats) -> Floats:
    """Items as groups x members x factors; the last item is repeated to fill its group, which changes no maximum."""
    padding = -len(items) % _GROUP
    return np.concatenate([items, np.repeat(items[-1:], padding, axis=0)]).reshape(-1, _GROUP, items.shape[1])


def _maxima(
    block: Floats, groups: Floats, lengths: Floats, forbidden: tuple[Ints, Ints], k: int
) -> tuple[Floats, Floats]:
    """The best score of each group of items without forbidden pairs [groups, queries], and a bound [queries].

    All of the k best of a query reach its bound. Groups that are too short for any query are left out.
    """
    queries = np.linalg.norm(block, axis=1)
    # Twice the largest rounding error of a float32 inner product of this length.
    margin = 2 * block.shape[1] * np.finfo(np.float32).eps * lengths[0] * queries
    columns = np.ascontiguousarray(block.T)
    flat = groups.reshape(-1, groups.shape[2])
    maxima = np.empty((len(groups), len(block)), np.float32)
    tile = np.empty((_ITEMS, len(block)), np.float32)
    order = np.argsort(forbidden[1], kind="stable")
    barred_rows, barred_items = forbidden[0][order], forbidden[1][order]
    for tiles, start in enumerate(range(0, len(flat), _ITEMS)):
        if tiles and tiles & (tiles - 1) == 0:  # checking costs less than a tile, but not nothing
            bound = _bound(maxima[: start // _GROUP], k) - margin
            if (queries * lengths[start] < bound).all():
                return maxima[: start // _GROUP], bound
        part = flat[start : start + _ITEMS]
        scores = np.matmul(part, columns, out=tile[: len(part)])
        first, last = np.searchsorted(barred_items, (start, start + len(part)))
        scores[barred_items[first:last] - start, barred_rows[first:last]] = -np.inf
        shaped = scores.reshape(-1, _GROUP, len(block))
        shaped.max(axis=1, out=maxima[start // _GROUP : start // _GROUP + len(shaped)])
    return maxima, _bound(maxima, k) - margin


def _bound(maxima: Floats, k: int) -> Floats:
    """A value for each query that at least its k best scores reach: the k-th largest maximum of bins of groups.

    Groups are first assigned to fewer bins, neighbours to different ones, because partitioning all groups takes as long
    as computing them. Two of the k best seldom share a bin, so the bound is hardly lower than that of all groups.
    """
    if len(maxima) <= k:
        return np.full(maxima.shape[1], -np.inf, np.float32)
    bins = min(len(maxima), _BINS * k)
    whole = len(maxima) // bins * bins
    best = maxima[:whole].reshape(-1, bins, maxima.shape[1]).max(axis=0)
    np.maximum(best[: len(maxima) - whole], maxima[whole:], out=best[: len(maxima) - whole])
    return np.partition(np.ascontiguousarray(best.T), bins - k, axis=1)[:, bins - k]


def _within(block: Floats, groups: Floats, maxima: Floats, bound: Floats) -> tuple[Ints, Ints]:
    """The (query, item) pairs whose score reaches the query's bound, ordered by query."""
    # Queries with fewer than k allowed items have groups at minus infinity, which hold forbidden items only.
    reached = np.flatnonzero(maxima >= np.maximum(bound, np.finfo(np.float32).min))
    group_at, query_at = np.divmod(reached, len(block))
    pairs: list[tuple[Ints, Ints]] = []
    for start in range(0, len(query_at), _PAIRS):
        row, group = query_at[start : start + _PAIRS], group_at[start : start + _PAIRS]
        scores = np.matmul(groups[group], block[row][:, :, None])[:, :, 0]
        pair, member = np.nonzero(scores >= bound[row][:, None])
        pairs.append((row[pair], group[pair] * _GROUP + member))
    if not pairs:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    queries, items = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return queries, items
