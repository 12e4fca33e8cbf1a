"""Which runs the landing sensor asks for, tick by tick: nothing is lost, nothing is done twice."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_assets.automation.staleness import marts_of, outdated_days
from recsys_assets.resources.naming import Names
from recsys_assets_tests.automation.conftest import FIRST, Files
from recsys_assets_tests.automation.driver import Driver

SENSOR = "landing_sensor"
HEADER = b"timestamp,visitorid,event,itemid,transactionid\n"
NOON = {"2015-05-05": 1430827200000, "2015-05-07": 1431000000000, "2015-05-09": 1431172800000}


def event(day: str, item: int = 1) -> bytes:
    return f"{NOON[day]},7,view,{item},\n".encode()


def rows(driver: Driver, day: str) -> int:
    lineage = driver.world.store.partitions().read_lineage("clean_events", day)
    assert lineage is not None
    return lineage.rows


def test_days_that_land_together_are_one_run_then_one_run_per_as_of_day(
    first_days: tuple[Path, list[str]], built: Driver
) -> None:
    """The ranker of the 8th learns from examples of the 5th, so that day comes first. Properties reach to the 10th."""
    assert first_days[1] == ["stage_landing", "history 2015-05-03 2015-05-10", "as_of 2015-05-05", "as_of 2015-05-08"]
    assert [rows(built, day) > 0 for day in FIRST] == [True] * 6
    pointer = built.world.store.releases().current()
    assert pointer is not None
    assert pointer.as_of == "2015-05-08"


def test_where_nothing_is_new_nothing_runs(built: Driver) -> None:
    for _ in range(2):
        assert built.tick(SENSOR) == []
        assert built.told == "nothing is new in the landing zone"
        assert built.tick("as_of_automation") == []


def test_a_file_that_grows_waits_and_holds_nobody_up(built: Driver) -> None:
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    growing = built.world.landing / "events_growing.csv"
    for size in range(1, 4):
        growing.write_bytes(HEADER + event("2015-05-07") * size)
        built.tick(SENSOR)
    assert built.land() == ["stage_landing", "history 2015-05-07"]
    assert [run for run in built.keys if "2015-05-05:2015-05-05" in run[1]]


def test_late_impressions_request_their_day_and_those_whose_events_may_follow_from_them(built: Driver) -> None:
    before = built.world.hashes("assets")
    shown = {"user_id": 7, "item_id": 1, "event_type": "impression", "ts": "2015-05-06T02:30:00Z"}
    rest = dict.fromkeys(("recommendation_id", "release_id", "placement", "position", "source"))
    built.put("events_late.csv", HEADER + b"1430884800000,7,view,1,\n")  # 04:00 on the 6th, after the day's start
    assert built.land() == ["stage_landing", "history 2015-05-06"]
    assert attributed(built, "2015-05-06") == []
    built.follow()
    built.put("served/impressions-1-1.jsonl.gz", gzip.compress(json.dumps({**shown, **rest}).encode()))
    assert built.land() == ["stage_landing", "history 2015-05-05 2015-05-06"]
    assert [(row["impression_file"], row["seconds"]) for row in attributed(built, "2015-05-06")] == [
        ("served/impressions-1-1.jsonl.gz", 90 * 60)
    ]
    (followed,) = built.follow()
    assert (str(followed), followed.assets) == ("as_of 2015-05-08", {"feedback_report"})
    changed = {name for name, sha in built.world.hashes("assets").items() if before.get(name) != sha}
    marts = {name.split("/")[1] for name in changed if "dt=2015-05-05" in name and not name.endswith("_lineage.json")}
    assert marts == {"impressions"}
    assert built.land() == []
    (built.world.landing / "served" / "impressions-1-1.jsonl.gz").unlink()
    assert built.land() == ["stage_landing", "history 2015-05-05 2015-05-06"]
    assert attributed(built, "2015-05-06") == []


def attributed(driver: Driver, day: str) -> list[dict[str, Any]]:
    return pl.read_parquet(driver.world.folder / f"store/assets/attribution/dt={day}/data.parquet").to_dicts()


def test_files_that_come_again_equal_or_as_copies_request_no_run(built: Driver, files: Files) -> None:
    before = built.world.hashes("assets", "releases")
    for name in ("events_2015-05-06.csv", "category_tree.csv"):
        built.put(name, files[name])
    built.put("events_copy.csv", files["events_2015-05-06.csv"])
    for _ in range(4):
        assert built.tick(SENSOR) == []
    assert built.told == "nothing is new in the landing zone"
    assert built.follow() == []
    assert built.world.hashes("assets", "releases") == before


def test_a_file_that_comes_again_with_the_same_rows_moves_nothing_downstream(built: Driver, files: Files) -> None:
    before = built.world.hashes("assets", "releases")
    built.put("events_2015-05-06.csv", files["events_2015-05-06.csv"] + b"\n")
    assert built.land() == ["stage_landing", "history 2015-05-06"]
    assert built.follow() == []
    after = built.world.hashes("assets", "releases")
    changed = {name for name in before if before[name] != after[name]}
    assert {name for name in changed if not name.endswith("_lineage.json")} == set()


def test_changed_and_deleted_files_request_the_days_of_both_their_versions(built: Driver) -> None:
    """A becomes B becomes A again: three changes, three runs."""
    was = rows(built, "2015-05-05"), rows(built, "2015-05-07")
    for day, other in (("2015-05-05", None), ("2015-05-07", "2015-05-05"), ("2015-05-05", "2015-05-07")):
        built.put("events_late.csv", HEADER + event(day, item=3))
        expected = sorted(f"history {one}" for one in (day, other) if one)
        assert built.land() == ["stage_landing", *expected]
    assert (rows(built, "2015-05-05"), rows(built, "2015-05-07")) == (was[0] + 1, was[1])
    (built.world.landing / "events_late.csv").unlink()
    assert built.land() == ["stage_landing", "history 2015-05-05"]
    assert (rows(built, "2015-05-05"), rows(built, "2015-05-07")) == was


def test_a_restart_between_any_two_steps_loses_and_repeats_nothing(built: Driver) -> None:
    """The daemon dies after the requests were made and before the cursor was stored, at every tick."""
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    ran: list[str] = []
    for _ in range(6):
        asked = built.requests(SENSOR)
        ran += [str(built.run(request)) for request in built.new(SENSOR, asked)]
        again = built.requests(SENSOR)  # the cursor is still the old one
        ran += [str(built.run(request)) for request in built.new(SENSOR, again)]
        built.cursors[SENSOR] = built.next_cursor
    assert ran == ["stage_landing", "history 2015-05-05"]
    built.cursors[SENSOR] = "not a cursor"  # and with no memory at all
    assert built.land() == []


def test_a_file_that_cannot_be_used_is_set_aside_and_taken_in_when_it_is_mended(built: Driver) -> None:
    built.put("events_bad.csv", b"when,who\n1,2\n")
    built.put("events_good.csv", HEADER + event("2015-05-07"))
    assert built.land() == ["stage_landing", "history 2015-05-07"]
    assert built.told.startswith("events_bad.csv waits for a person: column 'visitorid' (user_id) is missing")
    built.put("events_more.csv", HEADER + event("2015-05-05"))
    assert built.land() == ["stage_landing", "history 2015-05-05"], "it is not read again before it changes"
    built.put("events_bad.csv", HEADER + event("2015-05-09"))
    assert built.land() == ["stage_landing", "history 2015-05-09"]
    assert built.told == "nothing is new in the landing zone"


def test_a_file_at_fault_that_is_removed_is_forgotten_without_building_anything(built: Driver) -> None:
    built.put("events_bad.csv", b"when,who\n1,2\n")
    assert built.land() == ["stage_landing"]
    (built.world.landing / "events_bad.csv").unlink()
    assert built.land() == ["stage_landing"]
    assert built.told == "nothing is new in the landing zone"
    (built.world.landing / "round").symlink_to(built.world.landing)
    built.tick(SENSOR)
    assert built.told.startswith("1 skipped: round/ (links to folders of the landing zone are not followed")


def test_make_run_and_the_sensor_agree(built: Driver) -> None:
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    with built.world.materializer() as materializer:
        materializer.catch_up_history()
    assert built.land() == []


def test_an_emptied_store_is_built_anew(built: Driver) -> None:
    """Though generations begin again, and the daemon knows run keys of the old ones."""
    store = built.world.store.open()
    for one in store.list():
        store.delete(one.key)
    assert built.land() == ["stage_landing", "history 2015-05-03 2015-05-10"]


def test_the_daily_schedule_finds_what_the_sensors_lost(built: Driver) -> None:
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    for _ in range(3):
        built.tick(SENSOR)
        built.keys |= {
            (SENSOR, f"history:{json.loads(str(built.next_cursor))['id']}:{n}:2015-05-05:2015-05-05") for n in range(9)
        }
    assert [str(run) for run in built.schedule("daily_history")] == ["history 2015-05-05"]
    assert built.schedule("daily_history") == []
    assert built.schedule("daily_refresh") == []


@pytest.mark.parametrize("retry_queue", [(), ("2015-05-05",)])
def test_days_that_changed_are_asked_for_until_lineage_says_they_are_built(
    retry_queue: tuple[str, ...], built: Driver
) -> None:
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    for _ in range(2):
        built.tick(SENSOR)
    from recsys_assets.ingest.accepted import read_accepted

    accepted = read_accepted(built.world.store.open())
    span = ("2015-05-03", "2015-05-30")
    partitions = built.world.store.partitions()
    marts = marts_of(built.definitions.resolve_all_asset_specs(), Names())
    assert set(marts) >= {"user_activity", "item_activity", "item_pairs", "bot_users", "event_counts"}
    assert outdated_days(
        accepted, partitions, marts, span, since=accepted.generation, until="2016", retry_queue=retry_queue, reach=1
    ) == list(retry_queue)
    assert outdated_days(accepted, partitions, marts, span, reach=1) == ["2015-05-05"]
