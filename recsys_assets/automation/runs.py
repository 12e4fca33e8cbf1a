"""Runs jobs of the graph in this process, and ends the runs of processes that were killed.

The runs are ordinary Dagster runs on the instance, so the UI shows them like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster_shared.error import SerializableErrorInfo

from recsys_assets.automation.event_log import store_tag
from recsys_assets.automation.event_storage import end_runs_of_dead_processes
from recsys_assets.resources.landing import ACCEPTED_ONLY
from recsys_assets.resources.naming import Names, asset_name

# Dagster's own job of all assets, which the UI's "Materialize" uses too.
_ANY_ASSETS = "__ASSET_JOB"
# Errors are reported as a MaterializeError, not logged as well.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


LOCATION = "recsys"
"""The code location, as ``workspace.yaml`` names it."""
BY_CONSOLE = {"recsys/started_by": "console"}
"""The tag of runs that people watch where they started them."""


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

    def __init__(
        self, definitions: dg.Definitions, instance: dg.DagsterInstance, storage_uri: str, names: Names | None = None
    ):
        self._definitions = definitions
        self._instance = instance
        self._storage_uri = storage_uri
        self._names = names or Names()

    def run(
        self,
        job: str,
        tags: Mapping[str, str],
        assets: Sequence[dg.AssetKey] | None = None,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Run a job, or some assets of it, on the files that were accepted.

        Args:
            job: its bare name.
            tags: of the run.
            assets: those to materialize; None for all of the job.
            advance: told how many partitions are materialized, and of how many, whenever one is.

        Raises:
            MaterializeError: the run failed.
            KeyboardInterrupt: a signal stopped it.
        """
        job = job if job == _ANY_ASSETS else self._names(job)
        run_id = str(uuid4())
        self._instance.add_event_listener(run_id, _Materialized(advance))
        result = self._definitions.resolve_job_def(job).execute_in_process(
            run_id=run_id,
            instance=self._instance,
            tags={**tags, **ACCEPTED_ONLY, **BY_CONSOLE, **store_tag(self._storage_uri)},
            run_config=_QUIET,
            raise_on_error=False,
            asset_selection=assets,
        )
        self._assign_to_location(run_id, job)
        if result.success:
            return
        if any(map(_is_interruption, result.all_events)):
            raise KeyboardInterrupt
        failures = [
            f"{event.step_key}: {root_cause(event.step_failure_data.error)}"
            for event in result.get_step_failure_events()
        ] or [
            root_cause(event.job_failure_data.error)
            for event in result.all_events
            if event.event_type == dg.DagsterEventType.RUN_FAILURE
        ]
        stopping = [
            (asset_name(check.asset_key), check.check_name)
            for check in result.get_asset_check_evaluations()
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        ]
        checks = [f"{asset}: check {check} failed" for asset, check in stopping]
        steps = {event.step_key for event in result.get_step_failure_events()}
        raise MaterializeError(
            f"run {result.run_id} of {job} {dict(tags)}: " + "; ".join(dict.fromkeys(checks + failures)),
            stopping[0] if len(stopping) == 1 and steps == {self._names(stopping[0][0])} else None,
        )

    def _assign_to_location(self, run_id: str, job: str) -> None:
        """Say which code location a run is of: the UI's home page shows no others."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None:
            repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), SINGLETON_REPOSITORY_NAME)
            self._instance.run_storage.replace_job_origin(run, RemoteJobOrigin(repository, job))

    def rebuild(self, day: str, assets: Sequence[str], tags: Mapping[str, str]) -> None:
        """Materialize some assets of a day again, from what is stored and from the landing files that count.

        Assets that one step makes are made together.

        Raises:
            MaterializeError: the run failed.
        """
        graph = self._definitions.resolve_asset_graph()
        chosen = self._names.assets(*assets).required_multi_asset_neighbors().resolve(graph)
        self.run(_ANY_ASSETS, {"dagster/partition": day, **tags}, sorted(chosen))

    def end_dead_runs(self) -> list[str]:
        """End the runs of processes that were killed, for which pools and automation would wait; their names."""
        return [f"{run.run_id} of {run.job_name}" for run in end_runs_of_dead_processes(self._instance)]


def is_by_console(run: dg.DagsterRun) -> bool:
    """Whether a run was started by :class:`InProcessRunner`."""
    return BY_CONSOLE.items() <= run.tags.items()


class _Materialized:
    """Counts the partitions that a run is to materialize, and those that it has, by its events."""

    def __init__(self, advance: Callable[[int, int], None]) -> None:
        self._advance, self._planned, self._done = advance, 0, 0

    def __call__(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            return
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
            subset = event.asset_materialization_planned_data.partitions_subset
            self._planned += len(subset) if subset is not None else 1
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            self._done += 1
            self._advance(self._done, max(self._planned, self._done))


def _is_interruption(event: dg.DagsterEvent) -> bool:
    """Whether a signal ended the run; Dagster takes it for an error of the step that it met, or of the run."""
    if event.event_type != dg.DagsterEventType.RUN_FAILURE:
        return False
    reason = event.job_failure_data.failure_reason
    return reason is not None and reason.value == "UNEXPECTED_TERMINATION"


def root_cause(error: SerializableErrorInfo | None) -> str:
    """The message of the error that a step or a run failed with, without Dagster's wrapping."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no error was recorded"
