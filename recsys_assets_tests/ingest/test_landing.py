"""Which files of the landing zone count, and what a run sees of them while others write there."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from recsys_assets.core.dataset import load_dataset
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import Listing, Wanted, list_landing
from recsys_assets.storage.local import LocalStore

DATASET = load_dataset("retailrocket")
DAY = "2015-05-03"
HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
ROW = "1430654400000,{user},view,1,\n"  # noon UTC


class Restless(LocalStore):
    """A landing zone with a file that its writer goes on writing while it is read."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self.path = root / name

    def open(self, key: str) -> BinaryIO:
        stream = super().open(key)
        if key == self.path.name:
            with self.path.open("a") as file:
                file.write("\n")
        return stream


class Place:
    """A landing zone and a store in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "landing"
        self.landing, self.store = LocalStore(self.folder), LocalStore(folder / "store")

    def put(self, name: str, *users: int) -> None:
        self.landing.put(name, (HEADER + "".join(ROW.format(user=user) for user in users)).encode())

    def run(self, **options: Any) -> LandingZone:
        """The landing zone as a run of its own sees it."""
        return zone(self.store, self.landing, **options)


def zone(store: LocalStore, landing: LocalStore, **options: Any) -> LandingZone:
    return LandingZone(
        DATASET,
        store,
        lambda: landing,
        options.pop("list_files", partial(list_landing, landing)),
        PolarsEngine().scan,
        **options,
    )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def users(run: LandingZone) -> list[int]:
    return sorted(run.events(DAY).collect().get_column("user_id").to_list())


@pytest.mark.parametrize(("name", "vouches"), [("events.csv", "index.json"), ("category_tree.csv", "edges.parquet")])
def test_a_file_that_changes_while_it_is_read_counts_for_nothing(place: Place, name: str, vouches: str) -> None:
    place.put("events.csv", 1)
    place.put("events_whole.csv", 2)
    place.landing.put("category_tree.csv", b"categoryid,parentid\n1,0\n")
    changes = place.run().changes()
    accepted = zone(place.store, Restless(place.folder, name)).accept(changes)
    assert (name in accepted.files, "events_whole.csv" in accepted.files) == (False, True), "it alone waits"
    assert accepted.quarantined == {}, "a file that is being written is not at fault"
    file = changes[name]
    assert file is not None
    assert not place.store.exists(f"staging/{file.kind}/{file.digest}/{vouches}"), "it will be read anew"

    run = place.run()
    run.accept(run.changes())
    assert (run.changes(), users(run), run.categories().num_rows) == ({}, [1, 2], 1)


def test_the_files_of_a_run_stay_the_same_while_the_zone_changes(place: Place) -> None:
    place.put("events.csv", 1)
    first = place.run()
    first.accept(first.changes())
    by_hand, by_sensor = place.run(), place.run(only_accepted=True)
    assert users(by_hand) == users(by_sensor) == [1]

    place.put("events.csv", 1, 2)
    place.put("events_late.csv", 3)
    assert users(place.run()) == [1, 2, 3], "a run by hand takes what is there when it begins"
    assert users(place.run(only_accepted=True)) == [1], "one of a sensor what was accepted"
    accepting = place.run()
    assert list(accepting.changes()) == ["events.csv", "events_late.csv"]
    accepting.accept(accepting.changes())
    place.landing.delete("events_late.csv")

    assert place.run().changes() == {"events_late.csv": None}
    assert users(by_hand) == users(by_sensor) == [1], "nobody sees half of a change"
    assert users(place.run(only_accepted=True)) == [1, 2, 3]
    assert users(place.run()) == [1, 2]


def test_a_run_that_reads_accepted_files_never_asks_the_landing_zone(place: Place) -> None:
    place.put("events.csv", 1)
    place.run().accept(place.run().changes())

    def never(*_: Any) -> Any:
        raise AssertionError("asked")

    run = LandingZone(DATASET, place.store, never, never, PolarsEngine().scan, only_accepted=True)
    assert users(run) == [1]
    assert (run.erased(DAY), run.differences(DAY), len(run.digests("events", DAY))) == (0, {}, 1)


def test_a_file_that_is_listed_twice_counts_once(place: Place) -> None:
    place.put("events.csv", 1, 2)

    def twice(wanted: Wanted, under: str) -> Listing:
        return Listing(list_landing(place.landing, wanted, under).files * 2, {})

    run = place.run(list_files=twice)
    notes: list[str] = []
    assert list(run.changes()) == ["events.csv"]
    run.accept(run.changes(), notes.append)
    assert (users(run), run.changes(), notes) == ([1, 2], {}, ["reading events.csv (0.0 MB)"])
