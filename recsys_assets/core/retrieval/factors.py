"""Latent factors of users and items by alternating least squares on implicit feedback (Hu, Koren and Volinsky, 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.retrieval.nearest import Floats, Ints, nearest
from recsys_assets.engines.base import BatchFunction, Frame


@dataclass(frozen=True)
class FactorsParams:
    """How the factors are fitted.

    Args:
        factors: length of a vector.
        iterations: alternations.
        regularization: L2 penalty.
        alpha: confidence of an activity of weight 1, above the 1 of an unseen pair.
        half_life: days in which an activity's weight halves.
        min_item_users: items that fewer users touched get no vector.
        seed: of the first vectors.
        num_threads: 0 for all cores. The result does not depend on it.
    """

    factors: int = 64
    iterations: int = 15
    regularization: float = 0.05
    alpha: float = 10.0
    half_life: float = 30.0
    min_item_users: int = 1
    seed: int = 0
    num_threads: int = 0


@dataclass(frozen=True)
class Factors:
    """The fitted tables, ``USER_FACTORS`` and ``ITEM_FACTORS``, each sorted by id."""

    users: pa.Table
    items: pa.Table


def fit_factors(activity: Frame, params: FactorsParams, users: Frame | None = None) -> Factors:
    """Fit factors so that users lie near the items they touched.

    Rows and columns of the matrix are positions among the sorted ids, never ids, so that ids of any size and type will do.
    Each row of a half step is solved by one thread and BLAS has one, so equal input gives equal bytes.

    Args:
        activity: user_id, item_id (unique pairs) and weight (> 0; confidence is 1 + alpha * log(1 + weight)).
        params: of the model.
        users: user_id of the users to return; all where None. Everybody is fitted on.
    """
    columns = activity.select("user_id", "item_id", "weight")
    pairs = columns.sort("user_id", "item_id").collect(backend="polars").to_arrow()
    pairs = pairs.filter(pc.greater(pairs["weight"], 0.0))
    pairs = _frequent(pairs, params.min_item_users)
    user_ids, rows = _positions(pairs["user_id"])
    item_ids, cols = _positions(pairs["item_id"])
    if not pairs.num_rows:
        empty = np.empty((0, params.factors), np.float32)
        return Factors(_table("user_id", user_ids, empty), _table("item_id", item_ids, empty))
    confidence = np.log1p(pairs["weight"].to_numpy()).astype(np.float32)
    matrix = csr_matrix((confidence, (rows, cols)), shape=(len(user_ids), len(item_ids)), dtype=np.float32)
    with threadpool_limits(limits=1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=params.factors,
            iterations=params.iterations,
            regularization=params.regularization,
            alpha=params.alpha,
            random_state=params.seed,
            num_threads=params.num_threads,
        )
        model.fit(matrix, show_progress=False)
    found = _table("user_id", user_ids, np.asarray(model.user_factors, np.float32))
    if users is not None:
        wanted = users.select("user_id").collect(backend="polars").to_arrow()["user_id"]
        found = found.filter(pc.is_in(found["user_id"], value_set=wanted.cast(user_ids.type).combine_chunks()))
    return Factors(found, _table("item_id", item_ids, np.asarray(model.item_factors, np.float32)))


def similar_by_factors(items: pa.Table, k: int) -> pa.Table:
    """The ``k`` nearest other items of each item by cosine; items without direction (zero vectors) are left out.

    Args:
        items: ``ITEM_FACTORS``.
        k: neighbours per item.

    Returns:
        item_id, similar_item_id, score, rank.
    """
    ids, vectors = _vectors(items, "item_id")
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def itself(start: int, stop: int) -> tuple[Ints, Ints]:
        return np.arange(stop - start), np.arange(start, stop)

    rows, cols, scores = nearest(vectors, vectors, k, itself)
    return pa.table(
        {
            "item_id": ids.take(pa.array(rows)),
            "similar_item_id": ids.take(pa.array(cols)),
            "score": pa.array(scores.astype(np.float64)),
            "rank": pa.array(np.arange(len(rows)) - np.searchsorted(rows, rows) + 1),
        }
    )


def recommend_by_factors(items: pa.Table, k: int, seen: pa.Table | None = None) -> BatchFunction:
    """A row function from ``USER_FACTORS`` to the ``k`` best items of each user by inner product.

    Args:
        items: ``ITEM_FACTORS``, of the items that may be recommended.
        k: items per user.
        seen: user_id, item_id that are not to be recommended.

    Returns:
        A function of a batch (user_id, factors) that gives user_id, item_id, score (float64).
    """
    item_ids, item_vectors = _vectors(items, "item_id")
    seen_users, offsets, seen_items = _seen(seen, item_ids)

    def recommend(batch: pa.Table) -> pa.Table:
        user_ids, user_vectors = _vectors(batch, "user_id")
        place = pc.fill_null(pc.index_in(user_ids, value_set=seen_users), len(seen_users)).to_numpy(False)

        def forbid(start: int, stop: int) -> tuple[Ints, Ints]:
            first, last = offsets[place[start:stop]], offsets[place[start:stop] + 1]
            taken = [seen_items[a:b] for a, b in zip(first, last, strict=True)]
            return np.repeat(np.arange(stop - start), last - first), np.concatenate(taken)

        rows, cols, scores = nearest(user_vectors, item_vectors, k, forbid if seen is not None else None)
        return pa.table(
            {
                "user_id": user_ids.take(pa.array(rows)),
                "item_id": item_ids.take(pa.array(cols)),
                "score": pa.array(scores.astype(np.float64)),
            }
        )

    return recommend


def _seen(seen: pa.Table | None, item_ids: pa.Array) -> tuple[pa.Array, Ints, Ints]:
    """Users, offsets into the items of each (one more, empty, for a user not among them), and positions of the items."""
    if seen is None:
        return pa.array([], pa.null()), np.zeros(2, np.int64), np.empty(0, np.int64)
    items = pc.index_in(seen["item_id"].cast(item_ids.type), value_set=item_ids)
    known = seen.append_column("position", items).filter(pc.is_valid(items)).sort_by("user_id")
    users, rows = _positions(known["user_id"])
    counts = np.bincount(rows, minlength=len(users) + 1)
    return users, np.concatenate([[0], np.cumsum(counts)]), known["position"].to_numpy().astype(np.int64)


def _frequent(pairs: pa.Table, min_users: int) -> pa.Table:
    if min_users <= 1:
        return pairs
    counts = pairs.group_by("item_id").aggregate([("item_id", "count")])
    frequent = counts.filter(pc.greater_equal(counts["item_id_count"], min_users))["item_id"]
    return pairs.filter(pc.is_in(pairs["item_id"], value_set=frequent.combine_chunks()))


def _positions(ids: pa.ChunkedArray) -> tuple[pa.Array, Ints]:
    """The sorted distinct ids, and the position of each id among them."""
    distinct = pc.unique(ids)
    distinct = distinct.take(pc.sort_indices(distinct))
    return distinct, pc.index_in(ids, value_set=distinct).to_numpy().astype(np.int64)


def _vectors(table: pa.Table, key: str) -> tuple[pa.Array, Floats]:
    """Ids and vectors of the rows whose vector is not zero."""
    ids, lists = table[key].combine_chunks(), table["factors"].combine_chunks()
    flat = np.asarray(lists.flatten(), np.float32)
    vectors = flat.reshape(len(lists), -1) if len(lists) else np.empty((0, 0), np.float32)
    nonzero = np.any(vectors != 0, axis=1)
    return ids.filter(pa.array(nonzero)), vectors[nonzero]


def _table(key: str, ids: pa.Array, vectors: Floats) -> pa.Table:
    offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * vectors.shape[1])
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32()))
    return pa.table({key: ids, "factors": lists})
