"""Who becomes champion: real models on a planted rule, modes and approval decisions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.evaluation.compare import evaluate, lists_from_candidates
from recsys_assets.core.evaluation.evaluator import popularity
from recsys_assets.core.gate.promotion import Mode, ModelRef, Promotion, RegistryState, promote
from recsys_assets.core.gate.rule import CONFIDENCE, decide, pick_baseline
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.gate.evaluations import evaluation_of
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()
MODES: tuple[Mode, ...] = ("autonomous", "manual")
OLD, NEW = ModelRef("2015-05-01", "a" * 64), ModelRef("2015-05-02", "b" * 64)
QUICK = RankerParams(iterations=60, depth=4, early_stopping=15)


@pytest.fixture(scope="module")
def good() -> bytes:
    return train(synthetic.examples(200, 30), QUICK).model


@pytest.fixture(scope="module")
def shuffled() -> bytes:
    """A model trained on shuffled labels."""
    table = synthetic.examples(200, 30)
    labels = np.random.default_rng(0).permutation(table["label"].to_numpy())
    return train(table.set_column(table.column_names.index("label"), "label", pa.array(labels)), QUICK).model


def evaluated(**models: bytes) -> pa.Table:
    """The evaluation of models on users that they have not seen."""
    table, acts = synthetic.candidates(300, 30, seed=7)
    candidates = ENGINE.from_arrow(table)
    lists = lists_from_candidates(candidates)
    for name, model in models.items():
        lists[name] = recommend(candidates, "ranker", score_candidates(ENGINE, candidates, model, IdTypes()))
    targets = ENGINE.from_arrow(table.select(["user_id", "item_id"]).filter(pa.array(acts)))
    known = popularity(candidates.select("user_id", "item_id"))
    return evaluate(lists, targets, None, known, 120, resamples=200, level=CONFIDENCE, pick_baseline=pick_baseline)


def decided(mode: Mode, evaluation: pa.Table, before: RegistryState, **more: object) -> Promotion:
    return promote("2015-05-02", mode, before, NEW, more.get("approval"), decide(evaluation, 30))  # type: ignore[arg-type]


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
    promotion = decided(mode, evaluated(ranker=good, champion=good), RegistryState(OLD))
    assert (promotion.gate.gain, promotion.gate.low, promotion.gate.high) == (0, 0, 0)
    assert (promotion.verdict, promotion.after) == ("refused", RegistryState(OLD))


def test_a_model_that_passes_is_promoted_or_waits(good: bytes, shuffled: bytes) -> None:
    for evaluation, before in (
        (evaluated(ranker=good), RegistryState()),
        (evaluated(ranker=good, champion=shuffled), RegistryState(OLD)),
    ):
        promotion = decided("autonomous", evaluation, before)
        assert (promotion.verdict, promotion.after, promotion.order_by) == ("promoted", RegistryState(NEW), "ranker")
        waits = decided("manual", evaluation, before)
        assert (waits.verdict, waits.after) == ("waiting", RegistryState(before.champion, NEW))
        assert waits.order_by != "ranker", "neither a model that waits nor a champion that lost orders the lists"
        assert decided("manual", evaluation, before, approval="approved").after == RegistryState(NEW)
        assert decided("manual", evaluation, before, approval="rejected").after == before
        assert Promotion.from_json(waits.to_json()) == waits


WON, LOST = evaluation_of(ranker=(0.02, 0.01, 0.03)), evaluation_of(ranker=(0.02, -0.01, 0.05))


def test_a_waiting_challenger_is_replaced_by_one_that_passes_and_stays_otherwise() -> None:
    waiting = RegistryState(OLD, ModelRef("2015-05-01", "c" * 64))
    assert decided("manual", LOST, waiting).after == waiting
    assert decided("manual", WON, waiting).after == RegistryState(OLD, NEW)
    assert promote("2015-05-02", "manual", waiting, None, None, decide(WON, 30)).after == waiting
    assert waiting.after(lambda _: "approved") == RegistryState(waiting.challenger)
    assert waiting.after(lambda _: "rejected") == RegistryState(OLD)


def test_the_winner_is_named_as_the_evaluation_names_it() -> None:
    assert decided("autonomous", WON, RegistryState()).winner == "ranker"
    assert decided("manual", WON, RegistryState()).winner == "fused"
    beaten = evaluation_of(ranker=(0.02, -0.01, 0.05), champion=(0.02, 0.01, 0.03), over_champion=(0.0, -0.01, 0.01))
    assert decided("autonomous", beaten, RegistryState(OLD)).winner == "champion"


def test_a_stored_promotion_reads_back() -> None:
    stored = decided("manual", WON, RegistryState(OLD)).to_json()
    assert Promotion.from_json(stored).to_json() == stored
    with pytest.raises(ValueError, match="not the JSON of a promotion"):
        Promotion.from_json('{"as_of": "2015-05-02"}')
