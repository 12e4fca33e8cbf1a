"""Sends every materialization as OpenLineage events; it fails no run and loses none."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.automation.cursors import read_cursor, write_cursor
from recsys_assets.automation.dead_runs import UNFINISHED
from recsys_assets.automation.event_log import EventLog
from recsys_assets.automation.lineage_events import Made, events_of
from recsys_assets.resources.lineage_sink import LineageSink, NotSentError, RefusedError, sink_of
from recsys_assets.resources.naming import asset_name
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.partition_store import PartitionStore

SECONDS = 30
_AT_ONCE = 200
_TICK_SECONDS = 30.0
"""After which the rest waits for the next tick."""


@dataclass(frozen=True)
class SentCursor:
    """What was sent: the last event of each asset by its id in the event log, and counts since the beginning."""

    version: int = 1
    last: dict[str, int] = field(default_factory=dict[str, int])
    sent: int = 0
    refused: int = 0
    failed_ticks: int = 0


def openlineage_sensor(graph: GraphBuilder) -> list[dg.SensorDefinition]:
    """The sensor of a graph; none where no destination is stated."""
    sink = sink_of(graph.settings)
    if sink is None:
        return []

    @dg.sensor(
        name=graph.names("openlineage_sensor"),
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends each materialization as OpenLineage events once its run has ended. Starts nothing.",
    )
    @graph.names.bind
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        repository = context.repository_def
        if repository is None:
            raise dg.Failure("the sensor has no repository to find assets in")
        cursor = read_cursor(SentCursor, context.cursor)
        outbox = Outbox(graph, context.instance, store.partitions(), repository.asset_graph)
        cursor, problem = deliver(sink, outbox, cursor, context.log.warning)
        told = f"{cursor.sent} materializations sent so far, {cursor.refused} refused"
        return dg.SensorResult(
            skip_reason=f"{told}; the rest waits: {problem}" if problem else told, cursor=write_cursor(cursor)
        )

    return [sensor]


def deliver(
    sink: LineageSink, outbox: "Outbox", cursor: SentCursor, warn: Callable[[str], None]
) -> tuple[SentCursor, str | None]:
    """Send what was not sent yet, in order, up to the first that the destination cannot take now.

    Returns:
        What is sent, and what went wrong; the same materialization comes first in the next tick then.
    """
    deadline = time.monotonic() + _TICK_SECONDS
    for storage_id, made in outbox.waiting(cursor):
        if time.monotonic() > deadline:
            break
        try:
            sink.send(events_of(made))
            cursor = replace(cursor, sent=cursor.sent + 1)
        except RefusedError as error:
            warn(f"OpenLineage events of {made.asset} {made.day or ''} are refused and left out: {error}")
            cursor = replace(cursor, refused=cursor.refused + 1)
        except NotSentError as error:
            cursor = replace(cursor, failed_ticks=cursor.failed_ticks + 1)
            warn(f"OpenLineage events wait, {cursor.failed_ticks} ticks failed so far: {error}")
            return cursor, str(error)
        cursor = replace(cursor, last={**cursor.last, made.asset: storage_id})
    return cursor, None


@dataclass
class Outbox:
    """Materializations of the event log, as they are told.

    Attributes:
        graph: the assets' days and names.
        instance: whose event log.
        partitions: of the store.
        assets: with columns and dependencies.
    """

    graph: GraphBuilder
    instance: dg.DagsterInstance
    partitions: PartitionStore
    assets: Any
    _runs: dict[str, dg.DagsterRun | None] = field(default_factory=dict[str, "dg.DagsterRun | None"])
    _checks: dict[str, list[dg.AssetCheckEvaluation]] = field(default_factory=dict[str, list[dg.AssetCheckEvaluation]])

    def waiting(self, cursor: SentCursor) -> Iterator[tuple[int, Made]]:
        """What was not sent yet and whose run has ended, in the order of the event log, a limited number."""
        log = EventLog(self.instance, self.graph.settings.storage_uri)
        found: list[dg.EventLogRecord] = []
        for key in sorted(filter(self.graph.names.is_ours, self.assets.get_all_asset_keys())):
            wanted = dg.AssetRecordsFilter(asset_key=key, after_storage_id=cursor.last.get(asset_name(key), 0))
            records = self.instance.fetch_materializations(wanted, limit=_AT_ONCE, ascending=True).records
            # An event of a run that goes on, and those after it, wait for what its checks find.
            found += takewhile(lambda record: self._has_ended(record.run_id), records)
        for record in sorted(found, key=lambda record: record.storage_id)[:_AT_ONCE]:
            if log.is_ours(record.run_id) and record.asset_materialization is not None:
                yield record.storage_id, self._made(record, record.asset_materialization)

    def _has_ended(self, run_id: str) -> bool:
        run = self._run(run_id)
        return run is None or run.status not in UNFINISHED

    def _run(self, run_id: str) -> dg.DagsterRun | None:
        if run_id not in self._runs:
            self._runs[run_id] = self.instance.get_run_by_id(run_id)
        return self._runs[run_id]

    def _made(self, record: dg.EventLogRecord, event: dg.AssetMaterialization) -> Made:
        asset, day = asset_name(event.asset_key), event.partition
        node, run = self.assets.get(event.asset_key), self._run(record.run_id)
        lineage = self.partitions.read_lineage(asset, day) if day else None
        schema = node.metadata.get("dagster/column_schema")
        stats = self.instance.get_run_stats(record.run_id) if run else None
        return Made(
            namespace=self.graph.settings.storage_uri,
            asset=asset,
            day=day,
            nominal=self._nominal(event.asset_key, day),
            run_id=record.run_id,
            job=run.job_name if run else "unknown",
            started=(stats.start_time if stats else None) or record.timestamp,
            ended=record.timestamp,
            inputs=[asset_name(parent) for parent in sorted(node.parent_keys)],
            columns=[(column.name, column.type, column.description) for column in schema.columns] if schema else (),
            version=(event.tags or {}).get("dagster/data_version"),
            lineage=lineage if lineage and lineage.run_id == record.run_id else None,
            checks=[
                check
                for check in self._checks_of(record.run_id)
                if check.asset_key == event.asset_key and check.partition in (None, day)
            ],
        )

    def _nominal(self, key: dg.AssetKey, day: str | None) -> tuple[datetime, datetime] | None:
        if day is None or self.assets.get(key).partitions_def != self.graph.partitions:
            return None
        end = self.graph.end(day)
        return end - timedelta(days=1), end

    def _checks_of(self, run_id: str) -> list[dg.AssetCheckEvaluation]:
        if run_id not in self._checks:
            found = self.instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            events = [record.event_log_entry.dagster_event for record in found.records]
            self._checks[run_id] = [event.asset_check_evaluation_data for event in events if event]
        return self._checks[run_id]
