"""What storage holds, on the console: on files and on S3, and without ever deleting what is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.cli import store as cli
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.releases import Releases
from recsys_assets_tests.cli.test_releases import publish
from recsys_assets_tests.stores import moto_bucket, new_store, store

__all__ = ["moto_bucket", "new_store", "store"]


def written(store: ObjectStore, folder: Path) -> None:
    partitions = PartitionStore(store)
    for day in ("2015-08-01", "2015-08-02"):
        frame = pl.DataFrame({"item_id": range(100, 130), "title": ["a title"] * 30})
        frame.write_parquet(folder / "data.parquet")
        partitions.write("item_features", day, folder / "data.parquet", Lineage("item_features", day, 30, "1"))
    (folder / "state.npz").write_bytes(b"numbers")
    lineage = replace(Lineage("cf_ensemble", "2015-08-02", 0, "1"), file="state.npz")
    partitions.write("cf_ensemble", "2015-08-02", folder / "state.npz", lineage)


def test_assets_and_releases_are_listed_with_days_and_sizes(store: ObjectStore, tmp_path: Path) -> None:
    assert "there is no asset yet" in cli.listed(store)
    written(store, tmp_path)
    releases = Releases(store)
    first, second = (publish(releases, day, tmp_path) for day in ("2015-08-01", "2015-08-02"))
    releases.pin()
    told = cli.listed(store).splitlines()
    assert told[0] == store.uri()
    assert "item_features      2 days  2015-08-01 … 2015-08-02" in told
    assert "cf_ensemble        1 day   2015-08-02 … 2015-08-02" in told
    assert told[-2:] == [f"{second}  served  pinned: new releases wait for unpin", f"{first}  served before"]

    sizes = {line.split()[-1]: line for line in cli.used(store).splitlines()[1:]}
    assert {"assets/item_features", "assets/cf_ensemble", f"releases/{first}", "releases", "all"} <= sizes.keys()
    whole = sum(meta.size for meta in store.list())
    assert f"{whole:,} B" in sizes["all"]
    assert f"{len(store.list())} files" in sizes["all"]


def test_the_first_rows_of_a_day_are_shown(store: ObjectStore, tmp_path: Path) -> None:
    written(store, tmp_path)
    told = cli.shown(store, "item_features", None, 3)
    assert told.startswith("item_features 2015-08-02: 30 rows, ")
    assert [line for line in told.splitlines() if "a title" in line] == [
        f"│ {n}     ┆ a title │" for n in (100, 101, 102)
    ]
    for asset, day, why in (
        ("item_feature", None, r"there is no asset 'item_feature'; there are: cf_ensemble, item_features"),
        ("item_features", "2015-08-03", r"has no day 2015-08-03; it has 2, from 2015-08-01 to 2015-08-02"),
        ("cf_ensemble", None, r"kept as state\.npz, which is no table"),
    ):
        with pytest.raises(ValueError, match=why):
            cli.shown(store, asset, day, 3)


def test_only_old_releases_are_dropped_and_all_or_none(store: ObjectStore, tmp_path: Path) -> None:
    releases = Releases(store)
    old, older, previous, current = (
        publish(releases, day, tmp_path) for day in ("2015-08-01", "2015-08-02", "2015-08-03", "2015-08-04")
    )
    path = tmp_path / "waiting"
    path.write_text("waiting")
    waits = releases.publish("2015-08-05", {"lists": path}, {}, serve=False).release_id
    for name, why in (
        (current, "it is served"),
        (previous, "it was served before"),
        (waits, "it may wait for an approval"),
        ("2015-01-01-000000000000", "there is no such release"),
    ):
        with pytest.raises(ValueError, match=rf"nothing is deleted\. {name}: .*{why}"):
            cli.dropped(store, [old, name], sure=True)
    releases.pin()
    with pytest.raises(ValueError, match="it is served and pinned"):
        cli.dropped(store, [current], sure=True)
    assert "would be deleted: --yes does it" in cli.dropped(store, [old], sure=False)
    assert releases.list() == [old, older, previous, current, waits]

    assert cli.dropped(store, [old, older], sure=True).count("deleted") == 2
    assert releases.list() == [previous, current, waits]
    assert not store.list(f"releases/{old}")
    assert releases.rollback().release_id == previous, "what a rollback goes to is whole"


def test_the_command_says_what_cannot_be_done_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECSYS_STORAGE_URI", str(tmp_path / "store"))
    assert cli.main(["ls"]) == cli.main(["du"]) == 0
    assert "there is no release yet" in capsys.readouterr().out
    assert cli.main(["drop", "2015-01-01-000000000000", "--yes"]) == cli.main(["show", "events"]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in told] == ["failed", "failed"]
