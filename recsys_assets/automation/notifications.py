"""Notifies people of releases and failures on the configured channels."""

from typing import Any, cast

import dagster as dg

from recsys_assets.automation.runs import is_by_console, root_cause
from recsys_assets.ingest.quarantine import sentence
from recsys_assets.jobs import RAW, WAITS
from recsys_assets.resources.naming import Names
from recsys_assets.resources.notifier import Notifier

_ERROR_LIMIT = 1000
_WILL_RETRY = "dagster/will_retry"
_PARTITION = ("dagster/partition", "dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def notification_sensors(notifier: Notifier, names: Names) -> list[dg.SensorDefinition]:
    """The sensors that watch runs; none where no channel is set.

    Runs that people started on a console are not told of: those people see what becomes of them. Where
    keys have a prefix, nor are runs that are surely about something else.
    """
    if not notifier.channels:
        return []

    @dg.run_status_sensor(
        name=names("notify_success"),
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notifies of every run that made a release, and of files that were set aside.",
    )
    def notify_success(context: dg.RunStatusSensorContext) -> None:
        if is_by_console(context.dagster_run):
            return
        for facts in _releases(context, names.key("release")):
            order = facts["ordered_by"]
            serving = "it is served" if facts["served"] else f"it is not served: {facts['why']}"
            text = f"Release {facts['release_id']} as of {facts['day']}: lists ordered by {order}; {serving}."
            if facts["lacks"] not in (None, "nothing"):
                text += f" It lacks {facts['lacks']}."
            notifier.send(text, {"event": "success", **facts}, context.log.warning)
        for waits in _waits(context, names.key(RAW)):
            text = f"The landing zone waits for a person: {sentence(waits)}."
            notifier.send(text, {"event": "landing", "waits": waits}, context.log.warning)

    @dg.run_failure_sensor(
        name=names("notify_failure"),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Notifies of every run that failed and is not retried.",
    )
    def notify_failure(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if run.tags.get(_WILL_RETRY) == "true" or is_by_console(run) or not names.is_own(run):
            return
        failed = context.get_step_failure_events()
        steps = [(event.step_key, root_cause(event.step_failure_data.error)) for event in failed]
        step, error = steps[0] if steps else (None, context.failure_event.message or "no error was recorded")
        error = "; ".join([error, *_failed_checks(context)])
        facts = {
            "event": "failure",
            "job": run.job_name,
            "partition": " to ".join(run.tags[tag] for tag in _PARTITION if tag in run.tags) or None,
            "run_id": run.run_id,
            "step": step,
            "error": error[:_ERROR_LIMIT],
        }
        where = f" at step {step}" if step else ""
        partition = f" for {facts['partition']}" if facts["partition"] else ""
        text = f"Run {run.run_id} of {run.job_name}{partition} failed{where}: {facts['error']}"
        notifier.send(text, facts, context.log.warning)

    return [notify_success, notify_failure]


def _releases(context: dg.RunStatusSensorContext, release: dg.AssetKey) -> list[dict[str, Any]]:
    """The facts of each release that a run made."""
    logs = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    materializations = [entry.asset_materialization for entry in logs if entry.asset_materialization]
    releases: list[dict[str, Any]] = []
    for materialization in materializations:
        if materialization.asset_key == release:
            facts = {name: value.value for name, value in materialization.metadata.items()}
            releases.append(
                {
                    "release_id": facts.get("release_id"),
                    "day": materialization.partition,
                    "ordered_by": facts.get("served_by"),
                    "served": facts.get("served") or facts.get("why") == "current",
                    "why": facts.get("why"),
                    "lacks": facts.get("lacks"),
                }
            )
    return releases


def _waits(context: dg.RunStatusSensorContext, raw: dg.AssetKey) -> list[dict[str, str]]:
    """What a run that read landing files left to a person."""
    logs = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
    observed = [entry.asset_observation for entry in logs if entry.asset_observation]
    found = [one.metadata.get(WAITS) for one in observed if one.asset_key == raw]
    return [dict(cast("dict[str, str]", waits.value)) for waits in found if waits is not None]


def _failed_checks(context: dg.RunFailureSensorContext) -> list[str]:
    """Why blocking checks stopped a run, as far as they say so."""
    logs = context.instance.all_logs(context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.asset_check_evaluation for entry in logs if entry.asset_check_evaluation]
    return [
        f"check {check.check_name}: {check.metadata['why'].value}"
        for check in found
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR and "why" in check.metadata
    ]
