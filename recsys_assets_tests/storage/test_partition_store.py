from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.objects import NotFound, ObjectStore, sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, TornPartition

DAY = "2015-08-01"
LINEAGE = Lineage(
    asset="candidates",
    day=DAY,
    rows=2,
    code_version="1",
    params={"k": 100, "generators": ["popular", "als"]},
    seed=7,
    inputs=(Input("user_activity", "2015-08-01", "bb"), Input("user_activity", "2015-07-31", "aa")),
    run_id="first",
)


@pytest.fixture
def partitions(store: ObjectStore) -> PartitionStore:
    return PartitionStore(store)


def data_file(folder: Path, data: bytes) -> Path:
    path = folder / "data"
    path.write_bytes(data)
    return path


def test_a_partition_comes_back_with_its_lineage(partitions: PartitionStore, tmp_path: Path) -> None:
    assert partitions.read_lineage("candidates", DAY) is None
    written = partitions.write("candidates", DAY, data_file(tmp_path, b"rows"), LINEAGE)
    assert (written.sha256, written.bytes, written.changed) == (sha256_bytes(b"rows"), 4, True)
    assert [meta.key for meta in partitions.store.list()] == [
        f"assets/candidates/dt={DAY}/_lineage.json",
        f"assets/candidates/dt={DAY}/data.parquet",
    ]
    stored = partitions.read_lineage("candidates", DAY)
    assert stored == replace(LINEAGE, sha256=written.sha256, bytes=4, inputs=tuple(sorted(LINEAGE.inputs)))
    assert partitions.fetch("candidates", DAY, tmp_path / "local").read_bytes() == b"rows"


def test_writing_the_same_again_writes_nothing(partitions: PartitionStore, tmp_path: Path) -> None:
    def write(data: bytes, lineage: Lineage) -> bool:
        return partitions.write("candidates", DAY, data_file(tmp_path, data), lineage).changed

    assert write(b"rows", LINEAGE)
    before = partitions.store.list()
    assert not write(b"rows", LINEAGE)
    assert not write(b"rows", replace(LINEAGE, run_id="second", inputs=LINEAGE.inputs[::-1]))
    assert partitions.store.list() == before
    stored = partitions.read_lineage("candidates", DAY)
    assert stored is not None
    assert stored.run_id == "first"

    for changed in (replace(LINEAGE, seed=8), replace(LINEAGE, params={}), replace(LINEAGE, inputs=())):
        assert write(b"rows", changed)
    assert write(b"ROWS", replace(LINEAGE, inputs=()))
    assert partitions.fetch("candidates", DAY, tmp_path / "local").read_bytes() == b"ROWS"


def test_a_torn_write_is_found_and_repaired(partitions: PartitionStore, tmp_path: Path) -> None:
    partitions.write("candidates", DAY, data_file(tmp_path, b"rows"), LINEAGE)
    # As a crash leaves it: other data of equal size has been written, its lineage not.
    partitions.store.put(f"assets/candidates/dt={DAY}/data.parquet", b"ROWS")
    with pytest.raises(TornPartition, match=rf"dt={DAY}/data\.parquet.*materialize candidates for {DAY} again"):
        partitions.fetch("candidates", DAY, tmp_path / "local")
    assert partitions.write("candidates", DAY, data_file(tmp_path, b"rows"), LINEAGE).changed
    assert partitions.fetch("candidates", DAY, tmp_path / "local").read_bytes() == b"rows"

    partitions.store.delete(f"assets/candidates/dt={DAY}/data.parquet")
    with pytest.raises(TornPartition, match="found no data"):
        partitions.fetch("candidates", DAY, tmp_path / "local")
    with pytest.raises(NotFound, match=r"dt=2015-08-02/_lineage\.json"):
        partitions.fetch("candidates", "2015-08-02", tmp_path / "local")


def test_only_whole_partitions_are_listed(partitions: PartitionStore, tmp_path: Path) -> None:
    days = ["2015-08-03", "2015-08-01", "2015-08-02"]
    for day in days:
        partitions.write("candidates", day, data_file(tmp_path, b"rows"), replace(LINEAGE, day=day))
    partitions.write(
        "candidates_of_others", DAY, data_file(tmp_path, b""), replace(LINEAGE, asset="candidates_of_others")
    )
    partitions.store.put("assets/candidates/dt=2015-08-04/data.parquet", b"its lineage was never written")
    model = replace(LINEAGE, asset="ranker", file="model.cbm")
    partitions.write("ranker", DAY, data_file(tmp_path, b"model"), model)

    assert partitions.days("candidates") == sorted(days)
    wanted = ["2015-08-04", "2015-08-02", "2015-08-01", "2015-08-09"]
    assert partitions.uris("candidates", wanted) == [
        (day, partitions.store.uri(f"assets/candidates/dt={day}/data.parquet")) for day in ("2015-08-01", "2015-08-02")
    ]
    assert partitions.days("ranker") == [DAY]
    assert partitions.uris("ranker", [DAY]) == [(DAY, partitions.store.uri(f"assets/ranker/dt={DAY}/model.cbm"))]
    assert partitions.days("nothing") == []


def test_where_a_file_of_an_older_name_is_left_the_record_decides(partitions: PartitionStore, tmp_path: Path) -> None:
    for name, data in (("a.json", b"old"), ("b.json", b"new"), ("b.json", b"newer")):
        partitions.write("promotion", DAY, data_file(tmp_path, data), replace(LINEAGE, asset="promotion", file=name))
    assert partitions.uris("promotion", [DAY]) == [(DAY, partitions.store.uri(f"assets/promotion/dt={DAY}/b.json"))]
    assert partitions.fetch("promotion", DAY, tmp_path / "local").read_bytes() == b"newer"


def test_wrong_calls_and_wrong_records_are_refused(partitions: PartitionStore, tmp_path: Path) -> None:
    path = data_file(tmp_path, b"rows")
    with pytest.raises(ValueError, match=r"lineage is of candidates, 2015-08-01.*expected candidates, 2015-08-02"):
        partitions.write("candidates", "2015-08-02", path, LINEAGE)
    with pytest.raises(ValueError, match="sha256 abc"):
        partitions.write("candidates", DAY, path, replace(LINEAGE, sha256="abc"))
    for asset, day in (("../x", DAY), ("a/b", DAY), ("a", "2015-8-1"), ("a", "20150801"), ("a", "2015-02-30")):
        with pytest.raises(ValueError, match="expected"):
            partitions.read_lineage(asset, day)
    assert partitions.store.list() == []

    key = f"assets/candidates/dt={DAY}/_lineage.json"
    for record, message in ((b"{", "not a lineage record"), (b"{}", "not a lineage record"), (b"[]", "not a lineage")):
        partitions.store.put(key, record)
        with pytest.raises(ValueError, match=message) as caught:
            partitions.read_lineage("candidates", DAY)
        assert partitions.store.uri(key) in str(caught.value)
    partitions.store.put(key, json.dumps({"format_version": 2}).encode())
    with pytest.raises(ValueError, match="format_version: expected 1, found 2"):
        partitions.read_lineage("candidates", DAY)
