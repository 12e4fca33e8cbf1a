"""End the runs that the last code server took along when it died. compose.yaml does this before the next one starts.

Runs are processes of the code server, of which Dagster's run monitoring cannot tell whether they live: they would keep
their places in the queue and in pools for hours. They fail for the death of their process, so that they are retried.
"""

import sys

import dagster as dg
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.launcher import DefaultRunLauncher

_HAD_A_PROCESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def end_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Returns the ids of the runs that were ended; none where a run has a container of its own."""
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return []
    # A run without an origin was started by hand, elsewhere.
    found = instance.get_runs(dg.RunsFilter(statuses=_HAD_A_PROCESS))
    lost = [run for run in found if run.remote_job_origin is not None]
    for run in lost:
        reason = JobFailureData(error=None, failure_reason=RunFailureReason.RUN_EXCEPTION)
        instance.report_run_failed(run, "its process ended with the code server", reason)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in lost]


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        sys.stdout.writelines(f"run {run_id} was lost with the code server\n" for run_id in end_lost_runs(instance))
