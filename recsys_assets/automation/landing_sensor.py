"""The landing sensor: requests runs for the days of new, changed and deleted files in the landing zone."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice

import dagster as dg
import orjson

from recsys_assets import jobs
from recsys_assets.automation.cursors import read_cursor, write_cursor
from recsys_assets.automation.dead_runs import UNFINISHED
from recsys_assets.automation.event_log import store_tag
from recsys_assets.automation.pause import paused
from recsys_assets.automation.staleness import history_tags, outdated_days, ranges
from recsys_assets.core.activity.feedback import days_reached
from recsys_assets.ingest.accepted import Accepted
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.ingest.quarantine import MOST_NAMED, sentence, waiting
from recsys_assets.partitions import span
from recsys_assets.resources.landing import ACCEPTED_ONLY
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings

_HASHED_BYTES = 64 << 20
"""Bytes of touched files that a tick reads itself; larger ones are left to the run that stages files."""


@dataclass(frozen=True)
class LandingCursor:
    """The state of the sensor between two ticks. It may be lost, since lineage records which days are built.

    Attributes:
        version: of this record.
        id: the line of generations that it refers to; see :class:`Accepted`.
        lines: number of such lines so far: a store that was emptied may get the same files again.
        generation: all days that changed up to this one were requested …
        until: … if they are not later than this day, the last one of the graph then.
        retry_queue: days that were requested last. Those that a check stopped are requested again with the next change,
            which may have repaired them: one faulty day stops a run over several days.
        seen: files that differ from what was accepted, with the digest of their name, size and fingerprint in the last
            tick (empty: deleted). A file counts as complete when two ticks in a row see the same digest.
    """

    version: int = 1
    id: str = ""
    lines: int = 0
    generation: int = 0
    until: str = ""
    retry_queue: tuple[str, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict[str, str])


def landing_sensor(
    partitions: dg.DailyPartitionsDefinition, settings: Settings, marts: Sequence[str], built: Mapping[str, jobs.Job]
) -> dg.SensorDefinition:
    """The sensor of a graph.

    It works in two steps, each in a tick of its own, because reading a file may take minutes and a tick must not. First
    the job ``stage_landing`` reads new files that have stopped growing. Then ``history`` builds the days that changed.

    Args:
        partitions: the days of the graph.
        settings: where its store is, and how often to look.
        marts: names of its marts.
        built: its jobs.
    """
    names = Names.of(settings)
    tags, reach = {**ACCEPTED_ONLY, **store_tag(settings.storage_uri)}, days_reached(settings.attribution_hours)

    @dg.sensor(
        name=names("landing_sensor"),
        jobs=[built[jobs.STAGE_LANDING], built[jobs.HISTORY]],
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests the days that new, changed and deleted files of the landing zone touch.",
    )
    @names.bind
    def sensor(
        context: dg.SensorEvaluationContext, landing: dg.ResourceParam[LandingZone], store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        if reason := paused(context.instance, names):
            return dg.SkipReason(reason)
        accepted, cursor = landing.accepted(), read_cursor(LandingCursor, context.cursor)
        if cursor.id != accepted.id:
            cursor = LandingCursor(id=accepted.id, lines=cursor.lines + 1, seen=cursor.seen)
        days = span(partitions)
        retry_queue = cursor.retry_queue if accepted.generation > cursor.generation else ()
        outdated = outdated_days(
            accepted, store.partitions(), marts, days, cursor.generation, cursor.until, retry_queue, reach=reach
        )
        requests = [
            dg.RunRequest(
                run_key=f"history:{accepted.id}:{accepted.generation}:{first}:{last}",
                job_name=names(jobs.HISTORY),
                tags={**history_tags(first, last), **tags},
            )
            for first, last in ranges(outdated, accepted.changed)
        ]
        now, whole = _changes(landing, cursor.seen)
        waits = [f"{name}: not whole yet" for name in now if name not in whole]
        waits += [f"{name} waits for a person: {why}" for name, why in islice(waiting(accepted).items(), MOST_NAMED)]
        if landing.skipped:
            waits.append(f"{len(landing.skipped):,} skipped: {sentence(landing.skipped)}")
        if whole and (running := _unfinished(context.instance, names(jobs.STAGE_LANDING))):
            waits.append(f"run {running} is still reading files")
        elif whole:
            requests.append(
                dg.RunRequest(
                    run_key=_stage_key(accepted, cursor.lines, whole),
                    tags=tags,
                    job_name=names(jobs.STAGE_LANDING),
                    run_config=dg.RunConfig(ops={"accept_files": jobs.Changes(files=whole)}),
                )
            )
        if outdated or retry_queue:
            cursor = replace(cursor, retry_queue=tuple(outdated))
        cursor = replace(cursor, generation=accepted.generation, until=days[1], seen=now)
        context.update_cursor(write_cursor(cursor))
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SkipReason("; ".join(waits) or "nothing is new in the landing zone")

    return sensor


def _changes(landing: LandingZone, seen: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The digest of each file that changed in the landing zone, and of those among them that are complete.

    A file that was touched or copied, and is equal to an accepted one, is accepted at once: it is worth no run.
    """
    changes = landing.changes()
    now = {name: file.digest if file else "" for name, file in changes.items()}
    whole = {name: digest for name, digest in now.items() if seen.get(name) == digest}
    equal = landing.accept_equal({name: changes[name] for name in whole}, _HASHED_BYTES)
    left = [name for name in now if name not in equal]
    return {name: now[name] for name in left}, {name: whole[name] for name in left if name in whole}


def _stage_key(accepted: Accepted, line: int, whole: Mapping[str, str]) -> str:
    """Run key of a request to read files: the same files after the same history are read at most once a day.

    They are requested again on the next day, since the network may have stopped the run. A file at fault is set aside
    and not read again until it changes.
    """
    files = hashlib.sha256(orjson.dumps(whole, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return f"stage:{line}:{accepted.id}:{accepted.generation}:{files}:{datetime.now(UTC).date()}"


def _unfinished(instance: dg.DagsterInstance, job: str) -> str | None:
    """Id of the run of the job that is reading files now; None if there is none."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(UNFINISHED)), limit=1)
    return runs[0].run_id if runs else None
