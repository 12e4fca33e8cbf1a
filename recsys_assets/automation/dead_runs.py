"""Runs whose process is dead: pools and automation would wait for them forever.

Whatever executes a run, be it the command line, ``make run``, the UI or the daemon, logs its events to the storage of
:mod:`recsys_assets.automation.event_storage`, which holds a lock from the start of the run to its end.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path

import dagster as dg
from dagster._core.events import DagsterEventType, JobFailureData, RunFailureReason

from recsys_assets.automation.locks import HeldLock, hold, holder_of, is_held

UNFINISHED: Sequence[dg.DagsterRunStatus] = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
_CREATED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
_RUNNING = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
RUN_ENDS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED}


class RunLocks:
    """The locks of running runs, in one folder of an instance."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._held: dict[str, HeldLock] = {}

    def start(self, run_id: str, job: str) -> None:
        """Hold the lock of a run that this process starts to execute."""
        if run_id not in self._held and (lock := hold(self._path(run_id), job, wait=True)):
            self._held[run_id] = lock

    def end(self, run_id: str) -> None:
        """Give back the lock of a run that has ended; nothing where another process executes it."""
        if lock := self._held.pop(run_id, None):
            lock.release(delete=True)

    def is_alive(self, run_id: str) -> bool:
        """Whether a living process executes a run that was started."""
        return is_held(self._path(run_id))

    def was_held(self, run_id: str) -> bool:
        """Whether the lock of a run was ever held and not given back at its end."""
        return self._path(run_id).exists()

    def process_of(self, run_id: str) -> str:
        """Which process executes or executed a run, in words."""
        return holder_of(self._path(run_id))

    def forget(self, run_id: str) -> None:
        """Delete what a dead process has left of its lock."""
        self._path(run_id).unlink(missing_ok=True)

    def _path(self, run_id: str) -> Path:
        return self._folder / run_id


def end_dead_runs(
    instance: dg.DagsterInstance, locks: RunLocks, among: Collection[str] | None = None
) -> list[dg.DagsterRun]:
    """End the runs of dead processes, and free the slots that they hold in pools.

    A run that the daemon launched has failed, so that it is retried where the instance says so. Any other is canceled:
    who started it by hand starts it again.

    Args:
        instance: whose runs.
        locks: of its runs.
        among: ids of the runs to look at; None for all that have not ended.

    Returns:
        The runs that were ended.
    """
    if among is not None and not among:  # of a pool that was full a moment ago; Dagster refuses to look for none
        return []
    chosen = dg.RunsFilter(statuses=list(UNFINISHED), run_ids=None if among is None else list(among))
    ended: list[dg.DagsterRun] = []
    for record in instance.get_run_records(chosen):
        run = record.dagster_run
        late = time.time() - record.create_timestamp.timestamp() > instance.run_monitoring_start_timeout_seconds
        # A run that is said to run without ever having held its lock is not ours to judge: an earlier version runs it.
        should_live = locks.was_held(run.run_id) if run.status in _RUNNING else run.status in _CREATED and late
        if not should_live or locks.is_alive(run.run_id):
            continue
        _end(instance, run, locks.process_of(run.run_id))
        locks.forget(run.run_id)
        ended.append(run)
    # A run that has ended holds no slot either; Dagster frees its slots only minutes later, and only with a daemon.
    for run_id in among or ():
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return ended


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun, process: str) -> None:
    storage = instance.event_log_storage
    stored = storage.get_logs_for_run(run.run_id, of_type=RUN_ENDS, limit=1)
    if stored:
        # It ended, and its process died before it said so to the storage of runs, or is just about to.
        event = stored[0].get_dagster_event()
        instance.run_storage.handle_run_event(run.run_id, event)
    elif run.remote_job_origin is not None:
        reason = JobFailureData(error=None, failure_reason=RunFailureReason.RUN_EXCEPTION)
        instance.report_run_failed(run, f"its process is dead: {process}", reason)
    else:
        instance.report_run_canceled(run, f"its process is dead: {process}")
    storage.free_concurrency_slots_for_run(run.run_id)
