"""Freshness is that of the newest partition: no backfill of an old day makes it green."""

from __future__ import annotations

import time

import dagster as dg
import pytest

from recsys_assets.automation import freshness
from recsys_assets.automation.freshness import judge
from recsys_assets.automation.staleness import history_tags
from recsys_assets_tests.automation.driver import Driver

HOURS = 36


@pytest.mark.parametrize("asset", freshness.WATCHED)
def test_an_old_backfill_never_turns_freshness_green(asset: str, built: Driver) -> None:
    instance, stored = built.world.instance, built.world.store.partitions()
    written = judge(instance, stored, dg.AssetKey(asset), HOURS)
    assert written is not None
    assert (written.passed, written.metadata["newest"].value) == (True, "2015-05-08")
    later = time.time() + (HOURS + 1) * 3600
    for day in ("2015-05-04", "2015-06-30" if asset == "clean_events" else "2015-05-05"):
        # Materialized then: an old day, and of events a later one without any.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time", lambda: later)
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=day))
    old = judge(instance, stored, dg.AssetKey(asset), HOURS, now=later)
    assert old is not None
    assert (old.passed, old.severity, old.metadata["newest"].value) == (False, dg.AssetCheckSeverity.WARN, "2015-05-08")


def test_the_sensor_says_once_that_nothing_new_came(built: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    instance, key = built.world.instance, dg.AssetCheckKey(dg.AssetKey("clean_events"), freshness.NAME)

    def events() -> list[bool]:
        sensor = built.repository.get_sensor_def("freshness_sensor")
        store = built.world.store
        with dg.build_sensor_context(
            instance=instance,
            cursor=built.cursors.get("f"),
            repository_def=built.repository,
            resources={"store": store},
        ) as context:
            tick = sensor.evaluate_tick(context)
        built.cursors["f"] = tick.cursor
        assert not tick.run_requests
        return [event.passed for event in tick.asset_events if isinstance(event, dg.AssetCheckEvaluation)]

    assert events() == [True, True]
    assert events() == []
    later = time.time() + 40 * 3600
    monkeypatch.setattr(freshness.time, "time", lambda: later)
    assert events() == [False, False]
    assert events() == []
    monkeypatch.undo()
    runs = built.run(dg.RunRequest(job_name="history", tags=history_tags("2015-05-03", "2015-05-04")))
    assert runs.success
    result = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    assert result.event is not None
    evaluation = result.event.asset_check_evaluation
    assert evaluation is not None
    assert evaluation.metadata["newest"].value == "2015-05-08", "after the run of an old day too"
