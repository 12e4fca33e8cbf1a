"""Who becomes champion: real models on a planted rule, and the figures at which the gate turns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.evaluation.compare import evaluate, lists_from_candidates
from recsys_assets.core.evaluation.evaluator import popularity
from recsys_assets.core.gate.promotion import Mode, Model, Promotion, RegistryState, gate, promote
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()
MODES: tuple[Mode, ...] = ("autonomous", "manual")
OLD, NEW = Model("2015-05-01", "a" * 64), Model("2015-05-02", "b" * 64)
QUICK = RankerParams(iterations=60, depth=4, early_stopping=15)


@pytest.fixture(scope="module")
def good() -> bytes:
    return train(synthetic.examples(200, 30), QUICK).model


@pytest.fixture(scope="module")
def shuffled() -> bytes:
    """A model of labels that say nothing."""
    table = synthetic.examples(200, 30)
    labels = np.random.default_rng(0).permutation(table["label"].to_numpy())
    return train(table.set_column(table.column_names.index("label"), "label", pa.array(labels)), QUICK).model


def evaluated(**models: bytes) -> pa.Table:
    """The evaluation of models on users that none has seen."""
    table, acts = synthetic.candidates(300, 30, seed=7)
    candidates = ENGINE.from_arrow(table)
    lists = lists_from_candidates(candidates)
    for name, model in models.items():
        lists[name] = recommend(candidates, "ranker", score_candidates(ENGINE, candidates, model, IdTypes()))
    targets = ENGINE.from_arrow(table.select(["user_id", "item_id"]).filter(pa.array(acts)))
    known = popularity(candidates.select("user_id", "item_id"))
    return evaluate(lists, targets, None, known, 120, resamples=200)


def decided(mode: Mode, evaluation: pa.Table, before: RegistryState, **more: object) -> Promotion:
    return promote("2015-05-02", mode, before, NEW, more.get("ruling"), evaluation, 30)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_a_model_of_shuffled_labels_is_refused(mode: Mode, good: bytes, shuffled: bytes) -> None:
    first = decided(mode, evaluated(ranker=shuffled), RegistryState())
    assert (first.verdict, first.after, first.order_by != "ranker") == ("refused", RegistryState(), True)
    later = decided(mode, evaluated(ranker=shuffled, champion=good), RegistryState(OLD))
    assert (later.verdict, later.after, later.order_by) == ("refused", RegistryState(OLD), "ranker")
    assert later.gate.against == "champion"
    assert later.gate.high is not None
    assert later.gate.high < 0


@pytest.mark.parametrize("mode", MODES)
def test_equal_is_not_better(mode: Mode, good: bytes) -> None:
    found = decided(mode, evaluated(ranker=good, champion=good), RegistryState(OLD))
    assert (found.gate.gain, found.gate.low, found.gate.high) == (0, 0, 0)
    assert (found.verdict, found.after) == ("refused", RegistryState(OLD))


def test_a_model_that_passes_is_promoted_or_waits(good: bytes, shuffled: bytes) -> None:
    for evaluation, before in (
        (evaluated(ranker=good), RegistryState()),
        (evaluated(ranker=good, champion=shuffled), RegistryState(OLD)),
    ):
        found = decided("autonomous", evaluation, before)
        assert (found.verdict, found.after, found.order_by) == ("promoted", RegistryState(NEW), "ranker")
        waits = decided("manual", evaluation, before)
        assert (waits.verdict, waits.after) == ("waiting", RegistryState(before.champion, NEW))
        assert waits.order_by != "ranker", "nobody is served by a model that waits, nor by a champion that lost"
        assert decided("manual", evaluation, before, approval="approved").after == RegistryState(NEW)
        assert decided("manual", evaluation, before, approval="rejected").after == before
        assert Promotion.from_json(waits.to_json()) == waits


def figures(gain: float, low: float, *, over: tuple[float, float] | None = None, users: int = 100) -> pa.Table:
    """An evaluation with given gains of the ranker over the fused generators and over the champion."""
    rows = [("fused", "ndcg", 0.1, None), ("popular", "ndcg", 0.05, None), ("ranker", "ndcg", 0.1 + gain, None)]
    rows += [("popular", "ndcg_gain", -0.05, -0.06), ("ranker", "ndcg_gain", gain, low)]
    rows += [("ranker", "ndcg_gain_over_champion", *over)] if over else []
    names = ("model", "metric", "value", "low")
    records = [{**dict(zip(names, row, strict=True)), "k": 10, "high": 1.0, "users": users} for row in rows]
    return pa.Table.from_pylist(records, schema=arrow_schema(RANKER_EVALUATION, IdTypes()))


@pytest.mark.parametrize(
    ("evaluation", "passes", "against"),
    [
        (figures(0.02, 0.001), True, "fused"),
        (figures(0.02, 0.0), False, "fused"),
        (figures(0.02, -0.001), False, "fused"),
        (figures(0.02, 0.001, users=29), False, "fused"),
        (figures(0.02, 0.001, over=(0.01, 0.001)), True, "champion"),
        (figures(0.02, 0.001, over=(0.01, 0.0)), False, "champion"),
        (figures(0.02, -0.001, over=(0.01, 0.001)), False, "champion"),
        (figures(0.02, 0.001, over=(0.01, 0.001), users=29), False, "champion"),
    ],
)
def test_where_the_gate_turns(evaluation: pa.Table, passes: bool, against: str) -> None:
    found = gate(evaluation, 30)
    assert (found.passed, found.against) == (passes, against)


def test_what_waits_is_replaced_by_what_passes_and_outlives_what_does_not() -> None:
    waiting = RegistryState(OLD, Model("2015-05-01", "c" * 64))
    assert decided("manual", figures(0.02, -0.01), waiting).after == waiting
    assert decided("manual", figures(0.02, 0.01), waiting).after == RegistryState(OLD, NEW)
    assert promote("2015-05-02", "manual", waiting, None, None, figures(0.02, 0.01), 30).after == waiting
    assert waiting.after(lambda _: "approved") == RegistryState(waiting.challenger)
    assert waiting.after(lambda _: "rejected") == RegistryState(OLD)
