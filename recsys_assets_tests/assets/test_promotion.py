"""Around the gate of a day: a champion that can still be used, the ranker of the day, the winner's final lists."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.assets.promotion import evaluate_final_lists, headline, promoted, without_unusable_champion
from recsys_assets.core.contracts import candidates_contract
from recsys_assets.core.evaluation.window import collect_window, evaluate_window
from recsys_assets.core.gate.promotion import ApprovalDecision, Mode, ModelRef, Promotion, RegistryState
from recsys_assets.core.gate.rule import CONFIDENCE, decide, pick_baseline
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.reranking import RerankingPolicy
from recsys_assets.core.ranking.formats import GeneratorOrder
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.model_registry.state import StoredState
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore, sha256_bytes
from recsys_assets_tests.core.gate.evaluations import Interval, evaluation_of
from recsys_assets_tests.core.ranking import synthetic

DAY = "2015-05-10"
WON: Interval = (0.05, 0.01, 0.09)
LOST: Interval = (-0.05, -0.09, -0.01)
OLD = ModelRef("2015-05-01", "b" * 64)
RANKER = b"the ranker of the day"
NEW = ModelRef(DAY, sha256_bytes(RANKER))
ENGINE = PolarsEngine()


def state(champion: bytes) -> StoredState:
    return StoredState(RegistryState(OLD if champion else None), champion, "2015-05-09", ())


def test_a_champion_that_needs_a_feature_that_is_gone_stands_down() -> None:
    """Candidates of a generator that a setting has turned off since."""
    covisit, warned = state(GeneratorOrder("covisit").to_bytes()), list[str]()
    assert without_unusable_champion(covisit, candidates_contract(BUILT_IN.names), warned.append) is covisit
    assert warned == []
    stood_down = without_unusable_champion(covisit, candidates_contract(("popular",)), warned.append)
    assert (stood_down.registry_state, stood_down.champion) == (RegistryState(), b"")
    assert (stood_down.since, stood_down.inputs) == (covisit.since, covisit.inputs)
    assert len(warned) == 1
    assert OLD.id in warned[0]
    assert "covisit_rank" in warned[0]


def test_without_a_champion_nothing_stands_down() -> None:
    nobody = state(b"")
    assert without_unusable_champion(nobody, candidates_contract(()), pytest.fail) is nobody


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize(
    ("mode", "approval", "verdict"),
    [
        ("autonomous", None, "promoted"),
        ("manual", None, "waiting"),
        ("manual", "approved", "promoted"),
        ("autonomous", "rejected", "archived"),
    ],
)
def test_an_approval_decision_of_the_day_counts(
    store: ObjectStore, mode: Mode, approval: ApprovalDecision | None, verdict: str
) -> None:
    if approval:
        ApprovalRecords(store).record(ApprovalRecord(NEW.id, approval, DAY, "run", "now"))
    decision = decide(evaluation_of(ranker=WON, champion=LOST, over_champion=WON), 30)
    result = promoted(store, DAY, mode, state(b"old"), RANKER, decision)
    assert (result.verdict, result.model) == (verdict, NEW)


def test_a_decision_that_counts_from_a_later_day_does_not(store: ObjectStore) -> None:
    ApprovalRecords(store).record(ApprovalRecord(NEW.id, "approved", "2015-05-11", "run", "now"))
    decision = decide(evaluation_of(ranker=WON, champion=LOST, over_champion=WON), 30)
    assert promoted(store, DAY, "manual", state(b"old"), RANKER, decision).verdict == "waiting"


def test_a_day_without_a_ranker_keeps_its_champion(store: ObjectStore) -> None:
    result = promoted(store, DAY, "autonomous", state(b"old"), b"", decide(evaluation_of(champion=WON), 30))
    assert (result.verdict, result.model, result.after) == ("no model", None, RegistryState(OLD))
    assert result.order_by == "ranker"


def test_a_headline_has_the_contenders_whose_metric_is_defined() -> None:
    evaluation = evaluation_of(ranker=WON, popular=LOST)
    assert headline(evaluation, "ndcg") == pytest.approx({"fused": 0.1, "popular": 0.05, "ranker": 0.15})
    undefined = evaluation.set_column(3, evaluation.schema.field(3), pa.nulls(evaluation.num_rows, pa.float64()))
    assert evaluation.column_names[3] == "value"
    assert headline(undefined, "ndcg") == headline(evaluation, "recall") == {}


def final_lists(order_by: str, policy: RerankingPolicy) -> tuple[pa.Table, pa.Table]:
    """Evaluation before and after the final lists; all buy the item that fusion puts first for the second time."""
    table = synthetic.examples(60, 12)
    rank = table["fused_rank"].to_numpy()
    weight = table.column_names.index("ui_top_weight")
    weights = pa.array(np.where(rank == 1, 10.0, 1.0)).cast(table.schema.field(weight).type)
    table = table.set_column(weight, table.schema.field(weight), weights)
    first = table.filter(pa.array(rank == 1))
    activity = pa.table(
        {
            "user_id": first["user_id"],
            "item_id": first["item_id"],
            "targets": [1] * len(first),
            "dt": [date(2015, 5, 4)] * len(first),
        }
    )
    candidates = ENGINE.from_arrow(table)
    window = collect_window(candidates, ENGINE.from_arrow(activity), date(2015, 5, 3))
    evaluation = evaluate_window(window, candidates, {}, level=CONFIDENCE, pick_baseline=pick_baseline)
    gate = decide(evaluation, 30).gate
    nobody = RegistryState()
    promotion = Promotion(DAY, "manual", nobody, None, gate, "no model", nobody, order_by, "it won")
    features = ENGINE.from_arrow(
        pa.table({"item_id": [0], "category_id": ["c"], "root_id": ["r"], "first_seen": [date(2015, 1, 1)]})
    )
    return evaluation, evaluate_final_lists(evaluation, window, candidates, promotion, {}, policy, features, 0)


def figures(evaluation: pa.Table, metric: str) -> dict[str, float]:
    return {model: value for model, value in headline(evaluation, metric).items() if model in ("fused", "final")}


def test_without_a_policy_the_final_lists_are_those_of_the_winner() -> None:
    before, after = final_lists("fused", RerankingPolicy())
    assert figures(before, "ndcg") == pytest.approx({"fused": 1.0}), "the item is the first of each list"
    assert figures(after, "ndcg") == pytest.approx({"fused": 1.0, "final": 1.0})
    assert headline(after, "ndcg_gain")["final"] == 0


def test_what_the_policy_costs_is_measured_against_the_winner() -> None:
    """With purchased items excluded, the final lists hold no target at all."""
    before, after = final_lists("fused", RerankingPolicy(exclude_purchased=True, purchased_from=10.0))
    assert figures(after, "ndcg") == pytest.approx({"fused": 1.0, "final": 0.0})
    assert headline(after, "ndcg_gain")["final"] == pytest.approx(-1.0)
    contenders = pa.array([model != "final" for model in after["model"].to_pylist()])
    metrics = pa.array([metric != "diversity" for metric in after["metric"].to_pylist()])
    assert after.filter(contenders).filter(metrics.filter(contenders)).equals(before), (
        "the contenders stay as they were"
    )


def test_the_lists_of_a_winning_generator_are_the_ones_that_are_measured() -> None:
    before, after = final_lists("covisit", RerankingPolicy())
    ndcg = headline(after, "ndcg")
    assert ndcg["final"] >= headline(before, "ndcg")["covisit"], "fusion continues the generator's lists"
    assert ndcg["final"] < ndcg["fused"]
