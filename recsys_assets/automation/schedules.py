"""The safety net: once a day, compare what should be built with what is built, with no cursor from earlier days.

The schedules request what the sensors would have requested if they and their runs had never failed. Each state of the
landing zone is requested once, so a run that a check stops is not started again every day.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from recsys_assets import jobs
from recsys_assets.automation.event_log import store_tag
from recsys_assets.automation.pause import paused
from recsys_assets.automation.staleness import history_of, history_tags, newest_day, outdated_days, ranges
from recsys_assets.core.activity.feedback import days_reached
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.model_registry.experiment_models import experiments_of, models_to_test
from recsys_assets.model_registry.experiment_validation import unvalidated
from recsys_assets.partitions import span
from recsys_assets.resources.landing import ACCEPTED_ONLY
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partition_store import REBUILD
from recsys_assets.storage.stated import days_as_text


def daily_schedules(
    partitions: dg.DailyPartitionsDefinition, settings: Settings, marts: Sequence[str], built: Mapping[str, jobs.Job]
) -> list[dg.ScheduleDefinition]:
    """The schedules of a graph: outdated days first, and where there are none the release of the newest day.

    Args:
        partitions: the days of the graph.
        settings: where its store is.
        marts: names of its marts.
        built: its jobs.
    """
    names = Names.of(settings)
    tags, reach = {**ACCEPTED_ONLY, **store_tag(settings.storage_uri)}, days_reached(settings.attribution_hours)

    @dg.schedule(
        name=names("daily_history"),
        job=built[jobs.HISTORY],
        cron_schedule="0 5 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests the days that were not built from the files that they have.",
    )
    @names.bind
    def daily_history(
        context: dg.ScheduleEvaluationContext, landing: dg.ResourceParam[LandingZone], store: StoreResource
    ) -> list[dg.RunRequest] | dg.SkipReason:
        if reason := paused(context.instance, names):
            return dg.SkipReason(reason)
        accepted = landing.accepted()
        outdated = outdated_days(accepted, store.partitions(), marts, span(partitions), reach=reach)
        requests = [
            dg.RunRequest(
                run_key=f"daily:{accepted.id}:{accepted.generation}:{first}:{last}",
                tags={**history_tags(first, last), **tags},
            )
            for first, last in ranges(outdated, accepted.changed)
        ]
        return requests or dg.SkipReason("every day is built from the files that it has")

    @dg.schedule(
        name=names("daily_refresh"),
        job=built[jobs.REFRESH],
        cron_schedule="0 6 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests the release of the newest day where it is missing.",
    )
    @names.bind
    def daily_refresh(
        context: dg.ScheduleEvaluationContext, landing: dg.ResourceParam[LandingZone], store: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        if reason := paused(context.instance, names):
            return dg.SkipReason(reason)
        accepted, days = landing.accepted(), span(partitions)
        newest = newest_day(accepted, days)
        history = history_of(accepted, store.partitions(), marts, days, reach=reach)
        if newest is None or history.outdated:
            return dg.SkipReason("there are no days to build it from, or not all of them yet")
        if history.other_settings:
            return dg.SkipReason(f"{days_as_text(history.other_settings)}: made with other settings. {REBUILD}")
        if any(name.startswith(newest) for name in store.releases().list()):
            return dg.SkipReason(f"there is a release as of {newest}")
        return dg.RunRequest(
            run_key=f"daily:{accepted.id}:{accepted.generation}:{newest}", partition_key=newest, tags=tags
        )

    @dg.schedule(
        name=names("daily_experiments"),
        job=built[jobs.VALIDATE_EXPERIMENTS],
        cron_schedule="0 7 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Requests the validation of experiments on the newest day, where a model was not validated on it.",
    )
    @names.bind
    def daily_experiments(context: dg.ScheduleEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
        if reason := paused(context.instance, names):
            return dg.SkipReason(reason)
        stored = store.partitions()
        gated = stored.days("promotion")
        experiments = context.instance.get_dynamic_partitions(str(experiments_of(names).name))
        models = models_to_test(stored, experiments, gated[-1], settings.horizon_days) if gated else []
        due = unvalidated(stored, models, gated[-1]) if gated else []
        if not due:
            return dg.SkipReason("every experiment that has a model was validated on the newest day")
        contents = sha256_bytes(repr([model.input for model in models]).encode())[:16]
        return dg.RunRequest(run_key=f"validate:{gated[-1]}:{contents}", partition_key=gated[-1], tags=tags)

    return [daily_history, daily_refresh, daily_experiments]
