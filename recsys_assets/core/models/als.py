"""Latent factors of users and items: implicit alternating least squares (Hu, Koren and Volinsky, 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.engine import AlsParams, BatchFunction, Engine, Factors, Frame
from recsys_assets.core.ids import Ints, lookup, positions
from recsys_assets.core.models.nearest import Floats, Forbid, nearest


@dataclass(frozen=True)
class AlsFitParams(AlsParams):
    """Parameters of the fit.

    Args:
        half_life: days in which an activity's weight halves.
        min_item_users: items with fewer users get no vector: that of an item with one user is the user's own, and half
            of a shop's items are such.
        min_user_items: users with fewer items get no vector: a single item carries no information on co-occurrence,
            and 'covisit' recommends its neighbours.
    """

    half_life: float = 30.0
    min_item_users: int = 2
    min_user_items: int = 2


def fit_factors(engine: Engine, activity: Frame, params: AlsFitParams, users: Frame | None = None) -> Factors:
    """Fit factors so that users lie near the items that they interacted with.

    Args:
        engine: fits them.
        activity: user_id, item_id (unique pairs) and weight; pairs with weight 0 are ignored.
        params: of the model.
        users: user_id of the users to return; all where None. The fit uses all users.

    Returns:
        ``USER_FACTORS`` and ``ITEM_FACTORS``.
    """
    weighed = activity.filter(nw.col("weight") > 0)
    for key, minimum in (("user_id", params.min_user_items), ("item_id", params.min_item_users)):
        enough = weighed.group_by(key).agg(nw.len().alias("__n")).filter(nw.col("__n") >= minimum)
        weighed = weighed.join(enough, on=key, how="semi")
    fitted = engine.factorize(weighed.select("user_id", "item_id", "weight"), params)
    if users is None:
        return fitted
    requested = users.select("user_id").collect(backend="polars").to_arrow()["user_id"]
    returned = fitted.users.filter(pa.array(lookup(fitted.users["user_id"], requested.unique()) >= 0))
    return Factors(returned, fitted.items)


def similar_by_factors(items: pa.Table, k: int) -> pa.Table:
    """The ``k`` nearest other items of each item by cosine; zero vectors are left out.

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
            "rank": _ranks(rows),
        }
    )


def recommend_by_factors(items: pa.Table, k: int, seen: pa.Table | None = None) -> BatchFunction:
    """A row function from ``USER_FACTORS`` to the ``k`` best items of each user by inner product.

    Args:
        items: ``ITEM_FACTORS``, of the items that may be recommended.
        k: items per user.
        seen: user_id, item_id that are not to be recommended.

    Returns:
        A function of a batch (user_id, factors) that gives user_id, item_id, score (float64) and rank (int64).
    """
    item_ids, item_vectors = _vectors(items, "item_id")
    seen_positions = None if seen is None else _seen(seen, item_ids)

    def recommend(batch: pa.Table) -> pa.Table:
        user_ids, user_vectors = _vectors(batch, "user_id")
        forbid = None if seen_positions is None else _forbid(user_ids, *seen_positions)
        rows, cols, scores = nearest(user_vectors, item_vectors, k, forbid)
        return pa.table(
            {
                "user_id": user_ids.take(pa.array(rows)),
                "item_id": item_ids.take(pa.array(cols)),
                "score": pa.array(scores),
                "rank": _ranks(rows),
            }
        )

    return recommend


def _forbid(user_ids: pa.Array, seen_users: pa.Array, starts: Ints, seen_items: Ints) -> Forbid:
    """The items that each user of a batch has seen, in the form that :func:`nearest` takes."""
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


def _ranks(rows: Ints) -> pa.Array:
    """Places 1..n within runs of equal rows."""
    return pa.array(np.arange(len(rows)) - np.searchsorted(rows, rows) + 1)
