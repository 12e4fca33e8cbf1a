"""Shows in the UI which days were made with other settings than those of now; it starts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import CHECKS
from recsys_assets.automation.cursors import read_cursor, write_cursor
from recsys_assets.automation.rebuild import Looks, OtherSettings
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.objects import canonical_json, sha256_bytes
from recsys_assets.storage.partition_store import REBUILD, PartitionStore

CHECK = "settings_of_now"
_ASSET = "raw_events"
_SECONDS = 60


@dataclass(frozen=True)
class SettingsCursor:
    """What the sensor found last.

    Attributes:
        version: of this record.
        stated: hash of what was stated then.
        asset: of a partition that was made with other settings; empty if there was none.
        day: of that partition.
    """

    version: int = 1
    stated: str = ""
    asset: str = ""
    day: str = ""


def settings_check(looks: Looks) -> dg.AssetChecksDefinition:
    """The check, for who asks for it in the UI.

    Args:
        looks: find what is not current.
    """
    names = Names.of(looks.settings)

    @dg.asset_check(asset=names.key(_ASSET), name=CHECK, description=CHECKS[CHECK])
    @names.bind
    def settings_of_now(landing: dg.ResourceParam[LandingZone], store: StoreResource) -> dg.AssetCheckResult:
        other = _look(looks, landing, store.partitions())
        return dg.AssetCheckResult(passed=not other, severity=dg.AssetCheckSeverity.WARN, metadata=_metadata(other))

    return settings_of_now


def settings_sensor(looks: Looks) -> dg.SensorDefinition:
    """The sensor that evaluates the check when something else is stated, and again when days were rebuilt.

    A look reads the records of all days. In between, a tick reads one record, or none where all is as stated.

    Args:
        looks: find what is not current.
    """
    names = Names.of(looks.settings)

    @dg.sensor(
        name=names("settings_sensor"),
        minimum_interval_seconds=_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says which days were made with other settings than those of now; the job `rebuild` is up to you.",
    )
    @names.bind
    def sensor(
        context: dg.SensorEvaluationContext, landing: dg.ResourceParam[LandingZone], store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        partitions, cursor = store.partitions(), read_cursor(SettingsCursor, context.cursor)
        if partitions.statements is None:
            return dg.SkipReason("the store is not told what is stated")
        stated = sha256_bytes(canonical_json(partitions.statements.now.document()))
        if cursor.stated == stated:
            if not cursor.asset:
                return dg.SkipReason("all days are made with the settings of now")
            record = partitions.read_lineage(cursor.asset, cursor.day)
            if record and partitions.changes(record):
                return dg.SkipReason(f"days are made with other settings; see the check {CHECK} of {_ASSET}. {REBUILD}")
        other = _look(looks, landing, partitions)
        first = next((record for of in (*other.history.values(), *other.examples.values()) for record in of), None)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=names.key(_ASSET),
            check_name=CHECK,
            passed=not other,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=_metadata(other),
        )
        found = SettingsCursor(stated=stated, asset=first.asset if first else "", day=first.day if first else "")
        return dg.SensorResult(asset_events=[evaluation], cursor=write_cursor(found))

    return sensor


def _look(looks: Looks, landing: LandingZone, partitions: PartitionStore) -> OtherSettings:
    accepted = landing.accepted()
    return looks.other_settings(accepted, partitions, looks.history(accepted, partitions))


def _metadata(other: OtherSettings) -> Mapping[str, Any]:
    """What the UI shows: each change, how many days it concerns, and what to do."""
    if not other:
        return {"days": 0}
    changes = [dg.TableRecord({"what": c.name, "then": c.old, "now": c.new}) for c in other.changes]
    columns = [dg.TableColumn(name) for name in ("what", "then", "now")]
    return {
        "days": len(other.history),
        "as_of_days": len(other.examples),
        "changes": dg.MetadataValue.table(changes, schema=dg.TableSchema(columns)),
        "rebuild": f"{other}. {REBUILD}",
    }
