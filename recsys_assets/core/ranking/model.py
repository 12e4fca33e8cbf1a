"""The ranker: a CatBoost model that orders each user's candidates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from recsys_assets.core.contracts import CANDIDATES, FEATURE_COLUMNS, IdTypes, arrow_schema
from recsys_assets.core.evaluation.metrics import Floats, Ints, ndcg
from recsys_assets.core.ranking.split import Split, features, split_by_users
from recsys_assets.engines.base import Engine, Frame

if TYPE_CHECKING:
    from catboost import CatBoost

CUTOFF = 10
"""Length of the list that early stopping and tuning look at."""


@dataclass(frozen=True)
class RankerParams:
    """How the ranker is trained.

    Attributes:
        loss: CatBoost's ranking loss: QuerySoftMax, or YetiRank, which is as good and takes ten times as long.
        iterations: most trees to grow; early stopping usually ends before.
        learning_rate: shrinkage of each tree.
        depth: depth of the symmetric trees.
        l2: L2 regularisation of the leaves.
        early_stopping: rounds without a better NDCG on the held-out users after which training stops.
        validation_share: share of the users that is held out.
        min_users: fewest users with a positive, over all windows, that training accepts.
        seed: of the trees and of the choice of held-out users.
        thread_count: fixed, because the order of float sums may depend on it.
    """

    loss: str = "QuerySoftMax"
    iterations: int = 300
    learning_rate: float = 0.1
    depth: int = 6
    l2: float = 3.0
    early_stopping: int = 30
    validation_share: float = 0.2
    min_users: int = 20
    seed: int = 0
    thread_count: int = 2


@dataclass(frozen=True)
class TrainedRanker:
    """A trained model and what there is to say about it.

    Attributes:
        model: the ``.cbm`` file; equal examples and parameters give equal bytes.
        best_iteration: 0-based tree with the best NDCG on the held-out users; later trees are cut off.
        feature_importance: per feature, in percent (PredictionValuesChange), most important first.
        validation_ndcg: mean NDCG@10 of the held-out lists, ideal over the positives among the candidates.
        users_train: users with a positive that the trees saw.
        users_validation: users with a positive that were held out.
    """

    model: bytes
    best_iteration: int
    feature_importance: dict[str, float]
    validation_ndcg: float
    users_train: int
    users_validation: int


OnTree = Callable[[int, float], bool]
"""Number of trees and NDCG of the others so far; False stops the training."""


def train(examples: pa.Table, params: RankerParams) -> TrainedRanker:
    """Train a ranker, and stop when users that it has not seen are no longer ordered better.

    A group (a list to order) is one user in one window. A user is held out in all windows or in none.

    Args:
        examples: as for :func:`recsys_assets.core.ranking.split.split_by_users`.
        params: how to train.

    Raises:
        NotEnoughExamples: fewer than ``params.min_users`` users have a positive.
        ValueError: a feature column is missing.
    """
    return fit(split_by_users(examples, params.min_users, params.validation_share, params.seed), params)


def fit(examples: Split, params: RankerParams, on_tree: OnTree | None = None) -> TrainedRanker:
    """Train on one part of the examples and stop by the other.

    Args:
        examples: as those of :mod:`recsys_assets.core.ranking.split` give them.
        params: how to train.
        on_tree: told after each tree.
    """
    # Imported where it is used: it brings pandas and matplotlib along, seconds that loading the graph must not take.
    from catboost import CatBoost, EFstrType

    metric = f"NDCG:top={CUTOFF}"
    model = CatBoost(
        {
            "loss_function": params.loss,
            "eval_metric": metric,
            "iterations": params.iterations,
            "learning_rate": params.learning_rate,
            "depth": params.depth,
            "l2_leaf_reg": params.l2,
            "early_stopping_rounds": params.early_stopping,
            # CatBoost's default of 10 steps a leaf takes six times as long and orders no better.
            "leaf_estimation_iterations": 1,
            "random_seed": params.seed,
            "thread_count": params.thread_count,
            "allow_writing_files": False,
            "verbose": False,
        }
    )
    model.fit(examples.train, eval_set=examples.judge, callbacks=[_AfterTree(on_tree)] if on_tree else None)
    importance = np.asarray(model.get_feature_importance(type=EFstrType.PredictionValuesChange), dtype=np.float64)
    scores = np.asarray(model.predict(examples.judge), dtype=np.float64)
    return TrainedRanker(
        model=_bytes(model),
        best_iteration=int(model.get_best_iteration()),
        feature_importance=dict(
            sorted(zip(FEATURE_COLUMNS, importance.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        ),
        validation_ndcg=_mean_ndcg(examples.group, examples.labels, scores),
        users_train=examples.users_train,
        users_validation=examples.users_judge,
    )


@dataclass(frozen=True)
class _AfterTree:
    """What CatBoost calls after each tree."""

    told: OnTree

    def after_iteration(self, info: Any) -> bool:
        """Whether to go on."""
        (values,) = (found for name, found in info.metrics["validation"].items() if name.startswith("NDCG"))
        return self.told(info.iteration, max(values))


class Scorer:
    """Scores candidates with a stored model.

    Args:
        model: the ``.cbm`` file.

    Raises:
        ValueError: the model was trained on other features than candidates have.
    """

    def __init__(self, model: bytes):
        from catboost import CatBoost

        self._model = CatBoost().load_model(blob=model)
        found = tuple(self._model.feature_names_ or ())
        if found != FEATURE_COLUMNS:
            differ = sorted(set(found) ^ set(FEATURE_COLUMNS)) or ["their order"]
            raise ValueError(f"ranker: the model's features are not those of candidates; they differ in {differ}")

    def score(self, table: pa.Table) -> Floats:
        """Scores [rows] of a table with the feature columns of CANDIDATES; a row's score depends on that row alone."""
        if table.num_rows == 0:
            return np.empty(0)
        return np.asarray(self._model.predict(features(table)), dtype=np.float64)

    def add_score(self, table: pa.Table) -> pa.Table:
        """The table with its column ``score``; a row function for Engine.map_batches."""
        return table.append_column(pa.field("score", pa.float64(), nullable=False), pa.array(self.score(table)))


def score_candidates(engine: Engine, candidates: Frame, model: bytes, ids: IdTypes) -> Frame:
    """Score candidates on an engine, batch by batch.

    Args:
        engine: where the frame runs.
        candidates: frame of contract CANDIDATES.
        model: the ``.cbm`` file.
        ids: the data set's id types.

    Returns:
        Frame of user_id, item_id, score.
    """
    contract = arrow_schema(CANDIDATES, ids)
    names = ["user_id", "item_id", *FEATURE_COLUMNS]
    schema = pa.schema([*(contract.field(name) for name in names), pa.field("score", pa.float64(), nullable=False)])
    scored = engine.map_batches(candidates.select(names), Scorer(model).add_score, schema)
    return scored.select("user_id", "item_id", "score")


def _mean_ndcg(group: Ints, labels: Floats, scores: Floats) -> float:
    """Mean NDCG of groups that each have a positive; rows are sorted so that equal scores stand by item_id."""
    _, group = np.unique(group, return_inverse=True)
    order = np.lexsort((-scores, group))
    sizes = np.bincount(group)
    place = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
    top = place < CUTOFF
    hits = np.zeros((len(sizes), CUTOFF), dtype=np.bool_)
    hits[group[order][top], place[top]] = labels[order][top] > 0
    return float(ndcg(hits, np.bincount(group, weights=labels).astype(np.int64), CUTOFF).mean())


def _bytes(model: CatBoost) -> bytes:
    """The model as a ``.cbm`` file, without the time and the random id that CatBoost writes into it."""
    metadata = model.get_metadata()
    metadata["train_finish_time"] = ""
    metadata["model_guid"] = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranker.cbm"
        model.save_model(str(path), format="cbm")
        return path.read_bytes()
