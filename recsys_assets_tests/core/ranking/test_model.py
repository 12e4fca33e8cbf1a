import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.evaluation.compare import evaluate, lists_from_candidates
from recsys_assets.core.evaluation.evaluator import popularity
from recsys_assets.core.gate.rule import CONFIDENCE, decide, pick_baseline
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.ranking.formats import BoostedLinear, read_model
from recsys_assets.core.ranking.linear import fit_linear
from recsys_assets.core.ranking.model import Fit, Kind, RankerParams, Scorer, TrainedRanker, score_candidates, train
from recsys_assets.core.ranking.split import NotEnoughExamples, features, held_out, split_by_users
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic
from recsys_assets_tests.core.ranking.synthetic import FEATURE_COLUMNS

ENGINE = PolarsEngine()
QUICK = RankerParams(iterations=60, depth=4, early_stopping=15)


@pytest.fixture(scope="module")
def trained() -> TrainedRanker:
    return train(synthetic.examples(200, 30), QUICK)


def test_the_ranker_learns_a_planted_rule_and_beats_every_generator(trained: TrainedRanker):
    ids = IdTypes("string", "string")
    table, acts = synthetic.candidates(300, 30, seed=7, ids=ids)
    candidates = ENGINE.from_arrow(table)
    targets = ENGINE.from_arrow(table.select(["user_id", "item_id"]).filter(pa.array(acts)))
    scores = score_candidates(ENGINE, candidates, trained.model, ids)
    lists = {**lists_from_candidates(candidates), "ranker": recommend(candidates, "ranker", scores)}

    known = popularity(candidates.select("user_id", "item_id"))
    result = evaluate(lists, targets, None, known, 120, resamples=200, level=CONFIDENCE, pick_baseline=pick_baseline)

    ndcg = {row["model"]: row["low"] for row in result.to_pylist() if (row["metric"], row["k"]) == ("ndcg", 10)}
    gain = next(row for row in result.to_pylist() if (row["model"], row["metric"]) == ("ranker", "ndcg_gain"))
    assert ndcg["ranker"] > 0.8
    assert gain["low"] > 0.1
    assert decide(result, 30).with_ranker.order_by == "ranker"
    assert set(list(trained.feature_importance)[:2]) == {"ui_hours_since", "item_conversion"}
    assert sum(trained.feature_importance.values()) == pytest.approx(100)
    assert set(trained.feature_importance) == set(FEATURE_COLUMNS)
    assert trained.validation_ndcg > 0.8


def test_equal_examples_give_equal_bytes_in_any_row_order(
    trained: TrainedRanker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    table = synthetic.examples(200, 30)
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    time.sleep(1.1)  # CatBoost would write the second at which training ended
    assert train(shuffled, QUICK) == trained
    assert list(Path.cwd().iterdir()) == []  # no catboost_info


def test_a_reloaded_model_scores_the_same_row_by_row(trained: TrainedRanker):
    table, _ = synthetic.candidates(20, 30, seed=3)
    whole = Scorer(trained.model, table.column_names).score(table)
    again = Scorer(bytes(trained.model), table.column_names)
    assert np.array_equal(
        whole, np.concatenate([again.score(table.slice(at, 7)) for at in range(0, table.num_rows, 7)])
    )
    assert again.score(table.slice(0, 0)).shape == (0,)
    assert again.add_score(table).column_names == [*table.column_names, "score"]
    frame = score_candidates(ENGINE, ENGINE.from_arrow(table), trained.model, IdTypes()).collect().to_native()
    assert frame.sort("user_id", "item_id")["score"].to_list() == whole.tolist()


def test_held_out_users_are_disjoint_stable_and_the_stated_share():
    users = list(range(1000))
    mask = held_out(users, 0.2, seed=0)
    assert mask.sum() == 200
    assert np.array_equal(held_out(users[::-1], 0.2, seed=0)[::-1], mask)
    assert not np.array_equal(held_out(users, 0.2, seed=1), mask)
    assert held_out(["a", "b"], 0.01, seed=0).sum() == 1


def test_a_user_is_held_out_in_all_windows_or_in_none():
    """Labels of the held-out users, in both windows, change the score but not the trees."""
    windows = pa.concat_tables([synthetic.examples(60, 12, seed, date(2020, 1, 1 + 7 * seed)) for seed in range(2)])
    fixed = RankerParams(iterations=8, early_stopping=8, depth=3)
    mask = held_out(list(range(60)), fixed.validation_share, fixed.seed)
    labels = windows["label"].to_numpy()
    held_out_rows = mask[windows["user_id"].to_numpy()]
    # Give every held-out user's label to the neighbouring candidate.
    moved = np.where(held_out_rows, np.roll(labels.reshape(-1, 12), 1, axis=1).ravel(), labels)
    other = windows.set_column(windows.column_names.index("label"), "label", pa.array(moved))

    first, second = train(windows, fixed), train(other, fixed)

    assert (first.users_train, first.users_validation) == (48, 12)
    assert first.validation_ndcg != second.validation_ndcg
    shared_trees = min(first.trees, second.trees)
    leaves: list[Any] = []
    for result in (first, second):
        model = read_model(result.model)
        assert isinstance(model, BoostedLinear)
        leaves.append(model.trees.model.get_leaf_values()[: shared_trees * 8])
    assert np.array_equal(*leaves)


def test_too_few_users_raise_with_both_counts():
    with pytest.raises(NotEnoughExamples, match=r"20 users .* needed .* found 5 \(of 50 rows, \d+ are positive\)"):
        train(synthetic.examples(5, 10), QUICK)
    with pytest.raises(NotEnoughExamples, match="found 0"):
        train(synthetic.examples(5, 10).slice(0, 0), QUICK)


def test_features_turn_null_into_nan_and_name_what_is_missing():
    table, _ = synthetic.candidates(2, 6)
    matrix = features(table, FEATURE_COLUMNS)
    assert matrix.dtype == np.float32
    assert matrix.shape == (12, len(FEATURE_COLUMNS))
    at = FEATURE_COLUMNS.index("popular_rank")
    assert np.array_equal(np.isnan(matrix[:, at]), pl.DataFrame(table)["popular_rank"].is_null().to_numpy())
    with pytest.raises(ValueError, match=r"expected but not found: item_price"):
        features(table.drop(["item_price"]), FEATURE_COLUMNS)


def test_a_model_of_other_features_is_refused(trained: TrainedRanker):
    table, _ = synthetic.candidates(2, 6)
    fewer = table.drop(["item_price"])
    with pytest.raises(ValueError, match="candidates do not have: item_price"):
        Scorer(trained.model, fewer.column_names)
    with pytest.raises(ValueError, match="candidates do not have: item_price"):
        score_candidates(ENGINE, ENGINE.from_arrow(fewer), trained.model, IdTypes())
    with pytest.raises(ValueError, match=r"expected a \.cbm, \.npz or \.json file"):
        Scorer(b"pickled", table.column_names)


def test_a_linear_ranker_needs_few_lists_and_scores_row_by_row():
    few = synthetic.examples(40, 24, seed=5)
    params = replace(QUICK, kind="linear")
    ranker = train(few, params)
    shuffled = few.take(np.random.default_rng(2).permutation(few.num_rows))
    assert train(shuffled, params) == ranker, "equal rows, equal bytes"
    assert sum(ranker.feature_importance.values()) == pytest.approx(100.0)
    assert set(list(ranker.feature_importance)[:2]) <= {"ui_hours_since", "item_conversion", "fused_score"}

    table, acts = synthetic.candidates(100, 24, seed=9)
    scorer = Scorer(ranker.model, table.column_names)
    scores = scorer.score(table)
    assert np.array_equal(scores, np.concatenate([scorer.score(table.slice(at, 7)) for at in range(0, 2400, 7)]))
    first = np.lexsort((-scores, np.repeat(np.arange(100), 24)))[::24]
    assert acts[first].mean() > 0.5, "about one candidate in twelve is acted on"


@pytest.mark.parametrize("kind", ["linear", "boosted_linear", "trees"])
def test_the_prior_weight_adds_the_fused_score_in_every_kind_of_ranker(kind: Kind) -> None:
    """As many log odds as the parameters say, in the stored model and in the evaluated one."""
    data = split_by_users(synthetic.examples(60, 12, seed=6), 20, 0.2, 0)
    without, with_prior = (Fit(data, replace(QUICK, kind=kind, prior_weight=weight)) for weight in (0.0, 3.0))
    fused = np.log1p(data.matrix[:, data.columns.index("fused_score")].astype(np.float64))
    for before, after in ((without.stored, with_prior.stored), (without.evaluated, with_prior.evaluated)):
        rest = read_model(after.to_bytes()).score(data.matrix) - before.score(data.matrix) - 3 * fused
        assert np.ptp(rest) < 1e-6, "up to a constant"


def test_a_linear_ranker_transforms_ranks_and_amounts_and_flags_missing_values():
    """Against scikit-learn's own probabilities, on inputs written out by hand."""
    from sklearn.linear_model import LogisticRegression

    table = synthetic.examples(60, 12, seed=6)
    price = np.where(np.arange(table.num_rows) % 3 == 0, np.nan, table["item_price"].to_numpy())
    column = pa.array(price.astype(np.float32), from_pandas=True)
    table = table.set_column(table.column_names.index("item_price"), "item_price", column)
    columns = ("popular_rank", "item_price", "ui_weight")
    parts = split_by_users(table, 20, 0.2, 0, columns)
    all_rows = np.ones(len(parts.held_out), np.bool_)
    model = fit_linear(parts, 5.0, all_rows)
    rank, price, weight = (parts.matrix[:, at].astype(np.float64) for at in range(3))
    transformed = np.stack(
        [np.where(np.isnan(rank), 0, 1 / (10 + rank)), np.nan_to_num(np.log1p(price)), np.log1p(weight)], 1
    )
    inputs = np.column_stack([(transformed - transformed.mean(axis=0)) / transformed.std(axis=0), np.isnan(price)])
    lists = np.bincount(parts.group, weights=parts.labels)[parts.group]
    fitted = LogisticRegression(C=1 / 5.0, tol=1e-10, max_iter=5000).fit(
        inputs, parts.labels > 0, sample_weight=1 / lists
    )
    odds = fitted.decision_function(inputs) - fitted.intercept_[0]
    assert np.abs(model.score(parts.matrix) - odds).max() < 1e-6
    assert np.array_equal(read_model(model.to_bytes()).score(parts.matrix), model.score(parts.matrix))
    assert np.array_equal(model.with_prior(3.0).score(parts.matrix), model.score(parts.matrix)), "it has no fused score"
