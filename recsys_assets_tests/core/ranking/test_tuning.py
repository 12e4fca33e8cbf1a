from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from recsys_assets.core.evaluation.metrics import Bools
from recsys_assets.core.ranking import linear, model, tuning
from recsys_assets.core.ranking.formats import TransformedLinear
from recsys_assets.core.ranking.linear import fit_linear
from recsys_assets.core.ranking.model import Fit, RankerParams
from recsys_assets.core.ranking.split import NotEnoughExamples, Split, split_by_time, split_by_users
from recsys_assets.core.ranking.tuning import BY_TIME, BY_USERS, VARIED, RankerSearchResult, tune
from recsys_assets.core.tuning.study import COMPLETE, PRUNED, Budget, Search, best_of
from recsys_assets_tests.core.ranking import synthetic

QUICK = RankerParams(iterations=15, depth=4, early_stopping=5)
DAY = "2020-01-15"
OLDER, NEWER = date(2020, 1, 1), date(2020, 1, 8)


def search(trials: int = 4, seed: int = 3, **more: object) -> Search:
    return replace(Search("ranker", Budget(trials), seed), **more)


def windows(users: int = 50, per_user: int = 12) -> pa.Table:
    return pa.concat_tables([synthetic.examples(users, per_user, at, day) for at, day in enumerate((OLDER, NEWER))])


def test_tuning_starts_with_the_base_returns_the_best_and_is_deterministic() -> None:
    table = synthetic.examples(60, 15)
    lines: list[str] = []
    first = tune(table, DAY, search(on_trial=lines.append), QUICK)
    assert tune(table, DAY, search(), QUICK) == first
    assert RankerSearchResult.from_json(first.to_json()) == first
    assert len(lines) == len(first.trials) == 4
    for place, (kind, names) in enumerate(VARIED.items()):
        assert first.trials[place].params == {"kind": place, **{name: getattr(QUICK, name) for name in names}}, kind
    kinds = [place for place, kind in enumerate(VARIED) if (kind == "linear") is (first.best.kind == "linear")]
    best = max(trial.value for trial in first.trials if trial.state == COMPLETE and trial.params["kind"] in kinds)
    data = split_by_users(table, QUICK.min_users, QUICK.validation_share, QUICK.seed)
    assert Fit(data, replace(first.best, prior_weight=0.0)).validation_ndcg == best
    assert (first.best.iterations, first.best.seed, first.evaluated_by) == (QUICK.iterations, QUICK.seed, BY_USERS)
    assert (first.tuned_on, first.study) == (DAY, "ranker")


def test_trees_replace_a_linear_ranker_only_with_a_significant_gain() -> None:
    """The planted rule is a product of two features, which no sum is; of labels drawn at random neither learns."""
    table = synthetic.examples(300, 24)
    drawn = pa.array(np.random.default_rng(4).permutation(table["label"].to_numpy()))
    noise = table.set_column(table.column_names.index("label"), "label", drawn)
    more = replace(QUICK, iterations=150)
    better, drawn_at_random = tune(synthetic.examples(600, 24), DAY, search(3), more), tune(noise, DAY, search(3), more)
    assert better.best.kind != "linear"
    assert better.gain is not None
    assert better.gain[1] > 0
    assert drawn_at_random.best.kind == "linear"
    assert drawn_at_random.gain is not None
    assert drawn_at_random.gain[1] <= 0
    assert RankerSearchResult.from_json(better.to_json()) == better


def test_the_fused_prior_gets_weight_where_it_predicts_best() -> None:
    """Users act on items with a high fused score, or a low one; all other features are noise."""
    table = synthetic.examples(60, 12, seed=5)
    rng = np.random.default_rng(8)
    fused = rng.random(table.num_rows).astype(np.float32)
    acted = (rng.random(table.num_rows) < fused**4).astype(np.int64)

    def prior_weight(fused_score: NDArray[np.float32]) -> float:
        columns = {"fused_score": pa.array(fused_score), "label": pa.array(acted)}
        labelled = table
        for name, column in columns.items():
            labelled = labelled.set_column(labelled.column_names.index(name), name, column)
        return tune(labelled, DAY, search(3), replace(QUICK, penalty=2_500.0)).best.prior_weight

    assert prior_weight(fused) > 0
    assert prior_weight(1 - fused) == 0


def test_a_search_cut_off_between_trees_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, fitted = windows(), []

    def interrupted(*arguments: object) -> object:
        fitted.append(arguments)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return Fit(*arguments)  # type: ignore[arg-type]

    undisturbed = tune(table, DAY, search(), QUICK).to_json()
    stored = search(storage=str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(tuning, "Fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune(table, DAY, stored, QUICK)
        assert tune(table, DAY, stored, QUICK).to_json() == undisturbed
    assert len(fitted) == 9, "two before, the one cut off, what was left, and two of each of the best to compare"


def test_a_search_fits_each_linear_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials need one per penalty, fitted without the newest window; the comparison, one with each half of it."""
    fitted: list[tuple[float, int]] = []

    def spy(examples: Split, penalty: float, rows: Bools) -> TransformedLinear:
        fitted.append((penalty, int(rows.sum())))
        return fit_linear(examples, penalty, rows)

    for module in (linear, model, tuning):
        monkeypatch.setattr(module, "fit_linear", spy)
    table = windows()
    data = split_by_time(table, 20, 0.2)
    assert data is not None
    result = tune(table, DAY, search(6), QUICK)
    older = int((~data.held_out).sum())
    tried = [trial.params["penalty"] for trial in result.trials if "penalty" in trial.params]
    assert tried.count(QUICK.penalty) == 2, "with trees and without"
    assert sorted(penalty for penalty, rows in fitted if rows == older) == sorted(set(tried))
    of_kind = [trial.params["kind"] == list(VARIED).index("linear") for trial in result.trials]
    parts = (
        [trial for trial, is_linear in zip(result.trials, of_kind, strict=True) if is_linear is part]
        for part in (True, False)
    )
    best = {params["penalty"] for params in (best_of(part).params for part in parts) if "penalty" in params}
    assert sorted(penalty for penalty, rows in fitted if rows > older) == sorted([*best, *best]), "one for either half"


def test_trials_are_evaluated_on_the_newest_window_and_trained_on_the_older_ones() -> None:
    """Labels of the newest window move the scores, but neither trees nor which users they come from."""
    table = windows()
    data = split_by_time(table, 20, 0.2)
    assert data is not None
    assert (data.users(held_out=False), data.users(held_out=True)) == (50, 50)
    newer = table["dt"].to_numpy() == np.datetime64(NEWER)
    labels = table["label"].to_numpy()
    moved = np.where(newer, np.roll(labels.reshape(-1, 12), 1, axis=1).ravel(), labels)
    other = split_by_time(table.set_column(table.column_names.index("label"), "label", pa.array(moved)), 20, 0.2)
    assert other is not None
    assert np.array_equal(other.pools()[0].get_label(), data.pools()[0].get_label())
    fixed = replace(QUICK, early_stopping=15)
    assert Fit(other, fixed).validation_ndcg != Fit(data, fixed).validation_ndcg
    assert tune(table, DAY, search(1), QUICK).evaluated_by == BY_TIME
    few = pa.concat_tables([synthetic.examples(3, 12, 0, OLDER), synthetic.examples(50, 12, 1, NEWER)])
    assert tune(few, DAY, search(1), QUICK).evaluated_by == BY_USERS


def test_a_window_left_out_cannot_move_the_result() -> None:
    """With the window on which the ranker is evaluated, the search would have another result."""
    both = windows(40)
    past = both.filter(pc.call_function("less", [both["dt"], pa.scalar(NEWER)]))
    past_only = tune(past, DAY, search(2), QUICK)
    assert past_only.evaluated_by == BY_USERS
    assert tune(both, DAY, search(2), QUICK) != past_only


def test_trials_below_the_median_are_pruned() -> None:
    """Pruned trials stop before their last tree; all others grow it."""
    slow = replace(QUICK, iterations=40, early_stopping=40)
    result = tune(windows(), DAY, search(10), slow)
    pruned = [trial for trial in result.trials if trial.state == PRUNED]
    assert pruned
    assert all(trial.facts["trees"] < 40 for trial in pruned)
    linear = list(VARIED).index("linear")
    grown = [trial for trial in result.trials if trial.state == COMPLETE and trial.params["kind"] != linear]
    assert all(trial.facts["trees"] == 40 for trial in grown)
    assert RankerSearchResult.from_json(result.to_json()) == result
    assert max(trial.value for trial in pruned) < best_of(result.trials).value


@pytest.mark.parametrize(("trials", "startup"), [(2, 3), (7, 3), (8, 4)])
def test_half_of_the_trials_are_drawn_before_any_is_pruned_and_three_at_least(
    trials: int, startup: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def spy(n_startup_trials: int, **options: int) -> optuna.pruners.NopPruner:
        begun.append(n_startup_trials)
        return optuna.pruners.NopPruner()

    monkeypatch.setattr(optuna.pruners, "MedianPruner", spy)
    tune(windows(), DAY, search(trials), replace(QUICK, iterations=2))
    assert begun == [startup]


def test_too_few_examples_and_foreign_json_raise() -> None:
    with pytest.raises(NotEnoughExamples):
        tune(synthetic.examples(3, 5), DAY, search(2), QUICK)
    with pytest.raises(ValueError, match="ranker_params: not the JSON of a search result"):
        RankerSearchResult.from_json('{"best": {"los": 1}, "trials": []}')
