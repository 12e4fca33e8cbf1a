"""An approval decision is written once, by one of several people at the same moment, and read back unchanged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from recsys_assets.model_registry.decisions import ApprovalRecord, ApprovalRecords
from recsys_assets.storage.objects import ObjectStore

MODEL = "2015-05-01-0123456789ab"
RULING = ApprovalRecord(MODEL, "approved", "2015-05-02", "a-run", "2015-05-03T00:00:00+00:00")


def test_what_was_decided_stays(store: ObjectStore) -> None:
    approvals = ApprovalRecords(store)
    assert approvals.find(MODEL) is None
    approvals.record(RULING)
    with pytest.raises(ValueError, match=f"model {MODEL} was approved before"):
        approvals.record(replace(RULING, approval="rejected"))
    assert ApprovalRecords(store).find(MODEL) == RULING


def test_one_of_two_at_once_decides(store: ObjectStore) -> None:
    def decide(approval: ApprovalRecord) -> bool:
        try:
            ApprovalRecords(store).record(approval)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(decide, [RULING, replace(RULING, approval="rejected")]))
    assert sorted(done) == [False, True]
    found = ApprovalRecords(store).find(MODEL)
    assert found is not None
    assert found.approval == ("approved" if done[0] else "rejected")


def test_what_is_no_ruling_is_named(store: ObjectStore) -> None:
    store.put(f"approvals/{MODEL}.json", b'{"approval": "maybe"}')
    with pytest.raises(ValueError, match=rf"approvals/{MODEL}\.json: not an approval decision"):
        ApprovalRecords(store).find(MODEL)
    with pytest.raises(ValueError, match="expected YYYY-MM-DD"):
        ApprovalRecords(store).record(replace(RULING, counts_from="soon"))
