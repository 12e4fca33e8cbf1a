"""The generator 'nearest': items whose embeddings are nearest to those of a user's items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints, lookup
from recsys_assets.core.models.factor_models import FreeItems
from recsys_assets.core.models.interactions import Floats, Interactions
from recsys_assets.core.models.stored_arrays import from_bytes, to_bytes
from recsys_assets.core.retrieval.protocol import FitContext

_BLOCK = 256
"""Users per search; their results are scored again in double precision, which takes memory."""


@dataclass(frozen=True)
class NearestParams:
    """How neighbours are found.

    Args:
        most_exact: up to so many items all are compared; of more, a graph of neighbours (HNSW; Malkov and Yashunin,
            2018) is walked, which finds nearly all of the nearest at a fraction of the work.
        links: of an item of the graph to others, on each of its levels.
        breadth: items in view while the graph is made and walked: the more, the nearer to exact, and the slower.
    """

    most_exact: int = 50_000
    links: int = 32
    breadth: int = 128


def fit(context: FitContext) -> bytes:
    """The unit vectors of the items; vectors of length 0 are left out.

    Args:
        context: with ``item_embeddings``: item_id and embedding, all of one length.
    """
    items, vectors = _unit_vectors(context)
    return to_bytes(items, {"vectors": vectors})


def recommend(
    state: bytes, history: pa.Table, k: int, exclude: pa.Array, params: NearestParams | None = None
) -> pa.Table:
    """The nearest items of each history, by the cosine with its vector.

    That is the mean of the unit vectors of its items, weighted by how fresh each interaction is. Items of the history
    are not recommended: 'repeat' does that.

    Args:
        state: of :func:`fit`.
        history: user_id, item_id (unique pairs) and weight.
        k: items per user.
        exclude: item_id of items not to recommend.
        params: of the search.

    Returns:
        user_id, item_id, score (the cosine) and at most ``k`` rows a user.
    """
    items, arrays = from_bytes(state)
    vectors = arrays["vectors"]
    known = Interactions.onto(history, items)
    profiles = _normalised(known.matrix @ vectors)
    available = np.ones(len(items), np.bool_)
    places = lookup(exclude, items)
    available[places[places >= 0]] = False
    free = np.flatnonzero(available)
    queried = np.flatnonzero(np.any(profiles, axis=1))
    params = params or NearestParams()
    if len(free) <= params.most_exact:
        interacted = csr_matrix(known.matrix[queried])
        places, best_items, scores = FreeItems(vectors, available).nearest(profiles[queried], k, interacted)
        best_users = queried[places]
    else:
        best_users, best_items, scores = _walked(profiles, queried, vectors, free, known.matrix, k, params)
    return pa.table(
        {
            "user_id": known.users.take(pa.array(best_users)),
            "item_id": items.take(pa.array(best_items)),
            "score": pa.array(scores),
        }
    )


def _walked(
    profiles: Floats, queried: Ints, items: Floats, free: Ints, interacted: csr_matrix, k: int, params: NearestParams
) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Nearly the ``k`` free items of each user with the largest inner product that are new to the user, by the graph.

    Args:
        profiles: vectors of users [users, length].
        queried: rows of the users that get items.
        items: vectors [items, length].
        free: the items that may be recommended, ascending.
        interacted: [users, items]; pairs that are not zero are left out.
        k: items per user.
        params: of the search.

    Returns:
        Rows of users, items and scores, by user, then score descending, then item.
    """
    results: list[tuple[Ints, Ints, npt.NDArray[np.float64]]] = [
        (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    ]
    if not (len(queried) and len(free)):
        return results[0]
    index = _index(items[free], params)
    # The search has to find k items beside those of the user. How many that are must not depend on the other users.
    sizes = np.diff(interacted.indptr)[queried]
    queried = queried[np.argsort(sizes, kind="stable")]
    for block in _equal_blocks(queried, np.sort(sizes)):
        seen = interacted[block]
        most = min(len(free), k + int(np.diff(seen.indptr).max()))
        near = _search(index, profiles[block], most)
        rows, places = np.nonzero(near >= 0)
        columns = free[near[rows, places]]
        seen_rows = np.repeat(np.arange(len(block)), np.diff(seen.indptr))
        new = ~np.isin(rows * len(items) + columns, seen_rows * len(items) + seen.indices)
        rows, columns = rows[new], columns[new]
        scores = np.sum(profiles[block][rows].astype(np.float64) * items[columns], axis=1)
        best = np.lexsort((columns, -scores, rows))
        best = best[np.arange(len(best)) - np.searchsorted(rows[best], rows[best]) < k]
        results.append((block[rows[best]], columns[best], scores[best]))
    all_rows, all_columns, all_scores = (np.concatenate(part) for part in zip(*results, strict=True))
    order = np.argsort(all_rows, kind="stable")
    return all_rows[order], all_columns[order], all_scores[order]


def _equal_blocks(users: Ints, sizes: Ints) -> Iterator[Ints]:
    """Blocks of users with equally many items."""
    for size in np.unique(sizes):
        alike = users[sizes == size]
        yield from (alike[start : start + _BLOCK] for start in range(0, len(alike), _BLOCK))


def _index(vectors: Floats, params: NearestParams) -> Any:
    """A graph of neighbours by inner product."""
    import faiss  # slow to import, and only needed for data sets with embeddings

    index: Any = faiss.IndexHNSWFlat(vectors.shape[1], params.links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = index.hnsw.efSearch = params.breadth
    with threadpool_limits(limits=1):  # with several threads, the graph would differ each time
        index.add(np.ascontiguousarray(vectors))
    return index


def _search(index: Any, queries: Floats, k: int) -> Ints:
    """Positions of the k nearest of each query; -1 where there are no more."""
    with threadpool_limits(limits=1):
        _, places = index.search(np.ascontiguousarray(queries), k)
    return places


def _unit_vectors(context: FitContext) -> tuple[pa.Array, Floats]:
    """item_id, ascending, and vectors of length 1 [items, length]."""
    frame = context.frames["item_embeddings"].select("item_id", "embedding").sort("item_id")
    table = frame.collect(backend="polars").to_arrow()
    items, flat = table["item_id"].combine_chunks(), table["embedding"].combine_chunks().flatten()
    vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(items), -1 if len(items) else 0)
    units = _normalised(vectors)
    real = np.any(units, axis=1)
    return items.filter(pa.array(real)), units[real]


def _normalised(vectors: Floats) -> Floats:
    """Vectors of length 1; those of length 0 stay."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0, casting="same_kind")
