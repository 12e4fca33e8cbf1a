"""The ranker, which orders each user's candidates: a linear model, CatBoost's trees, or both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from recsys_assets.core.contracts import IdTypes, arrow_schema, features_contract, generators_in
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.formats import BoostedLinear, Ranker, TransformedLinear, TreesOfCatBoost, read_model
from recsys_assets.core.ranking.linear import fit_linear, fit_to_all
from recsys_assets.core.ranking.split import Split, features, split_by_users

if TYPE_CHECKING:
    from catboost import CatBoost

CUTOFF = 10
"""Length of the lists that early stopping and tuning evaluate."""

Kind = Literal["linear", "boosted_linear", "trees"]

CLASSIFIER_LOSS = "Logloss"
"""The loss that gives a classifier of rows; early stopping then uses the AUC."""


@dataclass(frozen=True)
class RankerParams:
    """How the ranker is trained.

    Attributes:
        kind: 'linear'; 'boosted_linear' (CatBoost's trees start from the linear scores and stop when they no longer
            improve them); or 'trees' only.
        penalty: L2 penalty of the linear model; see :func:`recsys_assets.core.ranking.linear.fit_linear`.
        prior_weight: weight of the fused prior: log odds added per unit of the transformed fused score. The mean of two
            orders with independent errors has a smaller error, and it stays closer to the order that it has to beat.
        loss: CatBoost's ranking loss: QuerySoftMax, or YetiRank, which is as accurate and ten times as slow.
        iterations: maximum number of trees; early stopping usually ends before.
        learning_rate: shrinkage of each tree.
        depth: depth of the symmetric trees.
        l2: L2 regularisation of the leaves.
        early_stopping: rounds without a better NDCG on the held-out users after which training stops.
        validation_share: share of the users to hold out.
        min_users: least number of users with a positive, over all windows.
        seed: of the trees and of the choice of held-out users.
        thread_count: fixed, because the order of float sums may depend on it.
    """

    kind: Kind = "boosted_linear"
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
    """A trained model and its figures.

    Attributes:
        model: the stored model; equal examples and parameters give equal bytes.
        trees: number of trees, up to the one with the best NDCG on the held-out users; 0 in a linear model. The linear
            part is stored as fitted to all users.
        feature_importance: per feature, in percent, most important first; see
            :mod:`recsys_assets.core.ranking.formats`.
        validation_ndcg: mean NDCG@10 of the held-out lists, ideal over the positives among the candidates.
        users_train: users with a positive that the trees were trained on.
        users_validation: users with a positive that were held out.
    """

    model: bytes
    trees: int
    feature_importance: dict[str, float]
    validation_ndcg: float
    users_train: int
    users_validation: int


OnTree = Callable[[int, float], bool]
"""Takes the number of trees and the best NDCG on the held-out lists so far; False stops the training."""


def train(examples: pa.Table, params: RankerParams, columns: Sequence[str] | None = None) -> TrainedRanker:
    """Train a ranker, with early stopping on held-out users.

    Args:
        examples: as for :func:`recsys_assets.core.ranking.split.split_by_users`.
        params: how to train.
        columns: the features to train on; None for all that the examples have.

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
        users_train=data.users(held_out=False),
        users_validation=data.users(held_out=True),
    )


@dataclass(frozen=True)
class Fit:
    """A ranker trained on one part of the examples, stopped and evaluated on the other.

    Its linear part is fitted twice: without the held-out lists, for evaluation and as the base model that the trees
    start from; and to all lists, for storage. Each part is fitted at first use, since a search does not need them all.

    Attributes:
        examples: see :mod:`recsys_assets.core.ranking.split`.
        params: how to train.
        base_model: gives the linear model of a penalty, fitted without the held-out lists, where several rankers share
            it; None fits it for this ranker.
        on_tree: called after each tree.
        full_model: gives the linear model of a penalty, fitted to all lists, where several rankers share it; None fits
            it for this ranker.
    """

    examples: Split
    params: RankerParams
    base_model: Callable[[float], TransformedLinear] | None = None
    on_tree: OnTree | None = None
    full_model: Callable[[float], TransformedLinear] | None = None

    @cached_property
    def evaluated(self) -> Ranker:
        """The ranker fitted without the held-out lists, which only stopped its trees."""
        return self._with_trees(lambda: self._base)

    @cached_property
    def stored(self) -> Ranker:
        """The ranker whose linear part is fitted to all lists."""
        fit = self.full_model or (lambda penalty: fit_to_all(self.examples, penalty))
        return self._with_trees(lambda: fit(self.params.penalty))

    @property
    def validation_ndcg(self) -> float:
        """Mean NDCG@10 of the held-out lists."""
        scores = self.evaluated.score(self.examples.matrix[self.examples.held_out])
        return float(self.examples.ndcg(scores, CUTOFF).mean())

    def _with_trees(self, linear: Callable[[], TransformedLinear]) -> Ranker:
        """The ranker of the kind asked for, with the fused prior in its linear part."""
        kind, prior_weight = self.params.kind, self.params.prior_weight
        if kind == "trees" and not prior_weight:
            return self._trees
        base = TransformedLinear.zero(self.examples.columns) if kind == "trees" else linear()
        with_prior = base.with_prior(prior_weight)
        return with_prior if kind == "linear" else BoostedLinear(with_prior, self._trees)

    @cached_property
    def _base(self) -> TransformedLinear:
        fit = self.base_model or (lambda penalty: fit_linear(self.examples, penalty, ~self.examples.held_out))
        return fit(self.params.penalty)

    @cached_property
    def _trees(self) -> TreesOfCatBoost:
        start = None if self.params.kind == "trees" else self._base.score(self.examples.matrix)
        return _grow(self.examples, self.params, start, self.on_tree)


def _grow(examples: Split, params: RankerParams, start: Floats | None, on_tree: OnTree | None) -> TreesOfCatBoost:
    """CatBoost's trees up to the best one, starting from some scores [rows] or from zero."""
    # Imported here because it imports pandas and matplotlib: seconds that loading the graph must not take.
    from catboost import CatBoost

    training, held_out = examples.pools(start)
    model = CatBoost(
        {
            "loss_function": params.loss,
            "eval_metric": "AUC" if params.loss == CLASSIFIER_LOSS else f"NDCG:top={CUTOFF}",
            "iterations": params.iterations,
            "learning_rate": params.learning_rate,
            "depth": params.depth,
            "l2_leaf_reg": params.l2,
            "early_stopping_rounds": params.early_stopping,
            # CatBoost's default of 10 steps per leaf takes six times as long and gives no better order.
            "leaf_estimation_iterations": 1,
            "random_seed": params.seed,
            "thread_count": params.thread_count,
            "allow_writing_files": False,
            "verbose": False,
        }
    )
    model.fit(training, eval_set=held_out, callbacks=[_AfterTree(on_tree)] if on_tree else None)
    return TreesOfCatBoost(_bytes(model))


@dataclass(frozen=True)
class _AfterTree:
    """CatBoost's callback after each tree."""

    on_tree: OnTree

    def after_iteration(self, info: Any) -> bool:
        """Whether to continue."""
        (values,) = (history for name, history in info.metrics["validation"].items() if name.startswith("NDCG"))
        return self.on_tree(info.iteration, max(values))


class Scorer:
    """Scores candidates with a stored model of any kind.

    Args:
        model: the file; see :mod:`recsys_assets.core.ranking.formats`.
        columns: the columns of the candidates to score.

    Raises:
        ValueError: the file is no model, or the model was trained on columns that the candidates do not have.
    """

    def __init__(self, model: bytes, columns: Collection[str]):
        self.model = read_model(model)
        self.columns = self.model.columns
        unknown = sorted(set(self.columns) - set(columns))
        if unknown or not self.columns:
            raise ValueError(f"model: it was trained on columns that candidates do not have: {', '.join(unknown)}")

    def score(self, table: pa.Table) -> Floats:
        """Scores [rows] of a table with the columns of CANDIDATES; a row's score depends on no other row."""
        if table.num_rows == 0:
            return np.empty(0)
        return self.model.score(features(table, self.columns))

    def add_score(self, table: pa.Table) -> pa.Table:
        """The table with its column ``score``; a row function for Engine.map_batches."""
        return table.append_column(pa.field("score", pa.float64(), nullable=False), pa.array(self.score(table)))


def score_candidates(engine: Engine, candidates: Frame, model: bytes, ids: IdTypes) -> Frame:
    """Score candidates on an engine, batch by batch.

    Args:
        engine: that the frame belongs to.
        candidates: with features, as :func:`~recsys_assets.core.retrieval.features.with_features` adds them.
        model: the stored model, of any kind.
        ids: the data set's id types.

    Returns:
        Frame of user_id, item_id, score.
    """
    columns = candidates.collect_schema().names()
    contract, scorer = arrow_schema(features_contract(generators_in(columns)), ids), Scorer(model, columns)
    names = ["user_id", "item_id", *dict.fromkeys(scorer.columns)]
    schema = pa.schema([*(contract.field(name) for name in names), pa.field("score", pa.float64(), nullable=False)])
    scored = engine.map_batches(candidates.select(names), scorer.add_score, schema)
    return scored.select("user_id", "item_id", "score")


def scores_by_model(engine: Engine, candidates: Frame, models: Mapping[str, bytes], ids: IdTypes) -> dict[str, Frame]:
    """:func:`score_candidates` by each of several stored models; empty bytes are no model."""
    return {name: score_candidates(engine, candidates, model, ids) for name, model in models.items() if model}


def _bytes(model: CatBoost) -> bytes:
    """The model as a ``.cbm`` file, without the time and the random id that CatBoost writes into it."""
    metadata = model.get_metadata()
    metadata["train_finish_time"] = ""
    metadata["model_guid"] = ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranker.cbm"
        model.save_model(str(path), format="cbm")
        return path.read_bytes()
