"""A look at the landing zone, on local folders and S3: one bad file, stray days, vanished and cut files."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recsys_assets.core.dataset import load_dataset
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.ingest.accepted import Accepted, read_accepted
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.listing import list_landing
from recsys_assets.ingest.quarantine import waiting
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.stores import NewStore, prefixes

pytestmark = pytest.mark.faults

DATASET = load_dataset("retailrocket")
HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
FIRST_NOON = 1430654400  # 2015-05-03
DAYS = [f"2015-05-{day:02}" for day in range(3, 13)]
STRAY = "2015-08-01"
BETWEEN = 90  # days from the first to the stray one


class Place:
    """A landing zone with a file of 40 events for each of ten days, all accepted."""

    def __init__(self, new_store: NewStore) -> None:
        self.landing, self.store = new_store(), new_store()
        for at, day in enumerate(DAYS):
            self.put(f"events_{day}.csv", at)
        self.notes: list[str] = []
        self.links: tuple[str, ...] = ()
        assert self.look().event_days() == DAYS

    def put(self, name: str, at: int, rows: int = 40) -> None:
        """A file with so many events of the day that is ``at`` days after the first."""
        lines = [f"{(FIRST_NOON + at * 86400 + n) * 1000},{n},view,1,\n" for n in range(rows)]
        self.landing.put(name, (HEADER + "".join(lines)).encode())

    def zone(self, **options: Any) -> LandingZone:
        landing = partial(list_landing, self.landing, links=self.links)
        options = {"most_deleted": 0.2, **options}
        return LandingZone(
            DATASET, self.store, lambda: self.landing, landing, PolarsEngine(self.store.storage_options).scan, **options
        )

    def look(self) -> Accepted:
        """Take in what is new."""
        self.notes = []
        zone = self.zone()
        accepted = zone.accept(zone.changes(), self.notes.append)
        assert self.zone().changes() == {}, "nothing is looked at twice"
        return accepted

    def rows(self, day: str) -> int:
        return len(self.zone(only_accepted=True).events(day).collect())


@pytest.fixture
def place(new_store: NewStore) -> Place:
    return Place(new_store)


def test_files_at_fault_are_set_aside_and_the_others_count(place: Place) -> None:
    place.put("events_more.csv", 0, rows=3)
    place.landing.put("events_bad.csv", HEADER.encode() + b"soon,1,view,1,\n")
    place.landing.put("events_2015-05-04.csv", b"when,secret\n1,secret value\n")
    place.landing.put("category_tree.csv", b"category,parent\n1,0\n")
    place.landing.put("events_1.csv.zip", b"PK")
    accepted = place.look()
    assert sorted(accepted.quarantined) == [
        "category_tree.csv",
        "events_1.csv.zip",
        "events_2015-05-04.csv",
        "events_bad.csv",
    ]
    assert accepted.quarantined["events_2015-05-04.csv"].days == ("2015-05-04",)
    assert accepted.event_days() == DAYS
    told = " ".join([*place.notes, *(file.reason for file in accepted.quarantined.values())])
    assert "secret value" not in told
    assert "events_2015-05-04.csv (column 'visitorid' (user_id) is missing" in told
    assert "the rows of its last good version stay" in told

    place.put("events_bad.csv", 10)
    place.put("events_2015-05-04.csv", 1, rows=41)
    place.landing.delete("category_tree.csv")
    place.landing.delete("events_1.csv.zip")
    accepted = place.look()
    assert (accepted.quarantined, waiting(accepted)) == ({}, {})
    assert accepted.event_days() == [*DAYS, "2015-05-13"]


def test_a_stray_day_is_held_with_its_file_and_row_until_more_follows_or_a_person_takes_it(place: Place) -> None:
    place.put("events_late.csv", BETWEEN, rows=1)
    accepted = place.look()
    assert accepted.event_days() == DAYS
    assert accepted.held == {STRAY: "events_late.csv row 0, 81 days after 2015-05-12, where a day has about 40"}
    assert f"day {STRAY} (is held: events_late.csv row 0" in place.notes[-1]

    place.put("events_next.csv", 10)
    accepted = place.look()
    assert accepted.event_days() == [*DAYS, "2015-05-13"], "an ordinary day goes on"
    assert list(accepted.held) == [STRAY]

    before = accepted.generation
    place.put("events_more.csv", BETWEEN + 1, rows=10)
    accepted = place.look()
    assert accepted.held == {}
    assert accepted.event_days()[-2:] == [STRAY, "2015-08-02"]
    assert accepted.changed[STRAY] > before, "what was held is built now"


def test_a_person_takes_a_stray_day_once_and_for_all(place: Place) -> None:
    place.put("events_late.csv", BETWEEN, rows=1)
    place.look()
    with pytest.raises(ValueError, match=rf"not held: 2015-05-03; held are: {STRAY}"):
        place.zone().decide(days=["2015-05-03"])
    accepted = place.zone().decide(days=[STRAY])
    assert (accepted.held, accepted.event_days()[-1]) == ({}, STRAY)
    place.put("events_next.csv", 10)
    assert place.look().held == {}
    place.put("events_later.csv", BETWEEN + 40, rows=1)
    assert list(place.look().held) == ["2015-09-10"], "another one is another question"


def test_files_that_vanish_with_much_of_the_history_wait_for_a_person_and_everything_else_goes_on(place: Place) -> None:
    for day in DAYS[:7]:
        place.landing.delete(f"events_{day}.csv")
    place.put("events_next.csv", 10)
    accepted = place.look()
    assert accepted.deletions == tuple(f"events_{day}.csv" for day in DAYS[:7])
    assert accepted.event_days() == [*DAYS, "2015-05-13"]
    assert "deletions (7 files vanished with too many rows, which stay: events_2015-05-03.csv" in place.notes[-1]
    assert place.rows(DAYS[0]) == 40
    assert len(place.zone().events(DAYS[0]).collect()) == 40, "for a run by hand, too"

    place.landing.delete(f"events_{DAYS[7]}.csv")
    assert len(place.look().deletions) == 8, "little by little is the same"
    for at, day in enumerate(DAYS[:7]):
        place.put(f"events_{day}.csv", at)
    accepted = place.look()
    assert accepted.deletions == (), "seven are back, and one of eleven may go"
    assert accepted.event_days() == [day for day in [*DAYS, "2015-05-13"] if day != DAYS[7]]


def test_a_person_lets_vanished_files_go(place: Place) -> None:
    for day in DAYS[:7]:
        place.landing.delete(f"events_{day}.csv")
    generation = place.look().generation
    accepted = place.zone().decide(deletions=True)
    assert (accepted.event_days(), accepted.deletions) == (DAYS[7:], ())
    assert {accepted.changed[day] for day in DAYS[:7]} == {generation + 1}
    assert place.look() == accepted


def test_files_that_are_moved_or_merged_take_nothing_away(place: Place) -> None:
    for at, day in enumerate(DAYS[:4]):
        place.landing.delete(f"events_{day}.csv")
        place.put(f"archive/events_{day}.csv", at)
    merged = [place.landing.get(f"events_{day}.csv").decode().removeprefix(HEADER) for day in DAYS[4:8]]
    for day in DAYS[4:8]:
        place.landing.delete(f"events_{day}.csv")
    place.landing.put("events_merged.csv", (HEADER + "".join(merged)).encode())
    accepted = place.look()
    assert (accepted.deletions, accepted.event_days()) == ((), DAYS)
    assert [place.rows(day) for day in DAYS] == [40] * len(DAYS)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_file_that_is_cut_waits_for_a_person_and_everything_else_goes_on(place: Place, rows: int) -> None:
    name, whole = f"events_{DAYS[1]}.csv", place.landing.get(f"events_{DAYS[1]}.csv")
    place.put(name, 1, rows=rows)
    place.put("events_next.csv", 10)
    accepted = place.look()
    assert waiting(accepted) == {name: f"has {rows} rows and had 40, which stay"}
    assert f"{name} (has {rows} rows and had 40, which stay)" in place.notes[-1]
    assert (place.rows(DAYS[1]), accepted.event_days()) == (40, [*DAYS, "2015-05-13"])
    assert len(place.zone().events(DAYS[1]).collect()) == 40, "for a run by hand, too"

    place.landing.put(name, whole + b"1430740800000,77,view,1,\n")
    accepted = place.look()
    assert (waiting(accepted), place.rows(DAYS[1])) == ({}, 41)
    place.put(name, 1, rows=2)
    place.look()
    accepted = place.zone().decide(deletions=True)
    assert (waiting(accepted), place.rows(DAYS[1])) == ({}, 2)
    assert place.look() == accepted


def test_a_cut_file_that_goes_takes_its_earlier_rows_along(place: Place) -> None:
    place.put("events_2015-05-04.csv", 1, rows=3)
    place.look()
    place.landing.delete("events_2015-05-04.csv")
    accepted = place.look()
    assert (waiting(accepted), accepted.event_days()) == ({}, [DAYS[0], *DAYS[2:]])


def test_files_that_are_appended_to_corrected_split_or_read_otherwise_have_not_shrunk(place: Place) -> None:
    place.put("events_2015-05-03.csv", 0, rows=60)
    place.put("events_2015-05-04.csv", 1, rows=36)
    lines = place.landing.get("events_2015-05-05.csv").decode().splitlines(keepends=True)
    for name, part in (("events_2015-05-05.csv", lines[1:11]), ("events_2015-05-05b.csv", lines[11:])):
        place.landing.put(name, (HEADER + "".join(part)).encode())
    place.put("events_2015-05-06.csv", 20, rows=40)  # of another day
    accepted = place.look()
    assert waiting(accepted) == {}
    assert "events_2015-05-04.csv: has 36 rows and had 40" in place.notes
    assert [place.rows(day) for day in DAYS[:3]] == [60, 36, 40]


@pytest.mark.parametrize("most", [0.5, 1.0])
def test_a_category_tree_that_is_cut_waits_too(place: Place, most: float) -> None:
    def tree(edges: int) -> None:
        rows = "".join(f"{n},0\n" for n in range(1, edges + 1))
        place.landing.put("category_tree.csv", f"categoryid,parentid\n{rows}".encode())
        zone = place.zone(most_deleted=most)
        zone.accept(zone.changes())

    tree(10)
    tree(4)
    assert place.zone(only_accepted=True).categories().num_rows == (4 if most == 1 else 10)
    tree(5)
    assert place.zone(only_accepted=True).categories().num_rows == 5


def test_the_whole_zone_may_be_away(place: Place) -> None:
    for meta in place.landing.list():
        place.landing.delete(meta.key)
    assert place.look().event_days() == DAYS
    assert read_accepted(place.store).deletions == tuple(f"events_{day}.csv" for day in DAYS)


def test_what_lies_in_a_folder_that_cannot_be_looked_into_has_not_vanished(tmp_path: Path) -> None:
    place = Place(lambda: LocalStore(tmp_path / f"store {next(prefixes)}"))
    root = Path(place.landing.uri())
    place.put("more/events_next.csv", 10)
    before = place.look()
    (root / "more").rename(tmp_path / "elsewhere")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    assert place.look() == before
    assert place.notes == [
        "1 skipped in the landing zone: more/ "
        "(links to folders outside are not followed unless RECSYS_LANDING_LINKS names the folder)"
    ]


def test_what_allowed_links_lead_to_counts_once_and_stays_while_its_disk_is_away(tmp_path: Path) -> None:
    place = Place(lambda: LocalStore(tmp_path / f"store {next(prefixes)}"))
    root, disk, day = Path(place.landing.uri()), tmp_path / "disk", "2015-05-13"
    place.put("events_next.csv", 10)
    (disk / "2015").mkdir(parents=True)
    (root / "events_next.csv").rename(disk / "2015" / "events_next.csv")
    for link in ("b", "c"):
        (root / link).symlink_to(disk / "2015")
    (root / "events_linked.csv").symlink_to(disk / "2015" / "events_next.csv")
    place.links = (str(disk),)
    accepted = place.look()
    assert (place.rows(day), accepted.quarantined) == (40, {})
    assert "c/ (links to folders are not followed twice; its files are read as b/)" in place.notes[-1]

    (root / "events_linked.csv").unlink()
    accepted = place.look()
    disk.rename(tmp_path / "away")
    assert place.look() == accepted, "nothing has vanished"
    assert "b/ (links to a folder that does not exist now" in place.notes[-1]

    (tmp_path / "away").rename(disk)
    (root / "a").symlink_to(disk / "2015")
    file = disk / "2015" / "events_next.csv"
    file.write_text(file.read_text().replace("view", "addtocart"))
    assert "a/events_next.csv" in place.look().files
    assert place.rows(day) == 40, "the file has moved, and its old rows with it"


def test_a_fifo_under_a_name_of_the_data_set_keeps_nobody_waiting(tmp_path: Path) -> None:
    place = Place(lambda: LocalStore(tmp_path / f"store {next(prefixes)}"))
    os.mkfifo(Path(place.landing.uri(), "events_next.csv"))
    assert waiting(place.look()) == {"events_next.csv": "it is a FIFO, not a regular file"}
    Path(place.landing.uri(), "events_next.csv").unlink()
    assert waiting(place.look()) == {}


def test_a_run_by_hand_records_a_file_at_fault_and_goes_on(place: Place) -> None:
    place.landing.put("events_bad.csv", b"when\n1\n")
    assert len(place.zone().events(DAYS[0]).collect()) == 40
    assert list(waiting(read_accepted(place.store))) == ["events_bad.csv"]
    assert place.zone().changes() == {}
