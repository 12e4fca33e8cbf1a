"""Runs, the queue, backfills and daemons, as Dagster's instance knows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from recsys_assets.automation.event_log import is_of_store
from recsys_assets.monitoring.collector import gauge

DAYS = 7
MOST_RUNS = 1000
"""Newest runs that are looked at: a sensor may start one every few seconds."""
_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def run_figures(instance: dg.DagsterInstance, store: str, now: datetime) -> Iterator[Metric]:
    """Runs of the last days by job and status, when and how long they last ran, and what waits.

    Args:
        instance: whose runs.
        store: address of the store; runs of others do not count.
        now: the end of the last days.
    """
    recent = dg.RunsFilter(updated_after=now - timedelta(days=DAYS))
    records = _ours(instance.get_run_records(recent, limit=MOST_RUNS), store)
    yield from _counted(records)
    yield from _last(records)
    yield from _queue(_ours(instance.get_run_records(dg.RunsFilter(statuses=_WAITING), limit=MOST_RUNS), store), now)


def backfill_figures(instance: dg.DagsterInstance, now: datetime) -> Iterator[Metric]:
    """Backfills of the last days by status, those that still run among them."""
    backfills = gauge("backfills", f"Backfills of the last {DAYS} days.", "status")
    asked = BulkActionsFilter(created_after=now - timedelta(days=DAYS))
    found = instance.get_backfills(filters=asked, limit=MOST_RUNS)
    counts = Counter({(status.value.lower(),): 0 for status in BulkActionStatus})
    counts.update((backfill.status.value.lower(),) for backfill in found)
    _add_counts(backfills, counts)
    yield backfills


def daemon_figures(instance: dg.DagsterInstance) -> Iterator[Metric]:
    """When each daemon was last alive."""
    beats = gauge("daemon_heartbeat_timestamp_seconds", "When a daemon of Dagster was last alive.", "daemon")
    for daemon, status in sorted(instance.get_daemon_statuses().items()):
        if status.required and status.last_heartbeat:
            beats.add_metric([daemon.lower()], status.last_heartbeat.timestamp)
    yield beats


def _ours(records: Sequence[dg.RunRecord], store: str) -> list[dg.RunRecord]:
    return [record for record in records if is_of_store(record.dagster_run, store)]


def _counted(records: Sequence[dg.RunRecord]) -> Iterator[Metric]:
    runs = gauge("runs", f"Runs of the last {DAYS} days, of the newest {MOST_RUNS:,}.", "dagster_job", "status")
    _add_counts(runs, Counter((r.dagster_run.job_name, r.dagster_run.status.value.lower()) for r in records))
    yield runs


def _last(records: Sequence[dg.RunRecord]) -> Iterator[Metric]:
    ended = gauge("last_run_timestamp_seconds", "When a run last ended, by how it ended.", "dagster_job", "status")
    took = gauge("last_run_duration_seconds", "How long the last run took, by how it ended.", "dagster_job", "status")
    newest: dict[tuple[str, str], dg.RunRecord] = {}
    for record in records:
        run = record.dagster_run
        if run.status in _ENDED and record.end_time is not None:
            key = (run.job_name, run.status.value.lower())
            known = newest.get(key)
            if known is None or (known.end_time or 0) < record.end_time:
                newest[key] = record
    for key, record in sorted(newest.items()):
        end = record.end_time or 0.0
        ended.add_metric(key, end)
        if record.start_time is not None:
            took.add_metric(key, end - record.start_time)
    yield ended
    yield took


def _queue(waiting: Sequence[dg.RunRecord], now: datetime) -> Iterator[Metric]:
    queued = gauge("queued_runs", "Runs that wait to start.")
    oldest = gauge("queue_oldest_seconds", "How long the run that waits longest has waited; 0: none waits.")
    since = [record.create_timestamp.replace(tzinfo=UTC) for record in waiting]
    queued.add_metric([], len(since))
    oldest.add_metric([], max(0.0, (now - min(since)).total_seconds()) if since else 0.0)
    yield queued
    yield oldest


def _add_counts(family: GaugeMetricFamily, counts: Mapping[tuple[str, ...], int]) -> None:
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
