"""On which days parameters are searched, and whose result the other days reuse."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from recsys_assets.model_registry.search_results import period_start, reused_result
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore, sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, partition_key

ASSET, FILE = "ranker_params", "params.json"
FIRST = date(2015, 5, 4)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "landing").mkdir()
    stated = {"landing_uri": str(tmp_path / "landing"), "storage_uri": str(tmp_path / "store")}
    return load_settings(**stated, start_date=FIRST, tuning_every_days=7)[0]


def put(store: ObjectStore, day: date, content: bytes) -> Input:
    path = Path(store.uri()).parent / FILE
    path.write_bytes(content)
    PartitionStore(store).write(ASSET, day.isoformat(), path, Lineage(ASSET, day.isoformat(), 0, "1", file=FILE))
    return Input(ASSET, day.isoformat(), sha256_bytes(content))


def params(depth: int, *, searched: bool = True) -> bytes:
    return json.dumps({"depth": depth, "searched": searched}).encode()


def reused(store: ObjectStore, day: date, settings: Settings) -> tuple[dict[str, Any], Input] | None:
    return reused_result(PartitionStore(store), ASSET, day, settings, json.loads, lambda found: found["searched"])


def after(days: int) -> date:
    return FIRST + timedelta(days=days)


def test_periods_are_counted_from_the_first_day(settings: Settings) -> None:
    starts = [(period_start(after(days), settings) - FIRST).days for days in range(16)]
    assert starts == [0] * 7 + [7] * 7 + [14] * 2
    assert period_start(after(-3), settings) == after(-3), "before the first day, each day is on its own"


def test_a_day_reuses_what_the_latest_day_before_it_found_in_its_period(store: ObjectStore, settings: Settings) -> None:
    read = {days: put(store, after(days), params(days)) for days in (6, 8, 10)}
    assert reused(store, after(7), settings) is None, "day 6 is of the period before"
    assert reused(store, after(8), settings) is None, "a day computed again does not reuse itself"
    assert reused(store, after(9), settings) == ({"depth": 8, "searched": True}, read[8])
    assert reused(store, after(10), settings) == ({"depth": 8, "searched": True}, read[8]), "nor a later one"
    assert reused(store, after(13), settings) == ({"depth": 10, "searched": True}, read[10])
    assert reused(store, after(14), settings) is None


def test_defaults_are_not_reused(store: ObjectStore, settings: Settings) -> None:
    read = put(store, after(0), params(1))
    put(store, after(1), params(2, searched=False))
    assert reused(store, after(2), settings) == ({"depth": 1, "searched": True}, read)
    assert reused(store, after(1), settings) == ({"depth": 1, "searched": True}, read)


def test_what_cannot_be_read_is_passed_over(store: ObjectStore, settings: Settings) -> None:
    """A partition of another version, and one whose bytes are not those of its record."""
    read = put(store, after(0), params(1))
    put(store, after(1), b"depth: 2")
    put(store, after(2), params(3))
    store.put(partition_key(ASSET, after(2).isoformat(), FILE), b"half")
    assert reused(store, after(3), settings) == ({"depth": 1, "searched": True}, read)
