"""What follows the days: one run per as-of day, stopped by checks, started again by repaired data."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys_assets.assets import retrieval
from recsys_assets.automation.runs import InProcessRunner, MaterializeError
from recsys_assets.automation.staleness import history_tags
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.partition_store import PartitionStore, Written
from recsys_assets_tests.automation.conftest import Files
from recsys_assets_tests.automation.driver import FAST, Driver
from recsys_assets_tests.automation.test_landing_sensor import HEADER, event
from recsys_assets_tests.integration.world import make_world

AUTOMATION = "as_of_automation"


def served(driver: Driver) -> str:
    pointer = driver.world.store.releases().current()
    assert pointer is not None
    return pointer.release_id


def test_late_properties_make_the_newest_day_again_and_only_what_depends_on_them(built: Driver) -> None:
    before = served(built)
    name = "item_properties_part1.csv"
    content = (built.world.landing / name).read_text().splitlines()
    late = [content[0], *(f"1430827200000,{line.split(',')[1]},available,0" for line in content[1:400])]
    built.put("item_properties_part9.csv", "\n".join(late).encode())
    assert built.land() == ["stage_landing", "history 2015-05-05"]
    ran = built.follow()
    assert [str(run) for run in ran] == ["as_of 2015-05-08"]
    assert {"item_features", "top_popular", "candidates", "recommendations", "release"} <= ran[0].assets
    assert not ran[0].assets & {"item_factors", "similar_items", "ranking_examples", "ranker", "clean_events"}
    assert served(built) != before


def test_a_gate_of_a_day_stops_everything_until_its_data_are_repaired(built: Driver, files: Files) -> None:
    before = served(built)
    built.put("events_2015-05-09.csv", files["events_2015-05-09.csv"])
    whole = files["events_2015-05-10.csv"]
    built.put("events_2015-05-10.csv", b"\n".join(whole.splitlines()[:2]))  # a cut-off file: one event
    assert built.land() == ["stage_landing", "history 2015-05-09 2015-05-10 failed"]
    assert built.follow() == []
    assert built.land() == []
    assert served(built) == before
    built.put("events_2015-05-10.csv", whole)
    assert built.land() == ["stage_landing", "history 2015-05-09 2015-05-10"]
    assert [str(run) for run in built.follow()] == ["as_of 2015-05-04", "as_of 2015-05-07", "as_of 2015-05-10"]
    assert served(built).startswith("2015-05-10")


def test_a_gate_of_the_newest_day_keeps_the_old_release_and_is_not_tried_for_ever(
    built: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = served(built)
    built.put("events_late.csv", HEADER + event("2015-05-07"))
    assert built.land() == ["stage_landing", "history 2015-05-07"]
    with monkeypatch.context() as patch:
        refuse = dg.AssetCheckResult(check_name="not_empty", passed=False)
        patch.setattr(retrieval, "not_empty", lambda *_: refuse)
        assert [str(run) for run in built.follow()] == ["as_of 2015-05-08 failed"]
    assert served(built) == before
    assert built.follow() == []
    built.put("events_late.csv", HEADER + event("2015-05-07", item=2))
    assert built.land() == ["stage_landing", "history 2015-05-07"]
    ran = built.follow()
    assert [str(run) for run in ran] == ["as_of 2015-05-08"]
    assert "release" in ran[0].assets
    assert served(built) != before


def test_nothing_is_asked_for_while_a_day_of_the_window_is_being_written(built: Driver) -> None:
    built.put("events_late.csv", HEADER + event("2015-05-07"))
    built.land()
    instance = built.world.instance
    running = instance.create_run_for_job(
        built.definitions.resolve_job_def("history"),
        tags=history_tags("2015-05-04", "2015-05-05"),
        status=dg.DagsterRunStatus.STARTED,
    )
    assert built.requests(AUTOMATION) == []
    instance.report_run_canceled(running)
    asked = built.requests(AUTOMATION)
    assert [request.partition_key for request in asked] == ["2015-05-08"]


def test_two_runs_of_one_partition_never_write_at_once(built: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run goes on writing until the second one is waiting for it, or until that one writes too."""
    slots = built.world.instance.event_log_storage
    writing, most = 0, 0
    first_writes = threading.Event()
    write = PartitionStore.write

    def slowly(self: PartitionStore, asset: str, day: str, file: Path, lineage: Lineage) -> Written:
        nonlocal writing, most
        writing += 1
        most = max(most, writing)
        if not first_writes.is_set():
            first_writes.set()
            while most == 1 and not slots.get_concurrency_info(asset).pending_step_count:
                time.sleep(0.05)
        writing -= 1
        return write(self, asset, day, file, lineage)

    monkeypatch.setattr(PartitionStore, "write", slowly)
    request = dg.RunRequest(asset_selection=[dg.AssetKey("category_tree")], partition_key="2015-05-05")
    ran: list[bool] = []
    first = threading.Thread(target=lambda: ran.append(built.run(request).success))
    first.start()
    assert first_writes.wait(60)
    ran.append(built.run(request).success)
    first.join()
    assert ran == [True, True]
    assert most == 1


def test_what_a_killed_make_run_left_behind_holds_nothing_up(built: Driver) -> None:
    """Neither the pools that its run holds nor the days that its run was about to write."""
    instance, job = built.world.instance, built.definitions.resolve_job_def("history")
    tags = history_tags("2015-05-04", "2015-05-05")
    left = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    locks = built.world.folder / "dagster" / "history" / "runs" / "running"
    start = "import os, sys; from pathlib import Path; from recsys_assets.automation.dead_runs import RunLocks; "
    start += "RunLocks(Path(sys.argv[1])).start(sys.argv[2], 'history'); os._exit(9)"
    assert subprocess.run([sys.executable, "-c", start, str(locks), left.run_id], check=False).returncode == 9
    assert instance.event_log_storage.claim_concurrency_slot("clean_events", left.run_id, "clean_events").is_claimed
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    with built.world.materializer() as materializer:
        materializer.catch_up_history()
    found = instance.get_run_by_id(left.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELED
    assert [request.partition_key for request in built.requests(AUTOMATION)] == ["2015-05-08"]


def test_a_range_that_fails_in_the_middle_leaves_the_days_before_it_good_and_names_the_day(
    built: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = built.world.store.partitions()
    for day in ("2015-05-05", "2015-05-06", "2015-05-07"):
        store.delete("clean_events", day)
    built.definitions = built.world.definitions()
    runner = InProcessRunner(built.definitions, built.world.instance, built.world.settings.storage_uri)
    read, write = LandingZone.events, PartitionStore.write

    def broken(zone: LandingZone, day: str) -> Any:
        if day == "2015-05-06":
            raise RuntimeError("the disk is gone")
        return read(zone, day)

    def full(self: PartitionStore, asset: str, day: str, *args: Any) -> Any:
        if (asset, day) == ("clean_events", "2015-05-07"):
            raise OSError("no space is left")
        return write(self, asset, day, *args)

    for owner, name, fault, told, stored in (
        (LandingZone, "events", broken, "the disk is gone\nclean_events of 2015-05-06 failed", 1),
        (PartitionStore, "write", full, "no space is left\nclean_events of 2015-05-07 could not be stored", 2),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fault)
            with pytest.raises(MaterializeError, match=told):
                runner.run("history", history_tags("2015-05-05", "2015-05-07"))
        assert store.days("clean_events")[2 : 2 + stored] == ["2015-05-05", "2015-05-06"][:stored]
        assert len(store.days("clean_events")) == 5 + stored
        for day in store.days("clean_events"):
            store.fetch("clean_events", day, built.world.folder / "fetched")
    runner.run("history", history_tags("2015-05-05", "2015-05-07"))
    assert len(store.days("clean_events")) == 8


def test_automation_pauses_while_a_person_is_erased(built: Driver) -> None:
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    built.land()
    built.put("events_later.csv", HEADER + event("2015-05-07"))
    erasing = built.world.instance.create_run_for_job(
        built.definitions.resolve_job_def("erase_user"),
        run_config={"ops": {"erase": {"config": {"user_id": "1"}}}},
        status=dg.DagsterRunStatus.NOT_STARTED,
    )
    assert built.requests(AUTOMATION) == []
    for sensor in ("landing_sensor", "experiments_sensor"):
        assert built.requests(sensor) == []
        assert built.told == f"paused: run {erasing.run_id} erases a person"
    assert [built.schedule(name) for name in ("daily_history", "daily_refresh", "daily_experiments")] == [[], [], []]
    built.world.instance.report_run_canceled(erasing, "it has ended")
    assert {request.partition_key for request in built.requests(AUTOMATION)} == {"2015-05-08"}
    assert built.land() == ["stage_landing", "history 2015-05-07"]


def test_runs_for_another_store_on_the_same_instance_say_nothing_about_this_one(built: Driver, tmp_path: Path) -> None:
    """A sample first, then one's own data: the instance remembers both, and later days of the sample."""
    other = Driver(make_world(tmp_path / "other", built.world.instance, **FAST))
    assert other.requests(AUTOMATION) == []
    for day in ("03", "04"):
        shutil.copy(built.world.landing / f"events_2015-05-{day}.csv", other.world.landing)
    assert other.land() == ["stage_landing", "history 2015-05-03 2015-05-04"]
    assert {request.partition_key for request in other.requests(AUTOMATION)} == {"2015-05-04"}
    assert built.requests("landing_sensor") == []


def test_automation_can_be_left_out(built: Driver) -> None:
    world = built.world
    off = type(world)(
        world.folder, world.settings.model_copy(update={"automation": False}), world.dataset, world.instance
    )
    definitions = off.definitions()
    assert not definitions.sensors
    assert not definitions.schedules
    assert not [spec for spec in definitions.resolve_all_asset_specs() if spec.automation_condition]
