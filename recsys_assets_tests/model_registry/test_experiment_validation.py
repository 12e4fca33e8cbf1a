"""Models of experiments in the store: which may be tested on a day, and that a broken one stops no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.core.experiments.metrics import STANDARD
from recsys_assets.core.ranking.formats import GeneratorOrder
from recsys_assets.model_registry.experiment_models import MODEL_FILE, models_to_test, stored_as
from recsys_assets.model_registry.experiment_validation import score_models, unvalidated
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.partition_store import PartitionStore, partition_key
from recsys_assets_tests.core.ranking import synthetic

HORIZON = 7


@pytest.fixture
def partitions(tmp_path: Path) -> PartitionStore:
    return PartitionStore(LocalStore(tmp_path / "store"))


def put(partitions: PartitionStore, name: str, as_of: str, window: str, by: str = "fused") -> None:
    path = Path(partitions.store.uri()).parent / "staged"
    path.write_bytes(GeneratorOrder(by).to_bytes())
    read = (Input("ranking_examples", window, "0" * 64),)
    params = {"metrics": ["recall_at_20"], "threshold": -3.0, "config_sha256": "c", "target": "ndcg_at_10"}
    lineage = Lineage(stored_as(name), as_of, 9, "1", params=params, inputs=read, file=MODEL_FILE)
    partitions.write(lineage.asset, as_of, path, lineage)


def test_a_model_is_tested_on_days_whose_window_begins_after_its_training_windows(partitions: PartitionStore) -> None:
    put(partitions, "a", "2015-05-10", "2015-05-03")
    put(partitions, "a", "2015-05-20", "2015-05-13")
    put(partitions, "b", "2015-05-12", "2015-05-09")  # the horizon was three days then

    def tested(day: str) -> dict[str, str]:
        return {model.name: model.lineage.day for model in models_to_test(partitions, ["b", "a", "none"], day, HORIZON)}

    assert tested("2015-05-09") == {}
    assert tested("2015-05-10") == {"a": "2015-05-10"}
    assert tested("2015-05-15") == {"a": "2015-05-10"}
    assert tested("2015-05-16") == {"a": "2015-05-10", "b": "2015-05-12"}
    assert tested("2015-05-20") == {"a": "2015-05-20", "b": "2015-05-12"}


def test_a_model_that_cannot_be_used_is_reported_and_stops_no_other(partitions: PartitionStore) -> None:
    for name, by in (("good", "covisit"), ("unknown", "palmistry"), ("torn", "fused")):
        put(partitions, name, "2015-05-10", "2015-05-03", by)
    partitions.store.put(partition_key(stored_as("torn"), "2015-05-10", MODEL_FILE), b"half")
    models = models_to_test(partitions, ["good", "unknown", "torn"], "2015-05-10", HORIZON)
    rows = synthetic.examples(20, 12)
    table, faults = score_models(partitions, models, {}, lambda: rows, seed=0)
    assert set(table["experiment"].to_pylist()) == {"good"}
    assert set(table["metric"].to_pylist()) == {"recall_at_20", *STANDARD, "ndcg_at_10_gain"}
    assert faults["good"] == ""
    assert "palmistry_rank" in faults["unknown"]
    assert "materialize experiment_model again" in faults["torn"]


def test_models_that_no_validation_of_the_day_read_are_due(partitions: PartitionStore) -> None:
    for name in ("a", "b"):
        put(partitions, name, "2015-05-10", "2015-05-03")
    a, b = models_to_test(partitions, ["a", "b"], "2015-05-10", HORIZON)
    assert unvalidated(partitions, [a, b], "2015-05-10") == ["a", "b"]
    path = Path(partitions.store.uri()).parent / "staged"
    lineage = Lineage("experiment_validation", "2015-05-10", 0, "1", inputs=(a.input,))
    partitions.write(lineage.asset, lineage.day, path, lineage)
    assert unvalidated(partitions, [a, b], "2015-05-10") == ["b"]
    assert unvalidated(partitions, [a, b], "2015-05-11") == ["a", "b"]
    put(partitions, "a", "2015-05-10", "2015-05-03", "popular")
    (again,) = models_to_test(partitions, ["a"], "2015-05-10", HORIZON)
    assert unvalidated(partitions, [again], "2015-05-10") == ["a"], "an edited one is another model"
