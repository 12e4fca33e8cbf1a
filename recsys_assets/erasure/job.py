"""The job ``erase_user``."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from recsys_assets.assets.recommendations_table import table_of
from recsys_assets.automation.event_storage import end_runs_of_dead_processes
from recsys_assets.automation.pause import ERASURE
from recsys_assets.automation.runs import MaterializeError
from recsys_assets.core.dataset import Dataset
from recsys_assets.erasure.erase import Eraser, ErasureError
from recsys_assets.erasure.person import Person
from recsys_assets.erasure.report import Erasure, report_key
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.suppression import parse_user, read_suppressed
from recsys_assets.jobs import AT_ONCE
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.erasure_requests import close_request
from recsys_assets.storage.recommendations_table import RecommendationsTable
from recsys_assets.storage.table_loads import TableError

Rebuild = Callable[[str, Sequence[str], Mapping[str, str]], None]
"""Materializes assets of a day again, in runs with the given tags; raises MaterializeError."""

JOB = ERASURE
POOL = "landing"
_OWN_RUNS = {"recsys/started_by": JOB}
_POLL_SECONDS = 2.0
_BUSY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class EraseUserConfig(dg.Config):
    """The user to erase, how long to wait for other runs, and the request that this answers, if one does."""

    user_id: str
    wait_minutes: float = 30.0
    request: str = ""
    requested_at: str = ""


def erase_job(
    settings: Settings, dataset: Dataset, rebuild_on: Callable[[dg.DagsterInstance], Rebuild]
) -> dg.JobDefinition:
    """The job for a data set; it starts further runs.

    Args:
        settings: name the graph, and the database that holds lists, if one does.
        dataset: defines the type of user ids.
        rebuild_on: returns the function that rebuilds assets in runs on an instance.
    """
    names, table = Names.of(settings), table_of(settings)

    # The pool keeps two erasures apart, and keeps files from being staged meanwhile.
    def erase(
        context: dg.OpExecutionContext,
        config: EraseUserConfig,
        landing: dg.ResourceParam[LandingZone],
        store: StoreResource,
    ) -> None:
        """Remove a person from everything stored, and rebuild what was made with the person's rows."""
        try:
            person = Person(parse_user(config.user_id, dataset.ids.user), dataset)
        except ValueError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        wait_for_other_runs(context, config.wait_minutes, names)
        if not landing.accepted().files:
            # Everything was built by hand so far, but the runs below read accepted files only.
            landing.accept(landing.changes(), context.log.info)
        landing.forget_served(person.id, context.log.info)
        rebuild = rebuild_on(context.instance)
        eraser = Eraser(
            store.open(),
            person,
            lambda day, assets: rebuild(day, assets, _OWN_RUNS),
            context.log.info,
            lambda: wait_for_other_runs(context, config.wait_minutes, names),
        )
        try:
            erasure = eraser.run()
            if table is not None:
                erase_from_table(table, store, person)
        except (MaterializeError, ErasureError, TableError) as error:
            raise dg.Failure(
                f"{error}; something of the person is left: erase_user goes on when it is started again",
                allow_retries=False,
            ) from error
        token = read_suppressed(store.open()).token(person.id)
        context.add_output_metadata(metadata_of(erasure, store.open().uri(report_key(token))))
        if config.request:
            close_request(store.open(), config.request, config.requested_at)
        context.log.info("erased" if erasure.rewritten or erasure.staged_rows else "nothing was found of this user")

    return names.job(
        JOB,
        erase,
        pool=POOL,
        out=dg.Out(dg.Nothing),
        tags=AT_ONCE,
        description="Remove a person from everything stored, and rebuild what was made with the person's rows. "
        "Config: ops.erase.config.user_id.",
    )


def erase_from_table(table: RecommendationsTable, store: StoreResource, person: Person) -> None:
    """Load what is served now, which has nothing of the person, and drop what was loaded before.

    Raises:
        ErasureError: rows of the person are left.
        TableError: the database cannot be reached or written to.
    """
    table.follow(store.releases())
    if rows := table.rows_of(person.id):
        raise ErasureError(f"{table.address}: {rows} rows of the person are left, since somebody reads them")


def wait_for_other_runs(context: dg.OpExecutionContext, minutes: float, names: Names) -> bool:
    """Wait for other runs, which may still store rows that they have read. Returns whether there were any.

    Raises:
        dagster.Failure: they did not end in time; names them.
    """
    deadline = time.monotonic() + minutes * 60
    waited = False
    end_runs_of_dead_processes(context.instance)
    while others := _others(context.instance, names):
        running = ", ".join(others)
        if time.monotonic() > deadline:
            raise dg.Failure(
                f"runs are in progress and may store rows of the person that they have read: {running}; "
                "start erase_user again when they have ended",
                allow_retries=False,
            )
        if not waited:
            context.log.info(f"waiting for runs in progress: {running}")
        waited = True
        time.sleep(_POLL_SECONDS)
        end_runs_of_dead_processes(context.instance)
    return waited


def _others(instance: dg.DagsterInstance, names: Names) -> list[str]:
    """Runs that an erasure waits for, for people."""
    # Who waits for the pool that the erasure holds has read nothing yet, and would be waited for in vain. The jobs of
    # the pool have one step.
    pool = instance.event_log_storage.get_concurrency_info(names(POOL))
    waiting = {step.run_id for step in pool.pending_steps if step.assigned_timestamp is None}
    return [
        f"{run.run_id} ({run.job_name})"
        for run in instance.get_runs(dg.RunsFilter(statuses=_BUSY))
        # Runs of a killed erasure do not count: this run finishes it, and the pool excludes a second live one.
        if run.job_name != names(JOB)
        and not _OWN_RUNS.items() <= run.tags.items()
        and not names.is_foreign(run)
        and run.run_id not in waiting
    ]


def metadata_of(erasure: Erasure, report: str) -> dict[str, dg.MetadataValue[Any]]:
    """The metadata that the UI shows for an erasure."""
    rows = [
        dg.TableRecord(
            {
                "asset": asset.asset,
                "partitions": asset.partitions,
                "rows before": asset.rows_before,
                "rows after": asset.rows_after,
            }
        )
        for asset in erasure.rewritten
    ]
    columns = [
        dg.TableColumn("asset"),
        *(dg.TableColumn(n, "int") for n in ("partitions", "rows before", "rows after")),
    ]
    return {
        "found": dg.MetadataValue.bool(bool(erasure.rewritten or erasure.staged_rows)),
        "staged_rows": dg.MetadataValue.int(erasure.staged_rows),
        "rewritten": dg.MetadataValue.table(rows, dg.TableSchema(columns)),
        "releases_deleted": dg.MetadataValue.json(list(erasure.releases_deleted)),
        "serving": dg.MetadataValue.text(erasure.serving or "nothing"),
        "report": dg.MetadataValue.path(report),
    }
