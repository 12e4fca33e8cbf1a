"""Pruning says what it would delete before it does, and never deletes what is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.automation import prune
from recsys_assets.automation.event_log import EventLog
from recsys_assets.automation.event_storage import KeptSqliteEventLogStorage
from recsys_assets.automation.prune import old_releases
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.automation.driver import Driver
from recsys_assets_tests.automation.test_landing_sensor import HEADER, event

NOW = datetime.now(UTC)


def pruned(driver: Driver, *, dry_run: bool) -> dict[str, object]:
    result = driver.definitions.resolve_job_def("prune").execute_in_process(
        instance=driver.world.instance, run_config={"ops": {"delete_old": {"config": {"dry_run": dry_run}}}}
    )
    [output] = [one for one in result.all_node_events if one.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: entry.value for name, entry in output.step_output_data.metadata.items()}


def test_logs_and_staged_files_that_do_not_count_go_and_all_that_is_known_of_days_stays(
    built: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, store = built.world.instance, built.world.store.open()
    built.put("events_late.csv", HEADER + event("2015-05-05"))
    built.land()
    built.put("events_late.csv", HEADER + event("2015-05-05", item=2))
    built.land()
    built.follow()
    assert pruned(built, dry_run=False).keys() == {"deleted"}, "nothing is old"
    later = (NOW + timedelta(days=100)).timestamp()
    monkeypatch.setattr(prune.time, "time", lambda: later)
    storage, log = instance.event_log_storage, EventLog(instance, built.world.settings.storage_uri)
    assert isinstance(storage, KeptSqliteEventLogStorage)
    runs, examples = [run.run_id for run in instance.get_runs()], dg.AssetKey("ranking_examples")
    attempts = {day: log.last_attempt(examples, day) for day in ("2015-05-05", "2015-05-08")}
    days = instance.get_materialized_partitions(dg.AssetKey("clean_events"))
    kept = {meta.key for meta in store.list()}

    would = pruned(built, dry_run=True)
    assert (would["deleted"], would["staged_files"]) == (False, 1)
    assert would["logs_of_runs"] == len(runs)
    assert {meta.key for meta in store.list()} == kept
    assert all(storage.size_of_logs(run) for run in runs)

    done = pruned(built, dry_run=False)
    assert (done["deleted"], done["staged_files_bytes"]) == (True, would["staged_files_bytes"])
    gone = kept - {meta.key for meta in store.list()}
    assert {key.split("/")[0] for key in gone} == {"staging"}
    assert len({key.split("/")[2] for key in gone}) == 1
    assert not any(storage.size_of_logs(run) for run in runs)
    assert instance.get_materialized_partitions(dg.AssetKey("clean_events")) == days
    assert {day: EventLog(instance, log.store).last_attempt(examples, day) for day in attempts} == attempts
    assert built.follow() == []
    assert built.land() == []
    with built.world.materializer() as materializer:
        materializer.catch_up()  # of what is staged, nothing is missing
    assert [run.job_name for run in instance.get_runs(limit=1)] == ["prune"]


def test_of_releases_the_newest_stay_and_what_is_served_or_was(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    releases, path = Releases(store), tmp_path / "lists"
    path.write_bytes(b"lists")
    first, second, third, fourth, fifth = (
        releases.publish(f"2015-08-0{day}", {"lists": path}, {}).release_id for day in range(1, 6)
    )
    store.put("releases/2015-08-09-0123456789ab/lists", b"never completed")

    def names(keep: int, now: datetime = NOW) -> list[str]:
        return [old.name for old in old_releases(store, keep, now)]

    assert names(5) == names(9) == []
    assert names(3) == [first, second]
    assert names(2) == [first, second, third]
    assert names(5, NOW + timedelta(days=2)) == ["2015-08-09-0123456789ab"]
    releases.rollback(second)
    assert names(2) == [first], "pinned is the second, before it was the fifth, and newer ones wait"
    for old in old_releases(store, 2, NOW + timedelta(days=2)):
        old.delete()
    assert releases.list() == [second, third, fourth, fifth]
    assert releases.leftovers() == []
    releases.verify(fifth)


def test_the_schedule_deletes_and_is_off_at_first(built: Driver) -> None:
    schedule = built.repository.get_schedule_def("weekly_prune")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    [request] = schedule.evaluate_tick(dg.build_schedule_context(scheduled_execution_time=NOW)).run_requests or []
    assert request.run_config["ops"]["delete_old"]["config"] == {"dry_run": False}
