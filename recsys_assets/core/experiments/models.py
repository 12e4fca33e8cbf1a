"""Training of the models of experiments: one table maps the model name of a file to the function that trains it.

No model is pickled; see :mod:`recsys_assets.core.ranking.formats`. scikit-learn's models are stored as plain arrays,
and their scores agree with scikit-learn's within 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.experiments import kinds
from recsys_assets.core.experiments.config import Experiment
from recsys_assets.core.ranking import model
from recsys_assets.core.ranking.arrays import filled
from recsys_assets.core.ranking.forest import Forest
from recsys_assets.core.ranking.formats import GeneratorOrder, Linear
from recsys_assets.core.ranking.split import Split, split_by_users

P = TypeVar("P", bound=kinds.Params)

VALIDATION_SHARE = 0.2
MIN_USERS = 20


@dataclass(frozen=True)
class FittedModel:
    """A trained model.

    Attributes:
        data: the stored model; equal rows and parameters give equal bytes.
        importance: per feature, by the model's own measure, largest first; empty for a generator.
    """

    data: bytes
    importance: dict[str, float]


def held_out_users(rows: pa.Table, experiment: Experiment) -> list[int] | list[str]:
    """The users whom an experiment is not trained on.

    Args:
        rows: training rows, as for :func:`train`.
        experiment: its seed determines them.

    Raises:
        NotEnoughExamples: too few users have a positive.
    """
    return _split(rows, experiment).held_out_ids()


def train(rows: pa.Table, experiment: Experiment) -> FittedModel:
    """Train the model of an experiment.

    Args:
        rows: table of contract RANKING_EXAMPLES with ``dt``, of the training windows only.
        experiment: what to train.

    Raises:
        NotEnoughExamples: too few users have a positive.
    """
    return TRAINERS[experiment.model](rows, experiment)


def _split(rows: pa.Table, experiment: Experiment) -> Split:
    return split_by_users(rows, MIN_USERS, VALIDATION_SHARE, experiment.seed, experiment.features)


def _boosted(rows: pa.Table, experiment: Experiment) -> FittedModel:
    """CatBoost's trees, stopped early on the held-out users."""
    options: dict[str, Any] = {"loss": model.CLASSIFIER_LOSS, **experiment.params.model_dump()}
    params = model.RankerParams(
        kind="trees", **options, seed=experiment.seed, validation_share=VALIDATION_SHARE, min_users=MIN_USERS
    )
    trained = model.train(rows, params, experiment.features)
    return FittedModel(trained.model, trained.feature_importance)


def _logistic(rows: pa.Table, experiment: Experiment) -> FittedModel:
    # Imported here because it takes a second, which loading the graph must not.
    from sklearn.linear_model import LogisticRegression

    params = _params(experiment, kinds.LogisticParams)
    matrix, labels, medians = _training_arrays(rows, experiment)
    means, scales = matrix.mean(axis=0), matrix.std(axis=0)
    scales[scales == 0] = 1.0
    with threadpool_limits(limits=1):  # the same bits on any number of cores
        fitted: Any = LogisticRegression(
            C=params.C, class_weight=params.class_weight, max_iter=params.max_iter, random_state=experiment.seed
        ).fit((matrix - means) / scales, labels)
    coefficients = np.asarray(fitted.coef_[0], dtype=np.float64)
    linear = Linear(
        experiment.features, medians, means, scales, coefficients, np.asarray(fitted.intercept_, np.float64)
    )
    return FittedModel(linear.to_bytes(), _ordered(experiment, np.abs(coefficients)))


def _forest(rows: pa.Table, experiment: Experiment) -> FittedModel:
    from sklearn.ensemble import RandomForestClassifier

    params = _params(experiment, kinds.ForestParams)
    matrix, labels, medians = _training_arrays(rows, experiment)
    with threadpool_limits(limits=1):
        fitted: Any = RandomForestClassifier(
            n_estimators=params.n_estimators,
            max_depth=params.max_depth,
            min_samples_leaf=params.min_samples_leaf,
            max_features=params.max_features,  # pyright: ignore[reportArgumentType] - its stub accepts only words
            class_weight=params.class_weight,
            random_state=experiment.seed,
            n_jobs=1,
        ).fit(matrix.astype(np.float32), labels)
    return FittedModel(
        forest_of(fitted, experiment.features, medians).to_bytes(), _ordered(experiment, fitted.feature_importances_)
    )


def forest_of(fitted: Any, columns: tuple[str, ...], medians: Floats) -> Forest:
    """The trees of a fitted forest as arrays."""
    trees = [estimator.tree_ for estimator in fitted.estimators_]
    sizes = np.asarray([tree.node_count for tree in trees], dtype=np.int64)
    starts = sizes.cumsum() - sizes

    def joined(attribute: Callable[[Any], Any], kind: Any) -> NDArray[Any]:
        return np.concatenate([np.asarray(attribute(tree), dtype=kind) for tree in trees])

    offsets = np.repeat(starts, sizes)
    left, right = joined(lambda t: t.children_left, np.int64), joined(lambda t: t.children_right, np.int64)
    leaf = left < 0
    positive = int(np.flatnonzero(fitted.classes_ == 1)[0])
    return Forest(
        columns=columns,
        medians=medians,
        roots=starts,
        feature=np.where(leaf, -1, joined(lambda t: t.feature, np.int64)),
        threshold=joined(lambda t: t.threshold, np.float64),
        left=np.where(leaf, -1, left + offsets),
        right=np.where(leaf, -1, right + offsets),
        share=joined(lambda t: t.value[:, 0, positive] / t.value[:, 0, :].sum(axis=1), np.float64),
    )


def _generator(rows: pa.Table, experiment: Experiment) -> FittedModel:
    return FittedModel(GeneratorOrder(_params(experiment, kinds.GeneratorParams).by).to_bytes(), {})


TRAINERS: Mapping[str, Callable[[pa.Table, Experiment], FittedModel]] = {
    "catboost_ranker": _boosted,
    "catboost_classifier": _boosted,
    "logistic_regression": _logistic,
    "random_forest": _forest,
    "generator": _generator,
}
"""The training function of each of ``KINDS``."""


def _training_arrays(rows: pa.Table, experiment: Experiment) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Matrix [rows, features] without nulls, labels [rows] and medians [features] of the training users."""
    split = _split(rows, experiment)
    matrix = split.matrix[~split.held_out].astype(np.float64)
    present = ~np.isnan(matrix)
    medians = np.asarray(
        [np.median(matrix[present[:, at], at]) if present[:, at].any() else 0.0 for at in range(matrix.shape[1])]
    )
    full = np.stack([filled(matrix[:, at], medians[at]) for at in range(matrix.shape[1])], axis=1)
    return full, split.labels[~split.held_out].astype(np.int64), medians


def _ordered(experiment: Experiment, importance: Floats) -> dict[str, float]:
    pairs = zip(experiment.features, np.asarray(importance, dtype=np.float64).tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _params(experiment: Experiment, kind: type[P]) -> P:
    if not isinstance(experiment.params, kind):
        raise TypeError(f"{experiment.name}: parameters of {experiment.model} expected")
    return experiment.params
