"""The best experiment before the gate: as which contender, on which window, and what is decided about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.gate.promotion import ApprovalDecision, Mode, ModelRef, RegistryState
from recsys_assets.core.gate.rule import CONFIDENCE
from recsys_assets.core.ranking.formats import GeneratorOrder
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.model_registry.experiment_gate import (
    EvaluationWindow,
    ExperimentDecision,
    GateRules,
    approval_of,
    challenger,
    gate_best,
)
from recsys_assets.model_registry.experiment_models import ExperimentModel
from recsys_assets.model_registry.state import EXPERIMENT_CHALLENGER, StoredState
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore, sha256_bytes
from recsys_assets_tests.core.gate.evaluations import Interval, evaluation_of
from recsys_assets_tests.core.ranking import synthetic

DAY = "2015-05-10"
BEST = ExperimentModel("ranks", Lineage("experiment_model.ranks", "2015-05-09", 9, "1", sha256="a" * 64))
CONTENDER = ModelRef(DAY, "a" * 64, EXPERIMENT_CHALLENGER)
OLD = ModelRef("2015-05-01", "b" * 64)
WON: Interval = (0.05, 0.01, 0.09)
TIED: Interval = (0.05, 0.0, 0.1)


def before(champion: ModelRef | None = None, waiting: ModelRef | None = None) -> StoredState:
    return StoredState(RegistryState(champion, waiting), b"champion" if champion else b"", DAY, ())


def gated(
    state: StoredState,
    evaluation: pa.Table,
    *,
    best: ExperimentModel | None = BEST,
    left: RegistryState | None = None,
    mode: Mode = "autonomous",
    approval: ApprovalDecision | None = None,
    candidates: int = 1,
) -> tuple[ExperimentDecision, list[tuple[Mapping[str, bytes], float]]]:
    """What was decided, and what was asked to be evaluated.

    Args:
        state: the registry state that the experiment meets.
        evaluation: its figures.
        best: the best experiment.
        left: what the gate of the day left; ``state`` by default.
        mode: of the gate.
        approval: what people decided.
        candidates: how many experiments there are.
    """
    asked: list[tuple[Mapping[str, bytes], float]] = []

    def evaluate(models: Mapping[str, bytes], level: float) -> pa.Table:
        asked.append((models, level))
        return evaluation

    data = b"model" if best else b""
    rules = GateRules(mode, min_users=30)
    left = left or state.registry_state
    result = gate_best(DAY, rules, best, data, candidates, left, state, evaluate, lambda model: approval)
    return result, asked


def test_a_new_model_is_a_contender_of_the_day() -> None:
    assert challenger(BEST, before(), DAY) == CONTENDER
    assert challenger(BEST, before(OLD), DAY) == CONTENDER
    assert challenger(None, before(), DAY) is None


def test_the_champion_is_no_contender_and_a_waiting_model_keeps_its_day() -> None:
    earlier = ModelRef("2015-05-08", "a" * 64, EXPERIMENT_CHALLENGER)
    assert challenger(BEST, before(champion=earlier), DAY) is None
    assert challenger(BEST, before(waiting=earlier), DAY) == earlier


@pytest.mark.parametrize(("best", "champion"), [(None, OLD), (BEST, ModelRef("2015-05-02", "a" * 64)), (None, None)])
def test_without_a_contender_nothing_is_evaluated_and_the_state_stays(
    best: ExperimentModel | None, champion: ModelRef | None
) -> None:
    result, asked = gated(before(champion), evaluation_of(ranker=WON), best=best)
    assert asked == []
    assert (result.promotion.verdict, result.model, result.passed) == ("no model", None, False)
    assert result.promotion.after == RegistryState(champion)
    assert result.best == (best.name if best else None)


@pytest.mark.parametrize(
    ("gain", "over_champion", "mode", "approval", "verdict"),
    [
        (WON, WON, "autonomous", None, "promoted"),
        (WON, WON, "manual", None, "waiting"),
        (WON, WON, "manual", "approved", "promoted"),
        (WON, WON, "autonomous", "rejected", "archived"),
        (WON, TIED, "autonomous", None, "refused"),
        (TIED, WON, "autonomous", None, "refused"),
        (TIED, WON, "manual", "approved", "refused"),
    ],
)
def test_the_rule_the_mode_and_the_people_decide_in_that_order(
    gain: Interval, over_champion: Interval, mode: Mode, approval: ApprovalDecision | None, verdict: str
) -> None:
    evaluation = evaluation_of(ranker=gain, champion=WON, over_champion=over_champion)
    result, asked = gated(before(OLD), evaluation, mode=mode, approval=approval)
    assert [models for models, _ in asked] == [{"ranker": b"model", "champion": b"champion"}]
    assert result.promotion.verdict == verdict
    assert result.passed == (verdict in ("promoted", "waiting"))
    expected = {"promoted": RegistryState(CONTENDER), "waiting": RegistryState(OLD, CONTENDER)}
    assert result.promotion.after == expected.get(verdict, RegistryState(OLD))


def test_the_first_champion_has_to_beat_the_generators_only() -> None:
    won, asked = gated(before(), evaluation_of(ranker=WON))
    assert asked[0][0] == {"ranker": b"model", "champion": b""}
    assert won.promotion.after == RegistryState(CONTENDER)
    assert gated(before(), evaluation_of(ranker=TIED))[0].promotion.verdict == "refused"


def test_too_few_users_let_no_experiment_pass() -> None:
    assert gated(before(), evaluation_of(29, ranker=WON))[0].promotion.verdict == "refused"
    assert gated(before(), evaluation_of(30, ranker=WON))[0].promotion.verdict == "promoted"


@pytest.mark.parametrize(("candidates", "level"), [(1, CONFIDENCE), (5, 0.99), (50, 0.999)])
def test_the_more_experiments_it_was_picked_from_the_wider_its_interval(candidates: int, level: float) -> None:
    """Bonferroni: an error of 5 % is shared by all that competed."""
    result, asked = gated(before(), evaluation_of(ranker=WON), candidates=candidates)
    assert asked[0][1] == pytest.approx(level, abs=1e-12)
    assert result.level == asked[0][1]


def test_a_champion_that_cannot_be_used_is_not_evaluated_and_stays_where_the_experiment_fails() -> None:
    usable = before(OLD).without_champion()
    result, asked = gated(usable, evaluation_of(ranker=TIED), left=RegistryState(OLD))
    assert asked[0][0] == {"ranker": b"model", "champion": b""}
    assert result.promotion.after == RegistryState(OLD)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path / "store")


def record(store: ObjectStore, model: ModelRef, approval: ApprovalDecision, counts_from: str) -> None:
    ApprovalRecords(store).record(ApprovalRecord(model.id, approval, counts_from, "run", "now"))


def test_without_a_decision_there_is_none(store: ObjectStore) -> None:
    record(store, ModelRef(DAY, sha256_bytes(b"another"), EXPERIMENT_CHALLENGER), "rejected", "2015-05-01")
    assert approval_of(store, CONTENDER, DAY) is None


def test_a_decision_counts_from_its_day_on(store: ObjectStore) -> None:
    record(store, CONTENDER, "approved", "2015-05-12")
    days = ["2015-05-11", "2015-05-12", "2015-06-30"]
    assert [approval_of(store, CONTENDER, day) for day in days] == [None, "approved", "approved"]


def test_an_approval_is_of_one_model_and_a_rejection_of_its_bytes_for_good(store: ObjectStore) -> None:
    """Equal bytes of another day need an approval of their own, and none helps against a rejection."""
    again = ModelRef("2015-05-20", CONTENDER.sha256, EXPERIMENT_CHALLENGER)
    record(store, CONTENDER, "approved", DAY)
    assert approval_of(store, again, "2015-05-20") is None
    other = ModelRef("2015-05-15", CONTENDER.sha256, EXPERIMENT_CHALLENGER)
    record(store, other, "rejected", "2015-05-16")
    for model, day in product((CONTENDER, again, other), ("2015-05-16", "2015-05-20")):
        assert approval_of(store, model, day) == "rejected"
    assert approval_of(store, CONTENDER, "2015-05-15") == "approved"


CUT = date(2015, 5, 3)


def window_of(examples: pa.Table, activity: pl.DataFrame) -> EvaluationWindow:
    engine = PolarsEngine()
    scored = engine.from_arrow(examples)
    return EvaluationWindow(scored, scored, engine.from_arrow(activity.to_arrow()), CUT)


def activity_of(rows: list[tuple[int, int, int, date]]) -> pl.DataFrame:
    schema = {"user_id": pl.Int64, "item_id": pl.Int64, "targets": pl.Int64, "dt": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_rows_to_score_are_those_of_users_with_a_target_after_the_cut() -> None:
    examples = synthetic.examples(4, 6)
    after = date(2015, 5, 4)
    activity = [
        (2, 1, 1, after),
        (2, 99, 3, after),  # no candidate of the user, and a target all the same
        (2, 99, 1, date(2015, 5, 5)),  # the same item once more
        (0, 1, 1, CUT),  # what was before the cut is no target
        (1, 1, 0, after),  # a view is none either
    ]
    rows = window_of(examples, activity_of(activity)).rows()
    assert set(rows["user_id"].to_pylist()) == {2}
    assert rows["targets"].to_pylist() == [2] * 6
    assert rows["item_id"].to_pylist() == sorted(rows["item_id"].to_pylist())
    assert window_of(examples, activity_of([])).rows().num_rows == 0


def test_models_are_evaluated_beside_the_generators_that_they_have_to_beat() -> None:
    """A model that orders by the fused rank has the figures of the fused generators."""
    examples = synthetic.examples(60, 12)
    labelled = examples.filter(pa.array(examples["label"].to_numpy() > 0))
    targets = [
        (row["user_id"], row["item_id"], 1, date(2015, 5, 4))
        for row in labelled.select(["user_id", "item_id"]).to_pylist()
    ]
    window = window_of(examples, activity_of(targets))
    fused = GeneratorOrder("fused").to_bytes()
    evaluation = pl.DataFrame(
        window.evaluate(PolarsEngine(), {"ranker": fused, "champion": b""}, IdTypes(), 0, CONFIDENCE)
    )
    ndcg = evaluation.filter(pl.col("metric") == "ndcg", pl.col("k") == 10)
    by_model = dict(ndcg.select("model", "value").iter_rows())
    assert by_model["ranker"] == pytest.approx(by_model["fused"])
    assert "champion" not in by_model
    assert {"covisit", "popular"} <= by_model.keys()
    assert set(evaluation["users"].to_list()) == {len(np.unique([user for user, *_ in targets]))}
