"""Models of experiments: stored models score like trained ones, and held-out users do not influence them."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.evaluation.compare import lists_from_candidates
from recsys_assets.core.experiments import models
from recsys_assets.core.experiments.config import Experiment, parse
from recsys_assets.core.experiments.metrics import STANDARD, EvaluatedLists, figures
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.ranking.arrays import write_arrays
from recsys_assets.core.ranking.forest import Forest
from recsys_assets.core.ranking.formats import Linear, TreesOfCatBoost, read_model
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.core.ranking.split import NotEnoughExamples, features
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic
from recsys_assets_tests.core.ranking.synthetic import FEATURE_COLUMNS

QUICK = {
    "catboost_ranker": "{iterations: 60, depth: 4}",
    "catboost_classifier": "{iterations: 60, depth: 4}",
    "logistic_regression": "{C: 0.5}",
    "random_forest": "{n_estimators: 12, max_depth: 6}",
}
WINDOW = date(2020, 1, 1)


def experiment(model: str, features: str = "all") -> Experiment:
    return parse(
        f"model: {model}\nparams: {QUICK[model]}\nfeatures: {features}".encode(), "experiments/one.yaml", BUILT_IN.names
    )


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return synthetic.examples(150, 24, day=WINDOW)


@pytest.mark.parametrize("model", QUICK)
def test_a_model_learns_the_order_and_training_is_deterministic(model: str, rows: pa.Table) -> None:
    columns = ("repeat_rank", "ui_hours_since", "item_conversion")
    one = experiment(model, str(list(columns)))
    trained = models.train(rows, one)
    shuffled = rows.take(np.random.default_rng(1).permutation(rows.num_rows))
    assert models.train(shuffled, one) == trained, "equal rows, equal bytes"
    scorer = Scorer(trained.data, rows.column_names)
    assert scorer.columns == columns
    assert set(trained.importance) == set(columns)

    table, acts = synthetic.candidates(100, 24, seed=9)
    group = np.repeat(np.arange(100), 24)
    scores = scorer.score(table)
    parts = [scorer.score(table.slice(at, 7)) for at in range(0, table.num_rows, 7)]
    assert np.array_equal(scores, np.concatenate(parts)), "a row's score depends on that row alone"
    evaluated = EvaluatedLists(
        group, acts, np.bincount(group, weights=acts).astype(np.int64), -_column(table, "fused_rank")
    )
    measured = {figure.metric: figure for figure in figures(evaluated, scores, 0.5, STANDARD, resamples=100)}
    assert measured["ndcg_at_10_gain"].low > 0.1, "it knows the planted rule, and the generators do not"
    assert measured["auc"].value > 0.9


@pytest.mark.parametrize("model", QUICK)
def test_held_out_users_do_not_change_a_model(model: str, rows: pa.Table) -> None:
    """Their features and labels turned around; CatBoost alone looks at them, to know when to stop."""
    if model.startswith("catboost"):
        text = f"model: {model}\nparams: {{iterations: 5, early_stopping: 9, depth: 3}}"
        one = parse(text.encode(), "experiments/a.yml", BUILT_IN.names)
    else:
        one = experiment(model)
    out = np.isin(_column(rows, "user_id"), models.held_out_users(rows, one))
    assert 0.15 < out.mean() < 0.25
    labels = rows["label"].to_numpy()
    moved = np.where(out, np.roll(labels.reshape(-1, 24), 1, axis=1).ravel(), labels)
    other = rows.set_column(rows.column_names.index("label"), "label", pa.array(moved))
    before, after = (read_model(models.train(table, one).data) for table in (rows, other))
    if model.startswith("catboost"):
        trees: Any = [stored.model for stored in (before, after) if isinstance(stored, TreesOfCatBoost)]
        leaves = 8 * min(tree.tree_count_ for tree in trees)
        assert np.array_equal(*(tree.get_leaf_values()[:leaves] for tree in trees))
    else:
        matrix = features(rows, FEATURE_COLUMNS)
        assert np.array_equal(before.score(matrix), after.score(matrix))


def test_stored_models_of_scikit_learn_score_like_scikit_learn(rows: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.ensemble
    import sklearn.linear_model

    fitted: list[Any] = []

    def recording(kind: Any) -> Any:
        class Recording(kind):
            def fit(self, *args: Any) -> Any:
                fitted.append(super().fit(*args))
                return fitted[-1]

        Recording.__name__ = kind.__name__
        return Recording

    monkeypatch.setattr(sklearn.linear_model, "LogisticRegression", recording(sklearn.linear_model.LogisticRegression))
    monkeypatch.setattr(sklearn.ensemble, "RandomForestClassifier", recording(sklearn.ensemble.RandomForestClassifier))
    table, _ = synthetic.candidates(60, 24, seed=4)
    matrix = features(table, FEATURE_COLUMNS)
    assert np.isnan(matrix).any(), "nulls are part of it"
    for model in ("logistic_regression", "random_forest"):
        stored = read_model(models.train(rows, experiment(model)).data)
        assert isinstance(stored, Linear | Forest)
        full = np.where(np.isnan(matrix), stored.medians, matrix)
        inputs = (full - stored.means) / stored.scales if isinstance(stored, Linear) else full
        expected = fitted[-1].predict_proba(inputs)[:, 1]
        assert len(np.unique(expected)) > 20
        assert np.abs(stored.score(matrix) - expected).max() < 1e-9


def test_medians_are_of_the_training_rows(rows: pa.Table) -> None:
    one = experiment("logistic_regression")
    stored = read_model(models.train(rows, one).data)
    assert isinstance(stored, Linear)
    # ``popular`` has no rank for half of the candidates.
    out = np.isin(_column(rows, "user_id"), models.held_out_users(rows, one))
    ranks = rows.filter(pa.array(~out))["popular_rank"].drop_null().to_numpy()
    assert stored.medians[FEATURE_COLUMNS.index("popular_rank")] == np.median(ranks)


@pytest.mark.parametrize("by", ["fused", "covisit"])
def test_a_generator_orders_as_the_platform_does(by: str, rows: pa.Table) -> None:
    one = parse(f"model: generator\nparams: {{by: {by}}}".encode(), "experiments/one.yaml", BUILT_IN.names)
    table, _ = synthetic.candidates(30, 24, seed=4)
    engine = PolarsEngine()
    candidates = engine.from_arrow(table)
    scored = engine.from_arrow(Scorer(models.train(rows, one).data, table.column_names).add_score(table))
    ranked = dense_rank(scored, ["user_id"], "score", ["item_id"]).select("user_id", "item_id", "rank")
    own = lists_from_candidates(candidates)["fused"] if by == "fused" else recommend(candidates, by)
    ordered, expected = (
        frame.select("user_id", "item_id", "rank").sort("user_id", "rank").collect().to_native().rows()
        for frame in (ranked, own)
    )
    assert [(user, item) for user, item, _ in ordered] == [(user, item) for user, item, _ in expected]


def test_too_few_users_raise() -> None:
    with pytest.raises(NotEnoughExamples, match=r"20 users .* needed"):
        models.train(synthetic.examples(5, 10, day=WINDOW), experiment("random_forest"))


@pytest.mark.parametrize("damage", [b"PK\x03\x04rest", b'{"by": "fused", "code": "x"}', b"{", b"\x80\x04\x95"])
def test_files_that_are_no_model_are_refused(damage: bytes) -> None:
    with pytest.raises(ValueError, match="model: "):
        read_model(damage)


def test_an_unknown_kind_of_arrays_is_named() -> None:
    data = write_arrays("quadratic", {"columns": np.asarray(["price"])})
    with pytest.raises(ValueError, match=r"model: .*kind: expected one of .*linear, found 'quadratic'"):
        read_model(data)


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table.column(name).to_numpy()
