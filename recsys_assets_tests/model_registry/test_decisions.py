"""Rulings are written once, by one of several people who decide at the same moment, and read back as they were."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from recsys_assets.model_registry.decisions import Ruling, Rulings
from recsys_assets.storage.objects import ObjectStore

MODEL = "2015-05-01-0123456789ab"
RULING = Ruling(MODEL, "approved", "2015-05-02", "a-run", "2015-05-03T00:00:00+00:00")


def test_what_was_decided_stays(store: ObjectStore) -> None:
    rulings = Rulings(store)
    assert rulings.find(MODEL) is None
    rulings.record(RULING)
    with pytest.raises(ValueError, match=f"model {MODEL} was approved before"):
        rulings.record(replace(RULING, ruling="rejected"))
    assert Rulings(store).find(MODEL) == RULING


def test_one_of_two_at_once_decides(store: ObjectStore) -> None:
    def decide(ruling: Ruling) -> bool:
        try:
            Rulings(store).record(ruling)
        except ValueError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(decide, [RULING, replace(RULING, ruling="rejected")]))
    assert sorted(done) == [False, True]
    found = Rulings(store).find(MODEL)
    assert found is not None
    assert found.ruling == ("approved" if done[0] else "rejected")


def test_what_is_no_ruling_is_named(store: ObjectStore) -> None:
    store.put(f"rulings/{MODEL}.json", b'{"ruling": "maybe"}')
    with pytest.raises(ValueError, match=rf"rulings/{MODEL}\.json: not a ruling"):
        Rulings(store).find(MODEL)
    with pytest.raises(ValueError, match="expected YYYY-MM-DD"):
        Rulings(store).record(replace(RULING, counts_from="soon"))
