"""Runs jobs of the graph in this process, and ends the runs of processes that were killed.

The runs are ordinary Dagster runs on the instance, so the UI shows them like any other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from socket import gethostname

import dagster as dg

from recsys_assets.automation.event_log import store_tag
from recsys_assets.automation.landing_sensor import UNFINISHED
from recsys_assets.resources.landing import ACCEPTED_ONLY

# Dagster's own job of all assets, which the UI's "Materialize" uses too.
_ANY_ASSETS = "__ASSET_JOB"
_HOST, _PROCESS = "recsys/host", "recsys/process"
# Errors are reported as a MaterializeError, not logged as well.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class MaterializeError(RuntimeError):
    """A run failed, or there is nothing that could be run; the message names steps and their errors.

    Attributes:
        stopped_by: asset and name of the check that alone stopped the run; None if something else did.
    """

    def __init__(self, message: str, stopped_by: tuple[str, str] | None = None):
        super().__init__(message)
        self.stopped_by = stopped_by


class InProcessRunner:
    """Runs the jobs of given definitions on an instance, in this process."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, storage_uri: str):
        self._definitions = definitions
        self._instance = instance
        self._storage_uri = storage_uri

    def run(self, job: str, tags: Mapping[str, str], assets: Sequence[dg.AssetKey] | None = None) -> None:
        """Run a job, or some assets of it, on the files that were accepted.

        Raises:
            MaterializeError: the run failed.
            KeyboardInterrupt: a signal stopped it.
        """
        started_by = {_HOST: gethostname(), _PROCESS: str(os.getpid())}
        result = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance,
            tags={**tags, **ACCEPTED_ONLY, **store_tag(self._storage_uri), **started_by},
            run_config=_QUIET,
            raise_on_error=False,
            asset_selection=assets,
        )
        if result.success:
            return
        if any(map(_is_interruption, result.all_events)):
            raise KeyboardInterrupt
        failures = [f"{event.step_key}: {_root_cause(event)}" for event in result.get_step_failure_events()]
        stopping = [
            (check.asset_key.to_user_string(), check.check_name)
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]
        checks = [f"{asset}: check {check} failed" for asset, check in stopping]
        steps = {event.step_key for event in result.get_step_failure_events()}
        raise MaterializeError(
            f"run {result.run_id} of {job} {dict(tags)}: " + "; ".join(dict.fromkeys(checks + failures)),
            stopping[0] if len(stopping) == 1 and steps == {stopping[0][0]} else None,
        )

    def rebuild(self, day: str, assets: Sequence[str], tags: Mapping[str, str]) -> None:
        """Materialize some assets of a day again, from what is stored and from the landing files that count.

        Assets that one step makes are made together.

        Raises:
            MaterializeError: the run failed.
        """
        graph = self._definitions.resolve_asset_graph()
        chosen = dg.AssetSelection.assets(*assets).required_multi_asset_neighbors().resolve(graph)
        self.run(_ANY_ASSETS, {"dagster/partition": day, **tags}, sorted(chosen))

    def cancel_orphan_runs(self) -> None:
        """Cancel the runs of killed processes of this host: pools and automation would wait for them."""
        unfinished = dg.RunsFilter(statuses=UNFINISHED, tags={_HOST: gethostname()})
        for run in self._instance.get_runs(unfinished):
            try:
                os.kill(int(run.tags[_PROCESS]), 0)
            except ProcessLookupError:
                self._instance.report_run_canceled(run, "the process that ran it was killed")
                self._instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            except PermissionError:
                continue


def _is_interruption(event: dg.DagsterEvent) -> bool:
    """Whether a signal ended the run; Dagster takes it for an error of the step that it met, or of the run."""
    if event.event_type != dg.DagsterEventType.RUN_FAILURE:
        return False
    reason = event.job_failure_data.failure_reason
    return reason is not None and reason.value == "UNEXPECTED_TERMINATION"


def _root_cause(event: dg.DagsterEvent) -> str:
    """The message of the error that a step failed with, without Dagster's wrapping."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no error was recorded"
