"""The queue of runs, as Dagster's own daemon takes from it: what a person waits for goes before what was queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from recsys_assets.automation.event_log import store_tag
from recsys_assets.automation.runs import LOCATION
from recsys_assets.definitions import build_definitions
from recsys_assets.settings import load_settings
from recsys_assets_tests.integration.world import dagster_in

ROOT = Path(__file__).parents[2]
_REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), SINGLETON_REPOSITORY_NAME)
_CONFIG = {
    "erase_user": {"ops": {"erase": {"config": {"user_id": "7"}}}},
    "rollback_release": {"ops": {"point_back": {"config": {"release_id": "2015-06-01-0123456789ab"}}}},
}
BY_AUTOMATION = store_tag("s3://bucket/store")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(*load_settings(dataset="retailrocket"))


class Queue:
    """An instance with the limits of a configuration, whose runs are launched and never end by themselves."""

    def __init__(self, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        self.instance, self._definitions = instance, definitions
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self._workspace: Any = WorkspaceProcessContext(instance, EmptyWorkspaceTarget())

    def add(self, job: str, tags: Mapping[str, str], status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED) -> None:
        """Queue a run, or add one that goes on already."""
        definition = self._definitions.resolve_job_def(job)
        self.instance.create_run_for_job(
            definition,
            run_config=_CONFIG.get(job, {}),
            tags={**definition.run_tags, **tags},  # as the daemon and the UI do
            status=status,
            remote_job_origin=RemoteJobOrigin(_REPOSITORY, job),
        )

    def taken(self) -> list[str]:
        """One iteration of the daemon; jobs that it launched."""
        before = {run.run_id for run in self._in_progress()}
        list(self._daemon.run_iteration(self._workspace))
        return [run.job_name for run in reversed(self._in_progress()) if run.run_id not in before]

    def is_full(self) -> bool:
        """Whether as many runs go on as may."""
        limits = self.instance.get_concurrency_config().run_queue_config
        assert limits is not None
        return len(self._in_progress()) >= limits.max_concurrent_runs

    def end_one(self, job: str) -> None:
        """A run of a job ends."""
        run = next(run for run in self._in_progress() if run.job_name == job)
        self.instance.report_run_canceled(run)

    def _in_progress(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])))


@pytest.fixture(params=["dagster.yaml", "docker/dagster.yaml"])
def queue(request: pytest.FixtureRequest, definitions: dg.Definitions, tmp_path: Path) -> Iterator[Queue]:
    stated = yaml.safe_load((ROOT / request.param).read_text())
    launcher = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}
    with dagster_in(
        tmp_path,
        run_coordinator=stated["run_coordinator"],
        concurrency=stated["concurrency"],
        run_launcher=launcher,
    ) as instance:
        yield Queue(instance, definitions)


def test_an_erasure_and_a_rollback_are_taken_before_refreshes_that_were_queued_earlier(queue: Queue) -> None:
    for _ in range(6):
        queue.add("refresh", BY_AUTOMATION)
    places = queue.taken()
    assert 0 < len(places) < 6, "automation has its share of the places"
    assert queue.taken() == []
    # What a person starts finds a free place at once; what the API asks for goes before what automation has queued.
    queue.add("erase_user", BY_AUTOMATION)
    queue.add("rollback_release", {})
    assert queue.taken() == ["rollback_release"]
    queue.end_one("refresh")
    assert queue.taken() == ["erase_user"]
    # No place is free: runs of any origin take one.
    while not queue.is_full():
        queue.add("history", {}, dg.DagsterRunStatus.STARTING)
    queue.add("rollback_release", {})
    assert queue.taken() == []
    queue.end_one("history")
    assert queue.taken() == ["rollback_release"]
    for _ in places[1:]:
        queue.end_one("refresh")
    assert queue.taken()[:1] == ["refresh"], "those that were queued first come last"


def test_several_erasures_take_one_place_together_and_leave_the_others(queue: Queue) -> None:
    """Each waits for the pool in the queue, not in a place: what a person starts goes on; automation follows them."""
    queue.add("prune", BY_AUTOMATION)  # an instance knows a pool from the first run that asks for it on
    assert queue.taken() == ["prune"]
    queue.end_one("prune")
    for _ in range(8):
        queue.add("erase_user", BY_AUTOMATION)
    queue.add("refresh", BY_AUTOMATION)
    for left in reversed(range(8)):
        assert queue.taken()[:1] == ["erase_user"]
        queue.add("rollback_release", {})
        queue.add("history", {"dagster/backfill": "one"})
        started = queue.taken()
        assert started[:1] == ["rollback_release"]
        assert "history" in started
        for job in ("rollback_release", "history", "erase_user"):
            queue.end_one(job)
        assert not queue.is_full(), left
