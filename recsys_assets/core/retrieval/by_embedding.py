"""Items whose embeddings, which the data set brings, are nearest to those of what a user touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints, lookup
from recsys_assets.core.retrieval.protocol import FitContext

Floats = npt.NDArray[np.float32]

_BLOCK = 256
"""Users searched for at once; what they find is scored again in double precision, which takes memory."""


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


def recommend(known: FitContext, params: NearestParams | None = None) -> pa.Table:
    """The nearest items of each active user, by the cosine with the user's vector: the mean of what the user touched.

    The fresher, the more an item weighs in the mean, and each item's vector counts with length 1; one of length 0 says
    nothing and is left out. What the user touched is not proposed: 'repeat' does that.

    Args:
        known: with ``item_embeddings``: item_id and embedding, all of one length.
        params: how.

    Returns:
        user_id, item_id, score (the cosine) and at most ``known.k`` rows a user.
    """
    how = params or NearestParams()
    items, vectors = _unit_vectors(known)
    users, history = known.users().combine_chunks(), known.history()
    rows, columns = lookup(history["user_id"], users), lookup(history["item_id"], items)
    met = (rows >= 0) & (columns >= 0)
    weights = history["weight"].to_numpy().astype(np.float32)[met]
    interacted = csr_matrix((weights, (rows[met], columns[met])), shape=(len(users), len(items)))
    wanted = _normalised(interacted @ vectors)
    gone = lookup(known.gone(), items)
    free = np.setdiff1d(np.arange(len(items)), gone)
    asked = np.flatnonzero(np.any(wanted, axis=1))
    found_rows, found_columns, scores = nearest_free(wanted, asked, vectors, free, interacted, known.k, how)
    return pa.table(
        {
            "user_id": users.take(pa.array(found_rows)),
            "item_id": items.take(pa.array(found_columns)),
            "score": pa.array(scores),
        }
    )


def nearest_free(
    wanted: Floats, asked: Ints, items: Floats, free: Ints, interacted: csr_matrix, k: int, params: NearestParams
) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """The ``k`` items of each user with the largest inner product that are free and that the user did not touch.

    Args:
        wanted: vectors of users [users, length].
        asked: rows of those who are asked for.
        items: vectors [items, length].
        free: the items that may be found, ascending.
        interacted: [users, items]; what is not zero is not found.
        k: how many.
        params: how.

    Returns:
        Rows of users, items and scores, by user, then score descending, then item.
    """
    found: list[tuple[Ints, Ints, npt.NDArray[np.float64]]] = [
        (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))
    ]
    if not (len(asked) and len(free)):
        return found[0]
    index = _index(items[free], params)
    # Whoever touched much is asked for more, of which that is left out; users with as much are asked for together.
    much = np.diff(interacted.indptr)[asked]
    asked = asked[np.argsort(much, kind="stable")]
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        seen = interacted[block]
        most = min(len(free), k + int(np.diff(seen.indptr).max()))
        near = _search(index, wanted[block], most)
        rows, places = np.nonzero(near >= 0)
        columns = free[near[rows, places]]
        seen_rows = np.repeat(np.arange(len(block)), np.diff(seen.indptr))
        new = ~np.isin(rows * len(items) + columns, seen_rows * len(items) + seen.indices)
        rows, columns = rows[new], columns[new]
        scores = np.sum(wanted[block][rows].astype(np.float64) * items[columns], axis=1)
        best = np.lexsort((columns, -scores, rows))
        best = best[np.arange(len(best)) - np.searchsorted(rows[best], rows[best]) < k]
        found.append((block[rows[best]], columns[best], scores[best]))
    all_rows, all_columns, all_scores = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(all_rows, kind="stable")
    return all_rows[order], all_columns[order], all_scores[order]


def _index(vectors: Floats, params: NearestParams) -> Any:
    """An index by inner product; exact for few vectors."""
    import faiss  # takes a while, and only those who bring embeddings need it

    if len(vectors) <= params.most_exact:
        index: Any = faiss.IndexFlatIP(vectors.shape[1])
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], params.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = index.hnsw.efSearch = params.breadth
    with threadpool_limits(limits=1):  # threads that add to a graph at once make another one each time
        index.add(np.ascontiguousarray(vectors))
    return index


def _search(index: Any, queries: Floats, k: int) -> Ints:
    """Places of the k nearest of each query; -1 where there are no more."""
    with threadpool_limits(limits=1):
        _, places = index.search(np.ascontiguousarray(queries), k)
    return places


def _unit_vectors(known: FitContext) -> tuple[pa.Array, Floats]:
    """item_id, ascending, and vectors of length 1 [items, length]."""
    frame = known.frames["item_embeddings"].select("item_id", "embedding").sort("item_id")
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
