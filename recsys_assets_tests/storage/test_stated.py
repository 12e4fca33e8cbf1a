"""Records say what was stated when a partition was made, and what was stated otherwise is told by value."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import Json, ObjectStore, canonical_json
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.stated import Change, OtherSettingsError, Stated, Statements

DAYS = ["2025-01-01", "2025-01-02", "2025-01-03"]
OWN: dict[str, dict[str, Json]] = {
    "clean_events": {"gap": 30, "code_version of clean_events": "1"},
    "item_activity": {"weight": 5.0, "code_version of item_activity": "1"},
    "popular": {"k": 200, "code_version of popular": "1"},
}
UPSTREAM = {"item_activity": ["clean_events", "files_of_others"], "popular": ["item_activity"]}


def stated(own: dict[str, dict[str, Json]] = OWN, *defaults: str, **values: Json) -> Stated:
    """The three assets with some values instead of their own."""
    changed = {asset: {name: values.get(name, value) for name, value in of.items()} for asset, of in own.items()}
    return Stated(changed, UPSTREAM, defaults)


def partitions(store: ObjectStore, now: Stated) -> PartitionStore:
    return PartitionStore(store, Statements(store, now))


def write(into: PartitionStore, asset: str, day: str, folder: Path) -> Lineage:
    path = folder / f"{asset}-{day}.parquet"
    path.write_text(f"{asset} of {day}")
    return into.write(asset, day, path, Lineage(asset, day, 1, "1")).lineage


def test_only_what_depends_on_a_changed_value_follows_it(store: ObjectStore, tmp_path: Path) -> None:
    before = partitions(store, stated())
    records = {asset: write(before, asset, DAYS[0], tmp_path) for asset in OWN}
    assert [before.changes(record) for record in records.values()] == [(), (), ()]
    after = partitions(store, stated(weight=10.0))
    change = Change("weight", "5.0", "10.0")
    assert {asset: after.changes(record) for asset, record in records.items()} == {
        "clean_events": (),
        "item_activity": (change,),
        "popular": (change,),
    }
    after.refuse_other_settings([records["clean_events"]])
    assert before.changes(records["popular"]) == ()


def test_a_reader_is_refused_days_of_other_settings_by_name(store: ObjectStore, tmp_path: Path) -> None:
    old = partitions(store, stated())
    records = [write(old, "item_activity", day, tmp_path) for day in DAYS[:2]]
    now = partitions(store, stated(weight=10.0, gap=20))
    records.append(write(now, "item_activity", DAYS[2], tmp_path))
    with pytest.raises(OtherSettingsError) as refused:
        now.refuse_other_settings(records)
    for part in ("item_activity of 2025-01-01, 2025-01-02:", "gap: 30 -> 20", "weight: 5.0 -> 10.0", "`make rebuild`"):
        assert part in str(refused.value)
    assert DAYS[2] not in str(refused.value)


def test_equal_bytes_of_other_settings_are_recorded_anew(store: ObjectStore, tmp_path: Path) -> None:
    old, now = partitions(store, stated()), partitions(store, stated(weight=10.0))
    write(old, "item_activity", DAYS[0], tmp_path)
    write(now, "item_activity", DAYS[0], tmp_path)
    record = now.read_lineage("item_activity", DAYS[0])
    assert record is not None
    assert now.changes(record) == ()


def test_an_upgrade_that_adds_a_setting_changes_nothing_unless_it_is_stated(store: ObjectStore, tmp_path: Path) -> None:
    record = write(partitions(store, stated()), "popular", DAYS[0], tmp_path)
    newer: dict[str, dict[str, Json]] = {**OWN, "item_activity": {**OWN["item_activity"], "shrink": 0}}
    assert partitions(store, stated(newer, "shrink")).changes(record) == ()
    assert partitions(store, stated(newer)).changes(record) == (Change("shrink", "not stated", "0"),)


def test_a_new_version_of_the_code_and_a_value_that_is_gone_are_changes(store: ObjectStore, tmp_path: Path) -> None:
    record = write(partitions(store, stated()), "popular", DAYS[0], tmp_path)
    newer = {**OWN, "clean_events": {**OWN["clean_events"], "code_version of clean_events": "2"}}
    bumped = partitions(store, stated(newer))
    assert bumped.changes(record) == (Change("code_version of clean_events", "1", "2"),)
    without: dict[str, dict[str, Json]] = {**OWN, "item_activity": {"code_version of item_activity": "1"}}
    assert partitions(store, stated(without)).changes(record) == (Change("weight", "5.0", "not stated"),)


def test_a_record_of_an_earlier_version_is_told_and_not_taken_as_current(store: ObjectStore, tmp_path: Path) -> None:
    record = write(PartitionStore(store), "popular", DAYS[0], tmp_path)
    assert record.fingerprint == ""
    with pytest.raises(OtherSettingsError, match="not recorded, by an earlier version of the platform"):
        partitions(store, stated()).refuse_other_settings([record])


def test_experiments_share_what_is_stated_and_a_circle_ends(store: ObjectStore, tmp_path: Path) -> None:
    round_trip = Stated({"model": {"k": 1}, "search": {"n": 2}}, {"model": ["search"], "search": ["model"]})
    record = write(partitions(store, round_trip), "model.mine", DAYS[0], tmp_path)
    assert record.fingerprint == round_trip.fingerprint("search") == round_trip.fingerprint("model")


def test_what_is_stated_is_kept_once(store: ObjectStore, tmp_path: Path) -> None:
    for _ in range(2):
        write(partitions(store, stated()), "popular", DAYS[0], tmp_path)
    (kept,) = store.list("stated")
    assert store.get(kept.key) == canonical_json(Stated.parse(stated().document()).document())
