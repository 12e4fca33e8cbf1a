"""Loads the tables in PostgreSQL whenever another release is served, however the pointer was moved."""

import time
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from recsys_assets.assets.recommendations_table import TABLE, follows, table_of
from recsys_assets.automation.cursors import read_cursor, write_cursor
from recsys_assets.automation.pause import paused
from recsys_assets.jobs import AT_ONCE
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings

_JOB = "load_table"
SECONDS = 15
AGAIN_SECONDS = 600
"""After how long a load that has failed is started again."""


@dataclass(frozen=True)
class TableCursor:
    """What the sensor said last of the check, so that it reports changes only."""

    version: int = 1
    told: str = ""


def table_job(settings: Settings) -> "list[UnresolvedAssetJobDefinition]":
    """The job that loads; none where no database is stated."""
    if table_of(settings) is None:
        return []
    names = Names.of(settings)
    job = dg.define_asset_job(
        names(_JOB),
        selection=names.assets(TABLE),
        description="Load the lists of the served release into PostgreSQL; nothing to do where they are there.",
        # A rollback is not done as long as the tables show what was rolled back. Nor do its runs name the store, by
        # which automation is limited: they take the places that are kept for what cannot wait.
        tags=AT_ONCE,
    )
    return [job]


def table_sensor(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensor that starts the job; none where no database is stated."""
    table = table_of(settings)
    if table is None:
        return []

    names = Names.of(settings)

    @dg.sensor(
        name=names("table_sensor"),
        job_name=names(_JOB),
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Loads the tables in PostgreSQL when another release is served, and says when they are behind.",
    )
    @names.bind
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
        if reason := paused(context.instance, names):
            return dg.SkipReason(reason)
        served = store.releases().current()
        if served is None:
            return dg.SkipReason("nothing is served yet")
        loaded = table.loaded()
        shown = loaded.release_id if loaded else None
        result = follows(names, shown, served.release_id)
        now = f"{result.passed} {shown} {served.release_id}"
        told = read_cursor(TableCursor, context.cursor).told
        request = dg.RunRequest(
            job_name=names(_JOB),
            # A rollback and back again are moves of their own; a load that has failed is tried again later.
            run_key=f"{served.generation}:{served.release_id}:{shown}:{int(time.time() // AGAIN_SECONDS)}",
        )
        return dg.SensorResult(
            run_requests=[] if result.passed else [request],
            skip_reason=f"{served.release_id} is loaded" if result.passed else None,
            cursor=write_cursor(TableCursor(told=now)),
            asset_events=[
                dg.AssetCheckEvaluation(
                    asset_key=names.key(TABLE),
                    check_name=result.check_name or "",
                    passed=result.passed,
                    metadata=dict(result.metadata or {}),
                )
            ]
            if now != told
            else [],
        )

    return [sensor]
