"""Whether the newest events and the newest release are recent: by the newest partition, so that no backfill hides it.

Dagster's freshness policies look at the last materialization of any partition.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from recsys_assets.assets.builder import CHECKS
from recsys_assets.automation.cursors import read_cursor, write_cursor
from recsys_assets.resources.naming import Names, asset_name
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.partition_store import PartitionStore

WATCHED = ("clean_events", "release")
NAME = "fresh"
SECONDS = 300


@dataclass(frozen=True)
class FreshnessCursor:
    """What the sensor said last, by asset, so that it reports changes only."""

    version: int = 1
    told: Mapping[str, str] = field(default_factory=dict[str, str])


def freshness_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """A check of each watched asset; it runs after each materialization, whatever the partition."""
    return [_check(Names.of(settings), asset, settings.fresh_hours) for asset in WATCHED]


def freshness_sensor(settings: Settings) -> dg.SensorDefinition:
    """Says when an asset that nobody materializes any more gets old. It starts nothing."""
    names = Names.of(settings)

    @dg.sensor(
        name=names("freshness_sensor"),
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Evaluates the checks 'fresh' while nothing is materialized. Starts nothing.",
    )
    @names.bind
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        told = read_cursor(FreshnessCursor, context.cursor).told
        results = {
            asset: judge(context.instance, store.partitions(), names.key(asset), settings.fresh_hours)
            for asset in WATCHED
        }
        now = {
            asset: f"{result.passed} {result.metadata['newest'].value}" for asset, result in results.items() if result
        }
        return dg.SensorResult(
            skip_reason=None,
            cursor=write_cursor(FreshnessCursor(told=now)),
            asset_events=[
                dg.AssetCheckEvaluation(
                    asset_key=names.key(asset),
                    check_name=NAME,
                    passed=result.passed,
                    severity=result.severity,
                    metadata=result.metadata,
                )
                for asset, result in results.items()
                if result and told.get(asset) != now[asset]
            ],
        )

    return sensor


def judge(
    instance: dg.DagsterInstance, stored: PartitionStore, asset: dg.AssetKey, hours: int, now: float | None = None
) -> dg.AssetCheckResult | None:
    """Whether the newest partition of an asset was written within some hours; None where there is no partition.

    Args:
        instance: whose event log says when.
        stored: the partitions of the store.
        asset: of ``clean_events``, days without events do not count.
        hours: how old the newest partition may be.
        now: seconds of Unix time; None for now.
    """
    days, of_events = instance.get_materialized_partitions(asset), asset_name(asset) == "clean_events"
    newest = next((day for day in sorted(days, reverse=True) if not of_events or _has_rows(stored, day)), None)
    if newest is None:
        return None
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[newest])
    written = instance.fetch_materializations(wanted, limit=1).records[0].timestamp
    age = ((time.time() if now is None else now) - written) / 3600
    return dg.AssetCheckResult(
        check_name=NAME,
        passed=age <= hours,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"newest": newest, "written": dg.MetadataValue.timestamp(written), "hours_allowed": hours},
    )


def _check(names: Names, asset: str, hours: int) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=names.key(asset), name=NAME, description=CHECKS[NAME])
    @names.bind
    def fresh(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
        result = judge(context.instance, store.partitions(), names.key(asset), hours)
        return result or dg.AssetCheckResult(passed=True, metadata={"newest": "no day was written yet"})

    return fresh


def _has_rows(stored: PartitionStore, day: str) -> bool:
    events = stored.read_lineage("clean_events", day)
    return events is not None and events.rows > 0
