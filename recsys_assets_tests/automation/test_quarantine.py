"""One file at fault, beside good ones: the days go on, the release says what it lacks, and too much of it waits."""

from __future__ import annotations

from typing import Any

import dagster as dg

from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.storage.manifest import Manifest
from recsys_assets_tests.automation.conftest import Files
from recsys_assets_tests.automation.driver import Driver

NEXT = "2015-05-09"
BAD = b"when,who\n1,2\n"


class Notes(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def served(driver: Driver) -> Manifest:
    return driver.world.store.releases().manifest(driver.world.served_release())


def acknowledge(driver: Driver, **decision: Any) -> bool:
    job = driver.definitions.resolve_job_def("acknowledge")
    config = {"ops": {"decide": {"config": decision}}}
    return job.execute_in_process(instance=driver.world.instance, run_config=config, raise_on_error=False).success


def test_a_bad_file_beside_good_ones_is_named_by_the_release_and_taken_in_when_it_is_mended(
    built: Driver, files: Files
) -> None:
    good = files[f"events_{NEXT}.csv"]
    header, *rows = good.splitlines(keepends=True)
    built.put("events_bad.csv", BAD)
    built.put(f"events_{NEXT}.csv", header + b"".join(rows[:-1]))
    assert built.land() == ["stage_landing", f"history {NEXT}"]
    built.follow()
    assert served(built).as_of == NEXT
    (lacks,) = served(built).facts["quarantined"]  # type: ignore[misc]
    assert lacks["file"] == "events_bad.csv"  # type: ignore[index]
    assert "column 'visitorid' (user_id) is missing" in lacks["reason"]  # type: ignore[index]

    event_of = built.world.instance.get_latest_materialization_event
    report = event_of(dg.AssetKey("data_report"))
    assert report is not None
    assert report.asset_materialization is not None
    records: Any = report.asset_materialization.metadata["files"].value
    by_file = {one.data["file"]: one.data for one in records.records}
    assert by_file[f"events_{NEXT}.csv"]["read"] == len(rows) - 1
    parts = ("clean", "duplicates", "rejected", "outside the dates of the graph", "held", "not built yet")
    assert all(one["read"] == sum(one[part] for part in parts) for one in by_file.values())
    assert len(by_file) == 7

    built.put("events_bad.csv", header + rows[-1])
    assert built.land() == ["stage_landing", f"history {NEXT}"]
    built.follow()
    assert served(built).facts["quarantined"] == []
    assert rows_of(built, NEXT) == len(set(rows))


def rows_of(driver: Driver, day: str) -> int:
    return driver.world.lineage("clean_events", day).rows


def test_a_release_that_lacks_too_much_waits_until_a_person_goes_on_without_the_file(
    built: Driver, files: Files
) -> None:
    before = built.world.served_release()
    good = files[f"events_{NEXT}.csv"]
    built.put(f"events_{NEXT}.csv", good)
    built.put("events_bad.csv", BAD + good[: len(good) // 10])
    assert built.land() == ["stage_landing", f"history {NEXT}"]
    assert [run.success for run in built.follow()][-1] is False
    assert built.world.served_release() == before, "what was served is served on"
    assert built.follow() == [], "nothing is tried for ever"

    progress = Notes()
    world = built.world
    with Materializer(world.settings, world.dataset, progress, world.instance) as materializer:
        assert materializer.catch_up() == NEXT
    (told,) = [note for note in progress.notes if "waits, because files are set aside" in note]
    assert "events_bad.csv (column 'visitorid' (user_id) is missing" in told
    assert built.world.served_release() == before

    assert not acknowledge(built, files=["events_other.csv"]), "a name that is not set aside is refused"
    assert acknowledge(built, files=["events_bad.csv"])
    assert served(built).as_of == NEXT
    (lacks,) = served(built).facts["quarantined"]  # type: ignore[misc]
    assert lacks["reason"].endswith("(acknowledged)")  # type: ignore[index,union-attr]


def test_an_accepted_file_that_turns_bad_keeps_its_rows_and_its_share(built: Driver, files: Files) -> None:
    day = "2015-05-08"
    before, hashes = rows_of(built, day), built.world.hashes("assets", "releases")
    good = files[f"events_{day}.csv"]
    built.put(f"events_{day}.csv", BAD + good[len(BAD) :])
    assert built.land() == ["stage_landing"]
    assert f"events_{day}.csv waits for a person" in built.told
    assert built.follow() == []
    assert built.world.hashes("assets", "releases") == hashes
    built.put("events_late.csv", good.splitlines(keepends=True)[0] + b"1431100000000,7,view,1,\n")
    assert built.land() == ["stage_landing", f"history {day}"]
    built.follow()
    assert rows_of(built, day) == before + 1
    (lacks,) = served(built).facts["quarantined"]  # type: ignore[misc]
    assert lacks["file"] == f"events_{day}.csv"  # type: ignore[index]


def test_a_stray_event_months_later_does_not_become_the_as_of_day(built: Driver, files: Files) -> None:
    header = files[f"events_{NEXT}.csv"].splitlines(keepends=True)[0]
    before = built.world.served_release()
    built.put("events_late.csv", header + b"1438430400000,7,view,1,\n")  # 2015-08-01
    assert built.land() == ["stage_landing"]
    assert "day 2015-08-01 waits for a person: is held: events_late.csv row 0, 85 days after 2015-05-08" in built.told
    assert built.follow() == []
    assert built.world.served_release() == before

    built.put(f"events_{NEXT}.csv", files[f"events_{NEXT}.csv"])
    assert built.land() == ["stage_landing", f"history {NEXT}"]
    built.follow()
    assert served(built).as_of == NEXT, "the next ordinary day goes on"

    assert acknowledge(built, days=["2015-08-01"])
    assert built.land() == ["history 2015-08-01"], "no row is lost"
    assert rows_of(built, "2015-08-01") == 1


def test_files_that_a_lifecycle_rule_removes_keep_their_rows_until_a_person_agrees(built: Driver) -> None:
    before = built.world.hashes("assets", "releases")
    for day in range(3, 7):
        (built.world.landing / f"events_2015-05-{day:02}.csv").unlink()
    assert built.land() == ["stage_landing"]
    assert "deletions waits for a person: 4 files vanished" in built.told
    assert built.follow() == []
    assert built.world.hashes("assets", "releases") == before
    assert acknowledge(built, deletions=True)
    assert built.land() == ["history 2015-05-03 2015-05-06"]
    assert [rows_of(built, f"2015-05-{day:02}") for day in range(3, 7)] == [0] * 4
