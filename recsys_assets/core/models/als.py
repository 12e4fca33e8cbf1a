"""Latent factors of users and items: implicit alternating least squares (Hu, Koren and Volinsky, 2008)."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.engine import AlsParams, Engine, Frame
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.nearest import Floats, nearest


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


def fit_factors(engine: Engine, activity: Frame, params: AlsFitParams) -> pa.Table:
    """Fit vectors of items such that those of users, which are folded in, lie near the items that they interacted with.

    Args:
        engine: fits them.
        activity: user_id, item_id (unique pairs) and weight; pairs with weight 0 are ignored.
        params: of the model.

    Returns:
        ``ITEM_FACTORS``.
    """
    weighed = activity.filter(nw.col("weight") > 0)
    for key, minimum in (("user_id", params.min_user_items), ("item_id", params.min_item_users)):
        enough = weighed.group_by(key).agg(nw.len().alias("__n")).filter(nw.col("__n") >= minimum)
        weighed = weighed.join(enough, on=key, how="semi")
    return engine.factorize(weighed.select("user_id", "item_id", "weight"), params).items


def similar_by_factors(items: pa.Table, k: int) -> pa.Table:
    """The ``k`` nearest other items of each item by cosine; zero vectors are left out.

    Args:
        items: ``ITEM_FACTORS``.
        k: neighbours per item.

    Returns:
        item_id, similar_item_id, score, rank.
    """
    ids, vectors = vectors_of(items, "item_id")
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


def vectors_of(table: pa.Table, key: str) -> tuple[pa.Array, Floats]:
    """Ids and vectors [rows, factors] of the rows whose vector is not zero."""
    ids, lists = table[key].combine_chunks(), table["factors"].combine_chunks()
    flat = np.asarray(lists.flatten(), np.float32)
    vectors = flat.reshape(len(lists), -1) if len(lists) else np.empty((0, 0), np.float32)
    nonzero = np.any(vectors != 0, axis=1)
    return ids.filter(pa.array(nonzero)), vectors[nonzero]


def _ranks(rows: Ints) -> pa.Array:
    """Places 1..n within runs of equal rows."""
    return pa.array(np.arange(len(rows)) - np.searchsorted(rows, rows) + 1)
