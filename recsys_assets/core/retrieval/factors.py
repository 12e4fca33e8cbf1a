"""Latent factors of users and items: implicit alternating least squares (Hu, Koren and Volinsky, 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.retrieval.ids import Ints, lookup, positions
from recsys_assets.core.retrieval.nearest import Floats, Forbid, nearest
from recsys_assets.engines.base import BatchFunction, Frame


@dataclass(frozen=True)
class FactorsParams:
    """How the factors are fitted.

    Args:
        factors: length of a vector.
        iterations: alternations.
        regularization: L2 penalty.
        alpha: scale of the confidence in what was touched.
        half_life: days in which an activity's weight halves.
        min_item_users: items that fewer users touched get no vector.
        min_user_items: users with fewer items get no vector: one item says nothing about which items go together, and
            its neighbours are what 'covisit' proposes.
        seed: of the first vectors.
        num_threads: 0 for all cores. The result does not depend on it.
    """

    factors: int = 64
    iterations: int = 15
    regularization: float = 1.0
    alpha: float = 3.0
    half_life: float = 30.0
    min_item_users: int = 1
    min_user_items: int = 2
    seed: int = 0
    num_threads: int = 0


@dataclass(frozen=True)
class Factors:
    """The fitted tables, ``USER_FACTORS`` and ``ITEM_FACTORS``, each sorted by id."""

    users: pa.Table
    items: pa.Table


def fit_factors(activity: Frame, params: FactorsParams, users: Frame | None = None) -> Factors:
    """Fit factors so that users lie near the items they touched.

    Rows and columns of the matrix are positions among the sorted ids, never ids, so ids of any size and type will do.
    Each row of a half step is solved by one thread and BLAS has one, so equal input gives equal bytes.

    Args:
        activity: user_id, item_id (unique pairs) and weight. The confidence in a pair is alpha * log(1 + weight)
            against the 1 of a pair that never met; pairs without weight count as never met.
        params: of the model.
        users: user_id of the users to return; all where None. Everybody is fitted on.
    """
    weighed = activity.filter(nw.col("weight") > 0)
    for key, least in (("user_id", params.min_user_items), ("item_id", params.min_item_users)):
        enough = weighed.group_by(key).agg(nw.len().alias("__n")).filter(nw.col("__n") >= least)
        weighed = weighed.join(enough, on=key, how="semi")
    chosen = weighed.select("user_id", "item_id", "weight")
    pairs = chosen.sort("user_id", "item_id").collect(backend="polars").to_arrow()
    user_ids, rows = positions(pairs["user_id"])
    item_ids, cols = positions(pairs["item_id"])
    if not pairs.num_rows:
        empty = np.empty((0, params.factors), np.float32)
        return Factors(_table("user_id", user_ids, empty), _table("item_id", item_ids, empty))
    confidence = np.log1p(pairs["weight"].to_numpy()).astype(np.float32)
    matrix = csr_matrix((confidence, (rows, cols)), shape=(len(user_ids), len(item_ids)), dtype=np.float32)
    from implicit.cpu.als import AlternatingLeastSquares  # half a second that loading the graph must not take

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
        found = found.filter(pa.array(lookup(found["user_id"], wanted.unique()) >= 0))
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
            "score": pa.array(scores),
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
    taken = None if seen is None else _seen(seen, item_ids)

    def recommend(batch: pa.Table) -> pa.Table:
        user_ids, user_vectors = _vectors(batch, "user_id")
        forbid = None if taken is None else _forbid(user_ids, *taken)
        rows, cols, scores = nearest(user_vectors, item_vectors, k, forbid)
        return pa.table(
            {
                "user_id": user_ids.take(pa.array(rows)),
                "item_id": item_ids.take(pa.array(cols)),
                "score": pa.array(scores),
            }
        )

    return recommend


def _forbid(user_ids: pa.Array, seen_users: pa.Array, starts: Ints, seen_items: Ints) -> Forbid:
    """What each user of a batch has seen, as :func:`nearest` asks for it."""
    place = lookup(user_ids, seen_users)
    place[place < 0] = len(seen_users)

    def forbid(start: int, stop: int) -> tuple[Ints, Ints]:
        first, last = starts[place[start:stop]], starts[place[start:stop] + 1]
        columns = [seen_items[a:b] for a, b in zip(first, last, strict=True)]
        return np.repeat(np.arange(stop - start), last - first), np.concatenate(columns)

    return forbid


def _seen(seen: pa.Table, item_ids: pa.Array) -> tuple[pa.Array, Ints, Ints]:
    """Users, where the range of each (and one more, empty) begins, and the positions of the items in those ranges."""
    items = lookup(seen["item_id"], item_ids)
    users, rows = positions(seen["user_id"])
    rows, items = rows[items >= 0], items[items >= 0]
    order = np.lexsort((items, rows))
    starts = np.searchsorted(rows[order], np.arange(len(users) + 2))
    return users, starts, items[order]


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
