"""What models of the matrix of users and items say of the items of each active user, and whom they propose what.

Models are weighed by what they found lately. A generator has room for the k best of that; the ranker, which orders what
all generators propose, wants to know what each model says of those as well. So both come from one fit.
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
    """How items are proposed.

    Args:
        models: how each is fitted.
        item_users: items that fewer users touched are left out: nothing can be said of what goes with them.
        most_cells: active users x items, beyond which nothing is proposed: scoring takes some 15 CPU seconds for each
            hundred million, and other generators grow slower.
        evaluated: most users that the weights are learned on.
        fewest: with fewer to learn on, all models have the same weight.
        pool: items of each model that the weights are learned on, and popular items that all are asked about.
    """

    models: ModelParams = field(default_factory=_models)
    item_users: int = 2
    most_cells: int = 300_000_000
    evaluated: int = 1_000
    fewest: int = 30
    pool: int = 100


def scored(known: FitContext, params: CfEnsembleParams | None = None) -> pa.Table:
    """What the models say of the items that active users may be interested in.

    These are the best new ones by each model and by all together, the most popular ones, and, where they may be
    recommended again, those that the user touched. What a user touched is proposed to nobody: whether that comes back
    is another question, which 'repeat' answers. The weights of the models are learned on the last horizon, from models
    that do not know it.

    Args:
        known: what is known at the end of D.
        params: how.

    Returns:
        user_id, item_id, score (the weighed sum of standardized scores for the ``known.k`` best new items of a user,
        null for others) and a standardized score of each of ``MODEL_NAMES`` (null where it was not fitted); ordered,
        each pair once. Nothing where users and items are too many or none.
    """
    how = params or CfEnsembleParams()
    matrix = _matrix(known.history(), how.item_users)
    asked = _rows_of(matrix, known.users())
    if not len(asked) or len(asked) * matrix.shape[1] > how.most_cells:
        nobody, nothing = asked[:0], np.empty((0, 0), np.float32)
        return _told(matrix, (), blend.Opinions(nobody, nobody, nothing.ravel(), nothing))
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
        fits = fit_models(matrix, how.models)
        weights = learn_weights(known, known.as_of - timedelta(days=known.horizon_days), how, fits.keys())
        models = {name: fit() for name, fit in fits.items()}
        gone = lookup(known.gone(), matrix.items)
        found = blend.model_scores(
            models,
            weights or dict.fromkeys(models, 1.0),
            asked,
            matrix.matrix,
            min(known.k, len(matrix.items)),
            _popular(matrix, how.pool),
            gone[gone >= 0],
            of_seen=known.repeats,
        )
    return _told(matrix, models, found)


def recommend(known: FitContext) -> pa.Table:
    """The best new items of each active user who is known to the models, as :func:`scored` found them.

    Args:
        known: with ``cf_ensemble_scores`` among its frames.

    Returns:
        user_id, item_id, score and at most ``known.k`` rows a user.
    """
    proposed = known.frames["cf_ensemble_scores"].filter(~nw.col("score").is_null())
    return proposed.select("user_id", "item_id", "score").sort("user_id", "item_id").collect("polars").to_arrow()


def learn_weights(known: FitContext, cut: date, params: CfEnsembleParams, names: Collection[str]) -> dict[str, float]:
    """Weights of the models by what those fitted up to a day found of the new items that followed.

    Args:
        known: what is known at the end of D.
        cut: the last day that the models know; targets are those after it.
        params: how.
        names: of the models that will be weighed: by now the catalogue may have outgrown one of them.

    Returns:
        Weight by name; empty where there are too few users to learn on.
    """
    matrix = _matrix(known.history(cut), params.item_users)
    if not len(matrix.items):
        return {}
    wanted = known.targets(cut)
    rows, columns = lookup(wanted["user_id"], matrix.users), lookup(wanted["item_id"], matrix.items)
    met = (rows >= 0) & (columns >= 0)
    targets = csr_matrix((np.ones(met.sum(), np.float32), (rows[met], columns[met])), shape=matrix.shape)
    targets = csr_matrix(targets - targets.multiply(matrix.matrix > 0))
    targets.eliminate_zeros()
    users = np.flatnonzero(np.diff(targets.indptr))
    if len(users) < params.fewest or len(users) * matrix.shape[1] > params.most_cells:
        return {}
    chosen = np.random.default_rng(known.seed).permutation(users)[: params.evaluated]
    users = np.sort(chosen)
    models = {name: fit() for name, fit in fit_models(matrix, params.models).items() if name in names}
    proposals = blend.pool(models, users, matrix.matrix, min(params.pool, len(matrix.items)))
    return blend.learn(list(models), proposals, targets[users], known.k)


def _matrix(history: pa.Table, item_users: int) -> Interactions:
    """The matrix of the items that enough users touched."""
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


def _told(matrix: Interactions, models: Collection[str], found: blend.Opinions) -> pa.Table:
    """The table of opinions; what is not a number is null."""
    scores = dict(zip(models, found.scores, strict=True))
    nothing = np.full(len(found.users), np.nan, np.float32)
    return pa.table(
        {
            "user_id": matrix.users.take(pa.array(found.users)),
            "item_id": matrix.items.take(pa.array(found.items)),
            "score": pa.array(found.totals.astype(np.float64), from_pandas=True),
            **{name: pa.array(scores.get(name, nothing), pa.float32(), from_pandas=True) for name in MODEL_NAMES},
        }
    )
