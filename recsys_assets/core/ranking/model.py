"""The ranker: a model that orders each user's candidates, linear, of CatBoost's trees, or both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from recsys_assets.core.contracts import CANDIDATES, FEATURE_COLUMNS, IdTypes, arrow_schema
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.formats import BoostedLinear, FeatureTransform, Ranker, TreesOfCatBoost, read_model
from recsys_assets.core.ranking.linear import fit_linear
from recsys_assets.core.ranking.split import Split, features, split_by_users

if TYPE_CHECKING:
    from catboost import CatBoost

CUTOFF = 10
"""Length of the list that early stopping and tuning look at."""

Kind = Literal["linear", "corrected", "trees"]

CLASSIFIER_LOSS = "Logloss"
"""The loss that makes a classifier of rows; it is stopped by the AUC."""


@dataclass(frozen=True)
class RankerParams:
    """How the ranker is trained.

    Attributes:
        kind: 'linear'; 'corrected' by CatBoost's trees, which start from the linear one and stop where they no longer
            gain; or 'trees' alone.
        penalty: L2 penalty of the linear one; see :func:`recsys_assets.core.ranking.linear.fit_linear`.
        prior_weight: log odds that a transformed fused score of 1 adds to the learned ones. The mean of two orders with
            independent errors errs less, and it stays closer to the order that it has to beat.
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

    kind: Kind = "corrected"
    penalty: float = 250.0
    prior_weight: float = 0.0
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
        model: the stored model; equal examples and parameters give equal bytes.
        trees: how many there are: up to the one with the best NDCG on the held-out users; none in a linear model. What
            is linear is stored as learned from everybody.
        feature_importance: per feature, in percent, most important first; see
            :mod:`recsys_assets.core.ranking.formats`.
        validation_ndcg: mean NDCG@10 of the held-out lists, ideal over the positives among the candidates.
        users_train: users with a positive that the trees saw.
        users_validation: users with a positive that were held out.
    """

    model: bytes
    trees: int
    feature_importance: dict[str, float]
    validation_ndcg: float
    users_train: int
    users_validation: int


OnTree = Callable[[int, float], bool]
"""Number of trees and NDCG of the others so far; False stops the training."""


def train(examples: pa.Table, params: RankerParams, columns: Sequence[str] = FEATURE_COLUMNS) -> TrainedRanker:
    """Train a ranker, and stop when users that it has not seen are no longer ordered better.

    Args:
        examples: as for :func:`recsys_assets.core.ranking.split.split_by_users`.
        params: how to train.
        columns: the features to learn from.

    Raises:
        NotEnoughExamples: fewer than ``params.min_users`` users have a positive.
        ValueError: a feature column is missing.
    """
    data = split_by_users(examples, params.min_users, params.validation_share, params.seed, columns)
    fit = Fit(data, params)
    importance = zip(data.columns, fit.stored.importance.tolist(), strict=True)
    return TrainedRanker(
        model=fit.stored.to_bytes(),
        trees=fit.stored.tree_count,
        feature_importance=dict(sorted(importance, key=lambda pair: (-pair[1], pair[0]))),
        validation_ndcg=fit.validation_ndcg,
        users_train=data.users(apart=False),
        users_validation=data.users(apart=True),
    )


@dataclass(frozen=True)
class Fit:
    """A ranker that learns from one part of the examples, and is stopped and judged by the other.

    What is linear in it is learned twice: without the lists held out, to be judged and for the trees to start from; and
    from everybody, to be stored. Each part is fitted when it is first asked for, since a search does not need them all.

    Attributes:
        examples: as those of :mod:`recsys_assets.core.ranking.split` give them.
        params: how to train.
        alone: gives the linear ranker of a penalty that learned without the lists held out, where several rankers share
            it; None fits it for this one.
        on_tree: told after each tree.
    """

    examples: Split
    params: RankerParams
    alone: Callable[[float], FeatureTransform] | None = None
    on_tree: OnTree | None = None

    @cached_property
    def evaluated(self) -> Ranker:
        """The ranker that learned without the lists held out, which only stopped its trees."""
        return self._upon(lambda: self._start)

    @cached_property
    def stored(self) -> Ranker:
        """The ranker of which the linear part learned from everybody."""
        everybody = np.ones(len(self.examples.apart), np.bool_)
        return self._upon(lambda: fit_linear(self.examples, self.params.penalty, everybody))

    @property
    def validation_ndcg(self) -> float:
        """Mean NDCG@10 of the lists held out."""
        scores = self.evaluated.score(self.examples.matrix[self.examples.apart])
        return float(self.examples.ndcg(scores, CUTOFF).mean())

    def _upon(self, linear: Callable[[], FeatureTransform]) -> Ranker:
        kind, prior_weight = self.params.kind, self.params.prior_weight
        if kind == "trees" and not prior_weight:
            return self._trees
        start = (FeatureTransform.of_nothing(self.examples.columns) if kind == "trees" else linear()).prior_weight(
            prior_weight
        )
        return start if kind == "linear" else BoostedLinear(start, self._trees)

    @cached_property
    def _start(self) -> FeatureTransform:
        fit = self.alone or (lambda penalty: fit_linear(self.examples, penalty, ~self.examples.apart))
        return fit(self.params.penalty)

    @cached_property
    def _trees(self) -> TreesOfCatBoost:
        start = None if self.params.kind == "trees" else self._start.score(self.examples.matrix)
        return _grow(self.examples, self.params, start, self.on_tree)


def _grow(examples: Split, params: RankerParams, start: Floats | None, on_tree: OnTree | None) -> TreesOfCatBoost:
    """CatBoost's trees up to the best one, from some scores [rows] or from nothing."""
    # Imported where it is used: it brings pandas and matplotlib along, seconds that loading the graph must not take.
    from catboost import CatBoost

    learn, evaluator = examples.pools(start)
    model = CatBoost(
        {
            "loss_function": params.loss,
            "eval_metric": "AUC" if params.loss == CLASSIFIER_LOSS else f"NDCG:top={CUTOFF}",
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
    model.fit(learn, eval_set=evaluator, callbacks=[_AfterTree(on_tree)] if on_tree else None)
    return TreesOfCatBoost(_bytes(model))


@dataclass(frozen=True)
class _AfterTree:
    """What CatBoost calls after each tree."""

    told: OnTree

    def after_iteration(self, info: Any) -> bool:
        """Whether to go on."""
        (values,) = (found for name, found in info.metrics["validation"].items() if name.startswith("NDCG"))
        return self.told(info.iteration, max(values))


class Scorer:
    """Scores candidates with a stored model of any kind.

    Args:
        model: the file; see :mod:`recsys_assets.core.ranking.formats`.

    Raises:
        ValueError: it is no model, or one of columns that candidates do not have.
    """

    def __init__(self, model: bytes):
        self.model = read_model(model)
        self.columns = self.model.columns
        unknown = sorted(set(self.columns) - set(CANDIDATES.columns))
        if unknown or not self.columns:
            raise ValueError(f"model: it was trained on columns that candidates do not have: {', '.join(unknown)}")

    def score(self, table: pa.Table) -> Floats:
        """Scores [rows] of a table with the columns of CANDIDATES; a row's score depends on that row alone."""
        if table.num_rows == 0:
            return np.empty(0)
        return self.model.score(features(table, self.columns))

    def add_score(self, table: pa.Table) -> pa.Table:
        """The table with its column ``score``; a row function for Engine.map_batches."""
        return table.append_column(pa.field("score", pa.float64(), nullable=False), pa.array(self.score(table)))


def score_candidates(engine: Engine, candidates: Frame, model: bytes, ids: IdTypes) -> Frame:
    """Score candidates on an engine, batch by batch.

    Args:
        engine: where the frame runs.
        candidates: frame of contract CANDIDATES.
        model: the stored model, of any kind.
        ids: the data set's id types.

    Returns:
        Frame of user_id, item_id, score.
    """
    contract, scorer = arrow_schema(CANDIDATES, ids), Scorer(model)
    names = ["user_id", "item_id", *dict.fromkeys(scorer.columns)]
    schema = pa.schema([*(contract.field(name) for name in names), pa.field("score", pa.float64(), nullable=False)])
    scored = engine.map_batches(candidates.select(names), scorer.add_score, schema)
    return scored.select("user_id", "item_id", "score")


def _bytes(model: CatBoost) -> bytes:
    """The model as a ``.cbm`` file, without the time and the random id that CatBoost writes into it."""
    metadata = model.get_metadata()
    metadata["train_finish_time"] = ""
    metadata["model_guid"] = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranker.cbm"
        model.save_model(str(path), format="cbm")
        return path.read_bytes()
