"""What was materialized and what its checks found, as Dagster's event log knows it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
from prometheus_client.metrics_core import Metric

from recsys_assets.automation.event_log import EventLog
from recsys_assets.monitoring.collector import gauge
from recsys_assets.resources.naming import asset_name

Metadata = Mapping[str, dg.MetadataValue[Any]]
_OUTCOMES = ("clean", "duplicates", "rejected", "erased")
"""Where the rows of a day's files went, by the names that ``clean_events`` states them under."""


def asset_figures(log: EventLog, keys: Collection[dg.AssetKey]) -> Iterator[Metric]:
    """When each asset of the graph was last materialized for this store."""
    last = gauge("asset_materialized_timestamp_seconds", "When an asset was last materialized.", "asset")
    for record in log.instance.get_asset_records(list(keys)):
        entry = record.asset_entry
        made = entry.last_materialization_record
        if made is not None and log.is_ours(made.run_id):
            last.add_metric([asset_name(entry.asset_key)], made.timestamp)
    yield last


def check_figures(log: EventLog, keys: Sequence[dg.AssetCheckKey]) -> Iterator[Metric]:
    """The latest result of each check of the graph."""
    passed = gauge("check_passed", "Whether a check last passed (1) or failed (0).", "asset", "check", "severity")
    found = log.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    for key, record in sorted(found.items(), key=lambda entry: entry[0].to_user_string()):
        evaluated = record.event.dagster_event if record.event else None
        if record.status.value not in ("SUCCEEDED", "FAILED") or evaluated is None or not log.is_ours(record.run_id):
            continue
        result = evaluated.asset_check_evaluation_data
        passed.add_metric([asset_name(key.asset_key), key.name, result.severity.value.lower()], result.passed)
    yield passed


def event_figures(log: EventLog, clean_events: dg.AssetKey, days: Sequence[str]) -> Iterator[Metric]:
    """What became of the rows of the event files of some days.

    Args:
        log: knows what was written.
        clean_events: key of the asset.
        days: to look at.
    """
    events = gauge("event_rows", "Rows of the newest days' event files, by what became of them.", "day", "outcome")
    for day, metadata in sorted(_written(log, clean_events, days).items()):
        for outcome in _OUTCOMES:
            value = metadata.get(outcome)
            if value is not None and isinstance(value.value, int | float):
                events.add_metric([day, outcome], value.value)
    yield events


def _written(log: EventLog, key: dg.AssetKey, days: Sequence[str]) -> dict[str, Metadata]:
    """The metadata of the newest materialization of each day."""
    if not days:
        return {}
    asked = dg.AssetRecordsFilter(asset_key=key, asset_partitions=days)
    found: dict[str, Metadata] = {}
    for record in log.instance.fetch_materializations(asked, limit=20 * len(days)).records:
        written = record.asset_materialization
        day = record.partition_key
        if written is not None and day is not None and day not in found and log.is_ours(record.run_id):
            found[day] = written.metadata
    return found
