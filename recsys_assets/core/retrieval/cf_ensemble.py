"""The generator 'cf_ensemble' and its features: scores of items for the histories of users.

The models are fitted once for a day. They recommend to any history, and score the candidates of all generators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.ids import lookup
from recsys_assets.core.models import cf_ensemble
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.models.cf_models import ModelParams
from recsys_assets.core.models.graph_filter import GraphFilterParams
from recsys_assets.core.models.ials import IalsParams
from recsys_assets.core.models.interactions import LEAST_ITEMS, Floats, Interactions
from recsys_assets.core.models.item_models import EaseParams, ItemKnnParams, Rp3BetaParams


def _models() -> ModelParams:
    # Days are short and windows hold less than a benchmark's matrix: smaller models than there, fitted in seconds.
    return ModelParams(
        ials=IalsParams(factors=64, iterations=8, unobserved=0.05, regularization=0.003),
        graph_filter=GraphFilterParams(rank=64, sharpening=0.0, neighbours=200),
        ease=EaseParams(regularization=50.0, most_items=2_000, neighbours=200),
        rp3beta=Rp3BetaParams(neighbours=200),
        item_knn=ItemKnnParams(neighbours=100),
    )


@dataclass(frozen=True)
class CfEnsembleParams:
    """How the ensemble is fitted.

    Args:
        models: how each is fitted.
        item_users: items with fewer users are left out: too little is known of them.
        user_items: users with fewer items are left out: one item does not say which go together.
        most_items: items with the most users that are kept: the files of the models grow with their number.
    """

    models: ModelParams = field(default_factory=_models)
    item_users: int = 2
    user_items: int = LEAST_ITEMS
    most_items: int = 200_000


def fit(history: pa.Table, params: CfEnsembleParams | None = None) -> CfEnsemble:
    """Fit the models.

    Args:
        history: user_id, item_id (unique pairs) and weight.
        params: of the fit.
    """
    params = params or CfEnsembleParams()
    everything = Interactions.of(history)
    users = np.bincount(everything.matrix.indices, minlength=everything.shape[1])
    most = np.argsort(-users, kind="stable")[: params.most_items]
    items = everything.items.take(pa.array(np.sort(most[users[most] >= params.item_users])))
    matrix = Interactions.onto(history, items)
    matrix = matrix.rows(np.diff(matrix.matrix.indptr) >= params.user_items)
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
        return cf_ensemble.fit(matrix, params.models)


def recommend(
    model: CfEnsemble, history: pa.Table, k: int, weights: Mapping[str, float], exclude: pa.Array | None = None
) -> pa.Table:
    """The best items for each user by the weighted models, without the items of the user: 'repeat' recommends those.

    Users with fewer than two items that the models know get none: 'covisit' recommends the neighbours of one item.

    Args:
        model: fitted.
        history: user_id, item_id (unique pairs) and weight.
        k: items per user.
        weights: of the models by name; 1 where a model has none.
        exclude: item_id of items not to recommend.

    Returns:
        user_id, item_id and score.
    """
    known = Interactions.onto(history, model.items)
    known = known.rows(np.diff(known.matrix.indptr) >= LEAST_ITEMS)
    unavailable = lookup(exclude, model.items) if exclude is not None else np.empty(0, np.int64)
    with threadpool_limits(limits=1, user_api="blas"):
        found = cf_ensemble.candidates(model, known.matrix, k, unavailable[unavailable >= 0])
    totals = cf_ensemble.weighted(found, {name: weights.get(name, 1.0) for name in model.models}, model)
    best = cf_ensemble.best_of(found, totals, k)
    return pa.table(
        {
            "user_id": known.users.take(pa.array(found.rows[best])),
            "item_id": model.items.take(pa.array(found.columns[best])),
            "score": pa.array(totals[best].astype(np.float64)),
        }
    )


def score(model: CfEnsemble, history: pa.Table, pairs: pa.Table) -> pa.Table:
    """Scores by each model of the pairs whose user and item the models know.

    Args:
        model: fitted.
        history: user_id, item_id (unique pairs) and weight, of the users of the pairs, ordered by user_id and item_id.
        pairs: user_id, item_id, each pair once, in any order; sorting them costs time where they are in order already.

    Returns:
        user_id, item_id and a standardized score of each of ``MODEL_NAMES``; pairs that are not known are left out.
    """
    known = Interactions.onto(history, model.items)
    rows, columns = lookup(pairs["user_id"], known.users), lookup(pairs["item_id"], model.items)
    has_items = np.append(np.diff(known.matrix.indptr) > 0, False)
    inside = np.flatnonzero(has_items[rows] & (columns >= 0))
    places = rows[inside] * len(model.items) + columns[inside]
    if not (np.diff(places) > 0).all():  # pairs mostly come in order
        inside = inside[np.argsort(places)]
    with threadpool_limits(limits=1, user_api="blas"):
        scores = cf_ensemble.score(model, known.matrix, rows[inside], columns[inside])
    by_name = dict(zip(model.models, scores, strict=True))
    return _score_table(pairs.take(pa.array(inside)), by_name)


def _score_table(pairs: pa.Table, scores: Mapping[str, Floats]) -> pa.Table:
    nothing = pa.nulls(pairs.num_rows, pa.float32())
    return pa.table(
        {
            "user_id": pairs["user_id"],
            "item_id": pairs["item_id"],
            **{name: pa.array(scores[name]) if name in scores else nothing for name in MODEL_NAMES},
        }
    )
