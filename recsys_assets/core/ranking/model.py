"""The ranker: a CatBoost model that orders each user's candidates."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.contracts import CANDIDATES, FEATURE_COLUMNS, IdTypes, arrow_schema
from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints, hits_at, ndcg
from recsys_assets.core.ranking.formats import read_model
from recsys_assets.engines.base import Engine, Frame

if TYPE_CHECKING:
    from catboost import CatBoost

CUTOFF = 10
"""Length of the list that early stopping and tuning look at."""

CLASSIFIER_LOSS = "Logloss"
"""The loss that makes a classifier of rows; it is stopped by the AUC."""


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


class NotEnoughExamples(ValueError):  # noqa: N818 - the state of a young data set, not a mistake
    """Too few users have a positive example to train on some and hold out others."""


def features(table: pa.Table, names: Sequence[str] = FEATURE_COLUMNS) -> NDArray[np.float32]:
    """The feature matrix [rows, names] of candidates; null becomes NaN.

    CatBoost gets numpy, never a frame: its reader of Polars frames crashes on categorical columns.

    Raises:
        ValueError: a feature column is missing.
    """
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"candidates: feature columns expected but not found: {', '.join(missing)}")
    # Column after column, as the table lies in memory and as CatBoost reads it: twice as fast as row after row.
    matrix = np.empty((len(names), table.num_rows), dtype=np.float32)
    for at, name in enumerate(names):
        matrix[at] = table.column(name).cast(pa.float32(), safe=False).to_numpy()
    return matrix.T


def held_out(users: Sequence[int] | Sequence[str], share: float, seed: int) -> Bools:
    """Which of some distinct users are held out: a share of them, at least one, the first by a hash of seed and id."""
    hashes = [hashlib.blake2b(f"{seed}:{user}".encode(), digest_size=8).digest() for user in users]
    out = np.zeros(len(users), dtype=np.bool_)
    out[sorted(range(len(users)), key=hashes.__getitem__)[: max(1, round(share * len(users)))]] = True
    return out


@dataclass(frozen=True)
class Split:
    """Examples of users with a positive, sorted, and who of them is held out.

    Attributes:
        rows: the examples of groups with a positive. A group (a list to order) is one user in one window.
        group: [rows] code of the group.
        out: [rows] whether the user is held out; a user is in all windows or in none.
        users_out: ids of the users held out.
        users: users in all.
    """

    rows: pa.Table
    group: Ints
    out: Bools
    users_out: list[int] | list[str]
    users: int

    @property
    def labels(self) -> Floats:
        """[rows] 1 for a positive."""
        return _labels(self.rows)


def split(examples: pa.Table, share: float, min_users: int, seed: int) -> Split:
    """Part examples into those to learn from and those of users who are held out.

    Args:
        examples: table of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows. Groups without a
            positive teach a ranking loss nothing and are left out. The order of the rows does not matter.
        share: of the users to hold out.
        min_users: fewest users with a positive.
        seed: of the choice.

    Raises:
        NotEnoughExamples: fewer than ``min_users`` users have a positive.
    """
    rows, group, user, ids = _groups(examples)
    needed = max(2, min_users)
    if len(ids) < needed:
        raise NotEnoughExamples(
            f"ranking_examples: {needed} users with a positive example are needed to train and hold out, "
            f"found {len(ids)} (of {examples.num_rows} rows, {int(_labels(examples).sum())} are positive)"
        )
    out = held_out(ids, share, seed)
    chosen: Any = [one for one, is_out in zip(ids, out.tolist(), strict=True) if is_out]
    return Split(rows, group, out[user], chosen, len(ids))


def train(examples: pa.Table, params: RankerParams, columns: Sequence[str] = FEATURE_COLUMNS) -> TrainedRanker:
    """Train a ranker, and stop when users that it has not seen are no longer ordered better.

    Args:
        examples: as for :func:`split`.
        params: how to train.
        columns: the features to learn from.

    Raises:
        NotEnoughExamples: fewer than ``params.min_users`` users have a positive.
        ValueError: a feature column is missing.
    """
    # Imported where it is used: it brings pandas and matplotlib along, seconds that loading the graph must not take.
    from catboost import CatBoost, EFstrType, Pool

    parts = split(examples, params.validation_share, params.min_users, params.seed)
    matrix, labels, group, apart = features(parts.rows, columns), parts.labels, parts.group, parts.out
    pools = [
        Pool(matrix[part], labels[part], group_id=group[part], feature_names=list(columns)) for part in (~apart, apart)
    ]
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
    model.fit(pools[0], eval_set=pools[1])
    importance = np.asarray(model.get_feature_importance(type=EFstrType.PredictionValuesChange), dtype=np.float64)
    scores = np.asarray(model.predict(matrix[apart]), dtype=np.float64)
    return TrainedRanker(
        model=_bytes(model),
        best_iteration=int(model.get_best_iteration()),
        feature_importance=dict(
            sorted(zip(columns, importance.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
        ),
        validation_ndcg=_mean_ndcg(group[apart], labels[apart], scores),
        users_train=parts.users - len(parts.users_out),
        users_validation=len(parts.users_out),
    )


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


def _groups(examples: pa.Table) -> tuple[pa.Table, Ints, Ints, list[int] | list[str]]:
    """Rows of groups with a positive, sorted, with codes of group and user [rows] and the users' ids."""
    day = _codes(examples.column("dt")) if "dt" in examples.column_names else np.zeros(examples.num_rows, np.int64)
    user = _codes(examples.column("user_id"))
    group = day * (user.max(initial=0) + 1) + user
    has_positive = np.bincount(group, weights=_labels(examples)) > 0 if len(group) else np.zeros(1, np.bool_)
    rows = examples.filter(pa.array(has_positive[group]))
    by = [name for name in ("dt", "user_id", "item_id") if name in rows.column_names]
    rows = rows.sort_by([(name, "ascending") for name in by])
    user = _codes(rows.column("user_id"))
    day = _codes(rows.column("dt")) if "dt" in rows.column_names else np.zeros(rows.num_rows, np.int64)
    ids = rows.column("user_id").unique().to_pylist()
    return rows, day * len(ids) + user, user, ids


def _codes(column: pa.ChunkedArray) -> Ints:
    """Codes 0, 1, … of the distinct values, in the order in which they appear."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64)


def _labels(table: pa.Table) -> Floats:
    return table.column("label").to_numpy().astype(np.float64)


def _mean_ndcg(group: Ints, labels: Floats, scores: Floats) -> float:
    """Mean NDCG of groups that each have a positive; rows are sorted so that equal scores stand by item_id."""
    _, group = np.unique(group, return_inverse=True)
    hits = hits_at(group, labels > 0, scores, CUTOFF)
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
