"""An ensemble of collaborative filtering models: scores of items for each active user, and the best of them.

The weights of the models are learned on the latest horizon. The generator recommends the k best items. The ranker,
which orders the candidates of all generators, has the scores as features. So one fit serves both.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta

import narwhals as nw
import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.ids import Ints, lookup
from recsys_assets.core.models import blend
from recsys_assets.core.models.cf_models import ModelParams, fit_models
from recsys_assets.core.models.graph_filter import GraphFilterParams
from recsys_assets.core.models.ials import IalsParams
from recsys_assets.core.models.interactions import Interactions
from recsys_assets.core.models.item_models import EaseParams, ItemKnnParams, Rp3BetaParams
from recsys_assets.core.retrieval.protocol import FitContext


def _models() -> ModelParams:
    # Days are short and windows hold less than a benchmark's matrix: smaller models than there, fitted in seconds.
    return ModelParams(
        ials=IalsParams(factors=64, iterations=8, unobserved=0.05, regularization=0.003),
        graph_filter=GraphFilterParams(rank=64, low_pass=0.3, sharpening=0.0),  # sharpening doubles the time of scoring
        ease=EaseParams(regularization=50.0, most_items=6_000),
        rp3beta=Rp3BetaParams(neighbours=200),
        item_knn=ItemKnnParams(neighbours=100),
    )


@dataclass(frozen=True)
class CfEnsembleParams:
    """How the ensemble is fitted.

    Args:
        models: how each is fitted.
        item_users: items with fewer users are left out: too little is known of them.
        most_cells: active users x items, beyond which nothing is recommended: scoring takes some 15 CPU seconds per
            hundred million, which grows faster than the other generators.
        evaluated: most users that the weights are learned on.
        fewest: with fewer users to learn on, all models have the same weight.
        pool: items per model that the weights are learned on, and popular items that are scored for every user.
    """

    models: ModelParams = field(default_factory=_models)
    item_users: int = 2
    most_cells: int = 300_000_000
    evaluated: int = 1_000
    fewest: int = 30
    pool: int = 100


def scored(context: FitContext, params: CfEnsembleParams | None = None) -> pa.Table:
    """Scores of the items that active users may be interested in.

    These are the best new items by each model and by the ensemble, the most popular ones, and, where repeats are
    allowed, those that the user interacted with. The latter have no total score, since the generator recommends new
    items only; 'repeat' recommends the others. The weights of the models are learned on the last horizon, with models
    that were fitted before it.

    Args:
        context: history, users and items at the end of D.
        params: of the ensemble.

    Returns:
        user_id, item_id, score (the weighted sum of standardized scores for the ``context.k`` best new items of a user,
        null for others) and a standardized score of each of ``MODEL_NAMES`` (null where it was not fitted); ordered,
        each pair once. Nothing where users and items are too many or none.
    """
    params = params or CfEnsembleParams()
    matrix = _matrix(context.history(), params.item_users)
    users = _rows_of(matrix, context.users())
    if not len(users) or len(users) * matrix.shape[1] > params.most_cells:
        no_users, nothing = users[:0], np.empty((0, 0), np.float32)
        return _score_table(matrix, (), blend.ModelScores(no_users, no_users, nothing.ravel(), nothing))
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
        fits = fit_models(matrix, params.models)
        weights = learn_weights(context, context.as_of - timedelta(days=context.horizon_days), params, fits.keys())
        models = {name: fit() for name, fit in fits.items()}
        unavailable = lookup(context.unavailable_items(), matrix.items)
        scores = blend.model_scores(
            models,
            weights or dict.fromkeys(models, 1.0),
            users,
            matrix.matrix,
            min(context.k, len(matrix.items)),
            _popular(matrix, params.pool),
            unavailable[unavailable >= 0],
            include_seen=context.repeats,
        )
    return _score_table(matrix, models, scores)


def recommend(context: FitContext) -> pa.Table:
    """The best new items of each active user who is known to the models, by :func:`scored`.

    Args:
        context: with ``cf_ensemble_scores`` among its frames.

    Returns:
        user_id, item_id, score and at most ``context.k`` rows a user.
    """
    scores = context.frames["cf_ensemble_scores"].filter(~nw.col("score").is_null())
    return scores.select("user_id", "item_id", "score").sort("user_id", "item_id").collect("polars").to_arrow()


def learn_weights(context: FitContext, cut: date, params: CfEnsembleParams, names: Collection[str]) -> dict[str, float]:
    """Weights of the models, by how well those fitted up to a day predict the new items after it.

    Args:
        context: history, users and items at the end of D.
        cut: the last day of the fit; targets are those after it.
        params: of the ensemble.
        names: of the models that need a weight: the catalogue of D may have outgrown one of them.

    Returns:
        Weight by name; empty where there are too few users to learn on.
    """
    matrix = _matrix(context.history(cut), params.item_users)
    if not len(matrix.items):
        return {}
    wanted = context.targets(cut)
    rows, columns = lookup(wanted["user_id"], matrix.users), lookup(wanted["item_id"], matrix.items)
    inside = (rows >= 0) & (columns >= 0)
    targets = csr_matrix((np.ones(inside.sum(), np.float32), (rows[inside], columns[inside])), shape=matrix.shape)
    targets = csr_matrix(targets - targets.multiply(matrix.matrix > 0))
    targets.eliminate_zeros()
    users = np.flatnonzero(np.diff(targets.indptr))
    if len(users) < params.fewest or len(users) * matrix.shape[1] > params.most_cells:
        return {}
    chosen = np.random.default_rng(context.seed).permutation(users)[: params.evaluated]
    users = np.sort(chosen)
    models = {name: fit() for name, fit in fit_models(matrix, params.models).items() if name in names}
    candidates = blend.pool(models, users, matrix.matrix, min(params.pool, len(matrix.items)))
    return blend.learn(list(models), candidates, targets[users], context.k)


def _matrix(history: pa.Table, item_users: int) -> Interactions:
    """The matrix of the items with enough users."""
    items = history["item_id"].combine_chunks().dictionary_encode()
    codes = items.indices.to_numpy(zero_copy_only=False)
    enough = np.bincount(codes, minlength=len(items.dictionary)) >= item_users
    return Interactions.of(history.filter(pa.array(enough[codes])))


def _rows_of(matrix: Interactions, users: pa.ChunkedArray) -> Ints:
    rows = lookup(users, matrix.users)
    return np.sort(rows[rows >= 0])


def _popular(matrix: Interactions, most: int) -> Ints:
    """The columns of the items that have the most weight, at most so many."""
    items = len(matrix.items)
    weight = np.bincount(matrix.matrix.indices, weights=matrix.matrix.data, minlength=items)
    return np.lexsort((np.arange(items), -weight))[:most]


def _score_table(matrix: Interactions, models: Collection[str], pairs: blend.ModelScores) -> pa.Table:
    """The scores as a table; what is not a number is null."""
    scores = dict(zip(models, pairs.scores, strict=True))
    nothing = np.full(len(pairs.users), np.nan, np.float32)
    return pa.table(
        {
            "user_id": matrix.users.take(pa.array(pairs.users)),
            "item_id": matrix.items.take(pa.array(pairs.items)),
            "score": pa.array(pairs.totals.astype(np.float64), from_pandas=True),
            **{name: pa.array(scores.get(name, nothing), pa.float32(), from_pandas=True) for name in MODEL_NAMES},
        }
    )
