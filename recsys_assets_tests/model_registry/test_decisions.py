"""An approval decision is written once, by one of several people at the same moment, and read back unchanged."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.storage.objects import ObjectStore

MODEL = "2015-05-01-0123456789ab"
APPROVED = ApprovalRecord(MODEL, "approved", "2015-05-02", "a-run", "2015-05-03T00:00:00+00:00")


def test_a_decision_stays(store: ObjectStore) -> None:
    approvals = ApprovalRecords(store)
    assert approvals.find(MODEL) is None
    approvals.record(APPROVED)
    with pytest.raises(ValueError, match=f"model {MODEL} was approved before"):
        approvals.record(replace(APPROVED, approval="rejected"))
    assert ApprovalRecords(store).find(MODEL) == APPROVED


def test_the_stored_file_has_the_keys_of_every_version_of_this_layout(store: ObjectStore) -> None:
    ApprovalRecords(store).record(APPROVED)
    assert json.loads(store.get(f"approvals/{MODEL}.json")) == {
        "model_id": MODEL,
        "approval": "approved",
        "counts_from": "2015-05-02",
        "run_id": "a-run",
        "at": "2015-05-03T00:00:00+00:00",
    }


def test_one_of_two_decisions_at_once_wins(store: ObjectStore) -> None:
    def decide(approval: ApprovalRecord) -> bool:
        try:
            ApprovalRecords(store).record(approval)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(decide, [APPROVED, replace(APPROVED, approval="rejected")]))
    assert sorted(done) == [False, True]
    stored = ApprovalRecords(store).find(MODEL)
    assert stored is not None
    assert stored.approval == ("approved" if done[0] else "rejected")


def test_a_file_that_is_no_decision_is_named(store: ObjectStore) -> None:
    store.put(f"approvals/{MODEL}.json", b'{"approval": "approved"}')
    with pytest.raises(ValueError, match=rf"approvals/{MODEL}\.json: not an approval decision"):
        ApprovalRecords(store).find(MODEL)
    with pytest.raises(ValueError, match="expected YYYY-MM-DD"):
        ApprovalRecords(store).record(replace(APPROVED, counts_from="soon"))
