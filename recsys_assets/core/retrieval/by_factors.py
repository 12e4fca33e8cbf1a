"""The generator 'als': the items whose vectors agree most with that of a user's history."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from recsys_assets.core.engine import AlsParams
from recsys_assets.core.ids import lookup
from recsys_assets.core.models.als import vectors_of
from recsys_assets.core.models.als_fold_in import AlsFoldIn
from recsys_assets.core.models.factor_models import FreeItems
from recsys_assets.core.models.interactions import LEAST_ITEMS, Interactions


def recommend(
    items: pa.Table,
    history: pa.Table,
    params: AlsParams,
    k: int,
    exclude: pa.Array | None = None,
    *,
    repeats: bool = True,
) -> pa.Table:
    """The best items for each user by the inner product of vectors.

    The vector of a user is folded in: it is what the fit would have given a user with that history. So it does not
    depend on the other users, and a history that the fit does not know gets items too.

    Args:
        items: ``ITEM_FACTORS``.
        history: user_id, item_id (unique pairs) and weight.
        params: regularization and alpha of the fit.
        k: items per user.
        exclude: item_id of items not to recommend.
        repeats: whether items of the history may be recommended.

    Returns:
        user_id, item_id and score; nothing for users with fewer than two items that have a vector.
    """
    ids, vectors = vectors_of(items, "item_id")
    known = Interactions.onto(history, ids)
    known = known.rows(np.diff(known.matrix.indptr) >= LEAST_ITEMS)
    free = np.ones(len(ids), np.bool_)
    if exclude is not None:
        places = lookup(exclude, ids)
        free[places[places >= 0]] = False
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
        users = AlsFoldIn(vectors, params.regularization, params.alpha)(known.matrix)
    rows, columns, scores = FreeItems(vectors, free).nearest(users, k, None if repeats else known.matrix)
    return pa.table(
        {
            "user_id": known.users.take(pa.array(rows)),
            "item_id": ids.take(pa.array(columns)),
            "score": pa.array(scores),
        }
    )
