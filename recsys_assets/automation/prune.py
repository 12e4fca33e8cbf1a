"""The job ``prune``: deletes what is old and nothing needs any more, and says what that freed.

- what steps of old runs logged; which partitions they wrote, and when, stays, since automation and the UI ask for it
- old releases, but never the served one, the one before it, or a newer one that waits for an approval
- releases that were never completed
- staged files that no longer count
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from recsys_assets.automation.event_storage import KeptSqliteEventLogStorage
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.objects import ObjectMeta, ObjectStore
from recsys_assets.storage.pointer import why_needed
from recsys_assets.storage.releases import Releases

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_IN_USE = timedelta(days=1)
"""What was written since may belong to a run that goes on."""
_SHOWN = 20


@dataclass(frozen=True)
class Old:
    """Something that can go.

    Attributes:
        kind: for people.
        name: of it.
        bytes: that it takes.
        delete: deletes it.
    """

    kind: str
    name: str
    bytes: int
    delete: Callable[[], None]


class PruneConfig(dg.Config):
    """By default nothing is deleted: the run says what would be."""

    dry_run: bool = True


def prune_job(settings: Settings) -> dg.JobDefinition:
    """The job of a graph."""

    # The pool keeps files from being staged meanwhile, and persons from being erased.
    def delete_old(context: dg.OpExecutionContext, config: PruneConfig, store: StoreResource) -> None:
        """Delete, or say what would be deleted, by kind."""
        opened, now = store.open(), time.time()
        old = [
            *old_logs(context.instance, now - settings.keep_logs_days * 86400),
            *old_releases(opened, settings.keep_releases, datetime.fromtimestamp(now, UTC)),
            *unused_staging(opened, datetime.fromtimestamp(now, UTC)),
        ]
        if not isinstance(context.instance.event_log_storage, KeptSqliteEventLogStorage):
            context.log.info("logs of runs are in a database of their own, which this job leaves alone")
        if not config.dry_run:
            for one in old:
                one.delete()
        context.add_output_metadata({"deleted": not config.dry_run, **described(old)})
        for line in lines(old, dry_run=config.dry_run):
            context.log.info(line)

    return Names.of(settings).job(
        "prune",
        delete_old,
        pool="landing",
        description="Delete old logs, releases and staged files that no longer count; never what is served or was "
        "served before. It only says what would go, unless ops.delete_old.config.dry_run is false.",
    )


def prune_schedule(job: dg.JobDefinition, names: Names) -> dg.ScheduleDefinition:
    """Prunes once a week; to be switched on in the UI."""
    return dg.ScheduleDefinition(
        name=names("weekly_prune"),
        job=job,
        cron_schedule="0 4 * * 0",
        run_config={"ops": {"delete_old": {"config": {"dry_run": False}}}},
        description="Deletes what is old once a week, after it was switched on.",
    )


def old_logs(instance: dg.DagsterInstance, before: float) -> list[Old]:
    """The logs of runs that ended before a time, where each run has a file of its own."""
    storage = instance.event_log_storage
    if not isinstance(storage, KeptSqliteEventLogStorage):
        return []
    filters = dg.RunsFilter(statuses=FINISHED, updated_before=datetime.fromtimestamp(before, UTC))
    sizes = {run.run_id: storage.size_of_logs(run.run_id) for run in instance.get_runs(filters)}

    def forget(run_id: str) -> Callable[[], None]:
        return lambda: storage.forget_logs(run_id)

    return [Old("logs of runs", run_id, size, forget(run_id)) for run_id, size in sizes.items() if size]


def old_releases(store: ObjectStore, keep: int, now: datetime) -> list[Old]:
    """Releases beyond the newest ``keep``, and those that were never completed."""
    releases, files = Releases(store), _by_folder(store.list("releases"), 1)
    current = releases.current()

    def delete(release: str) -> Callable[[], None]:
        return lambda: releases.delete(release)

    def old(kind: str, release: str) -> Old:
        return Old(kind, release, sum(file.size for file in files.get(release, [])), delete(release))

    unfinished = [name for name in releases.leftovers() if _is_old(files.get(name, []), now)]
    if current is None:
        return [old("releases never completed", name) for name in unfinished]
    beyond = [name for name in releases.list() if why_needed(name, current) is None]
    kept = max(0, keep - len(releases.list()) + len(beyond))
    gone = beyond[: len(beyond) - kept]
    return [old("releases", name) for name in gone] + [old("releases never completed", name) for name in unfinished]


def unused_staging(store: ObjectStore, now: datetime) -> list[Old]:
    """What was staged of files that do not count any more, in a form or content of before."""
    accepted = read_accepted(store)
    files = [*accepted.files.values(), *(waiting.file for waiting in accepted.shrunk.values())]
    used = {name for file in files for name in (file.digest, file.version)}
    if not used:
        return []
    folders = _by_folder([meta for meta in store.list("staging") if meta.key.count("/") > 1], 2)

    def delete(files: Iterable[ObjectMeta]) -> Callable[[], None]:
        def run() -> None:
            # The index first: without it, the rest is not taken for complete.
            for key in sorted((file.key for file in files), key=lambda key: not key.endswith("/index.json")):
                store.delete(key)

        return run

    return [
        Old("staged files", files[0].key.rsplit("/", 1)[0], sum(file.size for file in files), delete(files))
        for name, files in sorted(folders.items())
        if name.partition(".")[0] not in used and not files[0].key.startswith("staging/faults/") and _is_old(files, now)
    ]


def described(old: Iterable[Old]) -> dict[str, int]:
    """Number and bytes by kind, as metadata."""
    sums: dict[str, int] = {}
    for one in old:
        kind = one.kind.replace(" ", "_")
        sums[kind] = sums.get(kind, 0) + 1
        sums[f"{kind}_bytes"] = sums.get(f"{kind}_bytes", 0) + one.bytes
    return sums


def lines(old: list[Old], *, dry_run: bool) -> list[str]:
    """What the log says: a line for each kind, with the first names."""
    by_kind: dict[str, list[Old]] = {}
    for one in old:
        by_kind.setdefault(one.kind, []).append(one)
    done = "would be deleted" if dry_run else "deleted"
    return [
        f"{len(those)} {kind}, {sum(one.bytes for one in those) / 1e6:,.1f} MB, {done}: "
        + ", ".join(one.name for one in those[:_SHOWN])
        + (" …" if len(those) > _SHOWN else "")
        for kind, those in by_kind.items()
    ] or ["nothing is old"]


def _by_folder(files: Iterable[ObjectMeta], part: int) -> dict[str, list[ObjectMeta]]:
    """Files by a part of their key."""
    folders: dict[str, list[ObjectMeta]] = {}
    for file in files:
        folders.setdefault(file.key.split("/")[part], []).append(file)
    return folders


def _is_old(files: Iterable[ObjectMeta], now: datetime) -> bool:
    return all(now - file.modified > _IN_USE for file in files)
