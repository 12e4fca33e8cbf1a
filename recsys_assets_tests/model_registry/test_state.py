"""The registry state before a day, from the partitions of earlier days and the approval decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.core.gate.promotion import Mode, ModelRef, Promotion, RegistryState, Verdict
from recsys_assets.core.gate.rule import GateResult
from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.model_registry.state import current_registry_state, registry_state_before, rejected_before
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore, sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore

PASSED = GateResult(True, "fused", 0.1, 0.05, 0.2, 100, "it won")
MANUAL: Mode = "manual"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path / "store")


def put(store: ObjectStore, asset: str, day: str, content: bytes) -> ModelRef:
    file = Path(store.uri()).parent / "staged"
    file.write_bytes(content)
    PartitionStore(store).write(asset, day, file, Lineage(asset, day, 0, "1", file=file.name))
    return ModelRef(day, sha256_bytes(content))


def gated(store: ObjectStore, day: str, champion: bytes, after: RegistryState) -> None:
    put(store, "champion", day, champion)
    decided = Promotion(
        day, MANUAL, RegistryState(), after.challenger, PASSED, "waiting", after, "fused", "nobody is champion"
    )
    put(store, "promotion", day, decided.to_json().encode())


def approve(store: ObjectStore, model: ModelRef, counts_from: str) -> None:
    ApprovalRecords(store).record(ApprovalRecord(model.id, "approved", counts_from, "run", "now"))


def test_the_latest_earlier_day_counts_whatever_lies_between(store: ObjectStore) -> None:
    assert registry_state_before(store, "2015-05-09").registry_state == RegistryState()
    old, new = ModelRef("2015-05-01", sha256_bytes(b"old")), ModelRef("2015-05-05", sha256_bytes(b"new"))
    gated(store, "2015-05-01", b"old", RegistryState(old))
    gated(store, "2015-05-05", b"new", RegistryState(new))
    for day, model, data in (("2015-05-05", old, b"old"), ("2015-05-06", new, b"new"), ("2015-06-30", new, b"new")):
        state = registry_state_before(store, day)
        assert (state.registry_state, state.champion) == (RegistryState(model), data)
        assert {(read.asset, read.day) for read in state.inputs} == {("champion", model.day), ("promotion", model.day)}
    assert registry_state_before(store, "2015-05-01").champion == b""
    assert current_registry_state(store) == ("2015-05-05", RegistryState(new))


def test_a_day_that_was_cut_off_is_passed_over(store: ObjectStore) -> None:
    old = ModelRef("2015-05-01", sha256_bytes(b"old"))
    gated(store, "2015-05-01", b"old", RegistryState(old))
    gated(store, "2015-05-05", b"half", RegistryState(ModelRef("2015-05-05", sha256_bytes(b"whole"))))
    state = registry_state_before(store, "2015-05-09")
    assert (state.since, state.champion) == ("2015-05-01", b"old")


def test_an_approval_counts_from_its_day_on_and_for_the_bytes_that_were_judged(store: ObjectStore) -> None:
    old, waiting = put(store, "ranker", "2015-05-01", b"old"), put(store, "ranker", "2015-05-05", b"new")
    gated(store, "2015-05-05", b"old", RegistryState(old, waiting))
    approve(store, waiting, "2015-05-08")
    assert registry_state_before(store, "2015-05-07").registry_state == RegistryState(old, waiting)
    state = registry_state_before(store, "2015-05-08")
    assert (state.registry_state, state.champion) == (RegistryState(waiting), b"new")
    assert ("ranker", "2015-05-05") in {(read.asset, read.day) for read in state.inputs}
    put(store, "ranker", "2015-05-05", b"made again")
    state = registry_state_before(store, "2015-05-08")
    assert (state.registry_state, state.champion) == (RegistryState(old), b"old")


def challenged(store: ObjectStore, day: str, before: RegistryState, verdict: Verdict, content: bytes) -> ModelRef:
    """The best experiment of a day before the gate."""
    model = ModelRef(day, sha256_bytes(content), "experiment_challenger")
    passed = verdict in ("promoted", "waiting")
    put(store, "experiment_challenger", day, content if passed else b"")
    after = {"promoted": RegistryState(model), "waiting": RegistryState(before.champion, model)}.get(verdict, before)
    decided = Promotion(day, MANUAL, before, model, PASSED, verdict, after, "fused", "it is an experiment")
    put(store, "experiment_promotion", day, decided.to_json().encode())
    return model


def test_an_experiment_that_passed_stands_from_the_next_day_on(store: ObjectStore) -> None:
    old = ModelRef("2015-05-01", sha256_bytes(b"old"))
    gated(store, "2015-05-01", b"old", RegistryState(old))
    new = challenged(store, "2015-05-01", RegistryState(old), "promoted", b"forest")
    assert registry_state_before(store, "2015-05-01").champion == b""
    state = registry_state_before(store, "2015-05-02")
    assert (state.registry_state, state.champion) == (RegistryState(new), b"forest")
    assert ("experiment_challenger", "2015-05-01") in {(read.asset, read.day) for read in state.inputs}
    # The gate of that day is made again and leaves another champion: the experiment did not beat that one.
    gated(store, "2015-05-01", b"else", RegistryState(ModelRef("2015-05-01", sha256_bytes(b"else"))))
    assert registry_state_before(store, "2015-05-02").champion == b"else"


def test_an_experiment_that_waits_is_kept_through_later_gates_until_it_is_approved(store: ObjectStore) -> None:
    gated(store, "2015-05-01", b"", RegistryState())
    waiting = challenged(store, "2015-05-01", RegistryState(), "waiting", b"forest")
    assert registry_state_before(store, "2015-05-02").registry_state == RegistryState(None, waiting)
    gated(store, "2015-05-02", b"", RegistryState(None, waiting))
    challenged(store, "2015-05-02", RegistryState(None, waiting), "refused", b"worse")
    assert current_registry_state(store) == ("2015-05-02", RegistryState(None, waiting))
    approve(store, waiting, "2015-05-02")
    state = registry_state_before(store, "2015-05-03")
    assert (state.registry_state, state.champion) == (RegistryState(waiting), b"forest")


def test_the_bytes_of_a_rejected_experiment_are_rejected_whichever_day_they_come_back(store: ObjectStore) -> None:
    model = ModelRef("2015-05-01", sha256_bytes(b"forest"), "experiment_challenger")
    ApprovalRecords(store).record(ApprovalRecord(model.id, "rejected", "2015-05-03", "run", "now"))
    assert rejected_before(store, model.sha256, "2015-05-09")
    assert not rejected_before(store, model.sha256, "2015-05-02")
    assert not rejected_before(store, sha256_bytes(b"another"), "2015-05-09")
