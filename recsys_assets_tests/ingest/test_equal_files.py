"""Landing files that are touched, uploaded again or copied, and are equal: a hash each, and no day is built anew."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.ingest.accepted import Accepted
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import list_landing
from recsys_assets.storage.layout import ACCEPTED
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.s3_servers import S3Server, boto3_client
from recsys_assets_tests.stores import NewStore

DATASET = load_dataset("retailrocket")
DAYS = ("2015-05-03", "2015-05-04")
HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
NOON = {"2015-05-03": 1430654400000, "2015-05-04": 1430740800000}
TREE = b"categoryid,parentid\n1,0\n"


def events(*users: int, days: tuple[str, ...] = DAYS) -> bytes:
    rows = [f"{NOON[day]},{user},view,1,\n" for day in days for user in users]
    return (HEADER + "".join(rows)).encode()


class Place:
    """A landing zone with two days of events and a category tree, all accepted."""

    def __init__(self, landing: ObjectStore, store: ObjectStore) -> None:
        self.landing, self.store = landing, store
        landing.put("events.csv", events(1, 2))
        landing.put("category_tree.csv", TREE)
        self.first = self.accept()

    def zone(self, dataset: Dataset = DATASET, **options: Any) -> LandingZone:
        return LandingZone(
            dataset,
            self.store,
            lambda: self.landing,
            partial(list_landing, self.landing),
            PolarsEngine().scan,
            **options,
        )

    def accept(self, notes: list[str] | None = None, dataset: Dataset = DATASET) -> Accepted:
        zone = self.zone(dataset)
        return zone.accept(zone.changes(), [].append if notes is None else notes.append)

    def staged(self) -> set[str]:
        return {meta.key for meta in self.store.list("staging") if meta.key != ACCEPTED}

    def users(self, day: str = DAYS[0], **options: Any) -> list[int]:
        rows = self.zone(**options).events(day).collect()
        return sorted(rows.get_column("user_id").to_list())


@pytest.fixture
def place(new_store: NewStore, tmp_path: Path) -> Place:
    return Place(new_store(), LocalStore(tmp_path / "staged"))


@pytest.fixture
def local(tmp_path: Path) -> Place:
    return Place(LocalStore(tmp_path / "landing"), LocalStore(tmp_path / "store"))


def changed_since(place: Place, after: Accepted) -> set[str]:
    return {day for day, generation in after.changed.items() if generation > place.first.generation}


def test_files_that_come_again_with_the_same_bytes_change_no_day(place: Place) -> None:
    staged, notes = place.staged(), list[str]()
    place.landing.put("events.csv", events(1, 2))
    place.landing.put("category_tree.csv", TREE)
    after = place.accept(notes)
    assert (after.generation, after.changed) == (place.first.generation, place.first.changed)
    assert (place.staged(), place.zone().changes()) == (staged, {})
    assert not [note for note in notes if note.startswith("reading")]
    assert [after.digests("events", day) for day in DAYS] == [place.first.digests("events", day) for day in DAYS]
    assert after.undated("categories") == place.first.undated("categories")
    assert place.users() == place.users(only_accepted=True) == [1, 2]


def test_a_touched_file_costs_a_hash_and_a_changed_one_its_days(local: Place) -> None:
    path = Path(str(local.landing.local_path("events.csv")))
    for seconds in (1, 2):
        os.utime(path, (seconds, seconds))
        assert list(local.zone().changes()) == ["events.csv"]
        assert changed_since(local, local.accept()) == set()
        assert local.zone().changes() == {}
    local.landing.put("events.csv", events(1, 3))  # of equal size
    assert changed_since(local, local.accept()) == set(DAYS)
    assert local.users(only_accepted=True) == [1, 3]


def test_an_upload_in_parts_has_another_etag_and_changes_no_day(moto: S3Server, tmp_path: Path) -> None:
    landing = open_store(f"s3://{moto.bucket}/drop", moto.options)
    place = Place(landing, LocalStore(tmp_path / "store"))
    client, etag = boto3_client(moto.options), landing.head("events.csv").etag
    where: dict[str, Any] = {"Bucket": moto.bucket, "Key": "drop/events.csv"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=events(1, 2))["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    assert landing.head("events.csv").etag != etag
    assert list(place.zone().changes()) == ["events.csv"]
    assert changed_since(place, place.accept()) == set()
    assert place.zone().changes() == {}


def test_a_copy_under_another_name_adds_no_rows_and_changes_no_day(place: Place) -> None:
    staged = place.staged()
    place.landing.put("events_copy.csv", events(1, 2))
    assert place.users() == [1, 2], "a run by hand sees it too"
    after = place.accept()
    assert (changed_since(place, after), place.staged()) == (set(), staged)
    assert after.files["events_copy.csv"].copy_of == "events.csv"
    assert place.zone().changes() == {}
    place.landing.delete("events_copy.csv")
    assert changed_since(place, place.accept()) == set()
    assert place.users(only_accepted=True) == [1, 2]


@pytest.mark.parametrize("content", [None, events(3, days=DAYS[1:])], ids=["deleted", "changed"])
def test_rows_stay_when_the_original_of_a_copy_goes(place: Place, content: bytes | None) -> None:
    for name in ("events_copy.csv", "events_third.csv"):
        place.landing.put(name, events(1, 2))
    place.accept()
    place.landing.delete("events.csv") if content is None else place.landing.put("events.csv", content)
    assert place.users() == [1, 2]
    after = place.accept()
    assert changed_since(place, after) == set(DAYS), "its rows have another source now"
    assert {name: file.copy_of for name, file in after.files.items() if name.startswith("events_")} == {
        "events_copy.csv": "",
        "events_third.csv": "events_copy.csv",
    }
    assert place.users(only_accepted=True) == [1, 2]
    assert place.users(DAYS[1], only_accepted=True) == ([1, 2] if content is None else [1, 2, 3])
    assert place.zone().changes() == {}


def test_a_copy_that_changes_becomes_a_file_of_its_own(place: Place) -> None:
    place.landing.put("events_copy.csv", events(1, 2))
    place.accept()
    place.landing.put("events_copy.csv", events(7, days=DAYS[:1]))
    assert changed_since(place, place.accept()) == {DAYS[0]}
    assert place.users(only_accepted=True) == [1, 2, 7]


def test_a_touched_original_keeps_its_copies(local: Place) -> None:
    local.landing.put("events_copy.csv", events(1, 2))
    local.accept()
    local.landing.put("events.csv", events(1, 2))
    local.landing.put("events_copy.csv", events(1, 2))
    after = local.accept()
    assert (changed_since(local, after), after.files["events_copy.csv"].copy_of) == (set(), "events.csv")


def test_two_equal_files_that_land_together_are_staged_once(place: Place) -> None:
    for name in ("events_b.csv", "events_a.csv"):
        place.landing.put(name, events(5))
    after = place.accept()
    assert [after.files[f"events_{name}.csv"].copy_of for name in "ab"] == ["", "events_a.csv"]
    assert place.users(only_accepted=True) == [1, 2, 5]


def test_equal_bytes_that_are_parsed_otherwise_are_staged_anew(local: Place) -> None:
    later = DATASET.model_copy(update={"day_starts_at": "00:00"})
    local.landing.put("events.csv", events(1, 2))
    assert changed_since(local, local.accept(dataset=later)) == set(DAYS)


def test_a_file_that_was_accepted_before_contents_were_hashed_is_staged_once_more(local: Place) -> None:
    record = orjson.loads(local.store.get(ACCEPTED))
    for file in record["files"].values():
        for name in ("version", "content", "copy_of"):
            del file[name]
    local.store.put(ACCEPTED, orjson.dumps(record))
    assert local.zone().changes() == {}
    local.landing.put("events.csv", events(1, 2))
    assert changed_since(local, local.accept()) == set(DAYS)
    local.landing.put("events.csv", events(1, 2))
    assert local.accept().generation == local.first.generation + 1


def test_an_equal_file_that_changes_while_it_is_read_leaves_the_accepted_one_as_it_was(local: Place) -> None:
    local.landing.put("events.csv", events(1, 2))
    zone = local.zone()
    listed = zone.changes()
    file = listed["events.csv"]
    assert file is not None
    stale = {"events.csv": replace(file, version="of a moment ago", digest="of a moment ago")}
    notes: list[str] = []
    assert zone.accept(stale, notes.append) == local.first
    assert "events.csv: changed while it was read; it is taken in when it is whole" in notes
    assert zone.accept_equal(stale, 1_000_000) == set()
    assert local.users(only_accepted=True) == [1, 2]


def test_what_a_tick_hashes_is_bounded(local: Place) -> None:
    local.landing.put("events.csv", events(1, 2))
    local.landing.put("events_copy.csv", events(1, 2))
    local.landing.put("events_new.csv", events(9))
    zone = local.zone()
    size = len(events(1, 2))
    assert zone.accept_equal(zone.changes(), size - 1) == set()
    assert zone.accept_equal(zone.changes(), size) == {"events.csv"}
    assert zone.accept_equal(zone.changes(), size) == {"events_copy.csv"}
    assert list(zone.changes()) == ["events_new.csv"]
    assert zone.accepted().generation == local.first.generation
