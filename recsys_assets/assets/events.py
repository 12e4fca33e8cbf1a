"""Group events: the event files of the landing zone, cleaned by day. No row is lost."""

from datetime import timedelta
from typing import Any, Literal

import dagster as dg

from recsys_assets.assets.builder import OWNERS, GraphBuilder
from recsys_assets.checks.partition import count, volume
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import DUPLICATE_KEY, IMPRESSION_KEY, CleanParams, clean_day, ingest_counts
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter, PartitionCheck
from recsys_assets.io_managers.handles import Staged
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.partition_store import PartitionStore

Result = dg.MaterializeResult[Staged]
_VOLUME_DAYS = 14


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Raw events, and the clean and rejected events made of them."""
    params = CleanParams(graph.dataset.session_gap_minutes)
    raw_events = dg.AssetSpec(
        graph.names.key("raw_events"),
        group_name=graph.names("events"),
        description="Event files in the landing zone, written by others; observed, never changed.",
        partitions_def=graph.partitions,
        owners=OWNERS,
        kinds={"file"},
    )

    @graph.asset(
        "events",
        deps=["raw_events"],
        grain="day",
        kinds=("parquet", graph.settings.engine),
        checks=("contract", "rows_add_up", "volume"),
        advisory=("schema", "known_values"),
    )
    def clean_events(
        context: dg.AssetExecutionContext,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """Events of the day in canonical columns: exact duplicates removed, sessions named, each row's source kept."""
        for day in context.partition_keys:
            metadata = {"files": landing.digests("events", day), "schema": landing.differences(day)}
            context.log_event(dg.AssetObservation(graph.names.key("raw_events"), partition=day, metadata=metadata))
        return frames.write(
            context,
            lambda day: clean_day(landing.events(day), params),
            partition_checks=[
                rows_add_up(context, landing),
                volume_check(graph, store.partitions()),
                same_columns(landing),
                known_values(landing, "events"),
            ],
            params=lambda day: {"files": landing.digests("events", day), "session_gap": params.session_gap_minutes},
        )

    @graph.asset("events", deps=["raw_events"], grain="day")
    def rejected_events(
        context: dg.AssetExecutionContext, landing: dg.ResourceParam[LandingZone], frames: FrameWriter
    ) -> Result:
        """Rows that are no event, each with its reason, kept as they were."""
        return frames.write(
            context,
            landing.rejected,
            params=lambda day: {"files": landing.digests("events", day)},
        )

    return [raw_events, clean_events, rejected_events]


def rows_add_up(
    context: dg.AssetExecutionContext, landing: LandingZone, kind: Literal["events", "impressions"] = "events"
) -> PartitionCheck:
    """Per file of a kind and of the day: rows read = clean + duplicates + rejected."""
    read, key = {
        "events": (landing.events, DUPLICATE_KEY),
        "impressions": (landing.impressions, IMPRESSION_KEY),
    }[kind]

    def check(day: str, clean: Frame) -> dg.AssetCheckResult:
        files: list[dict[str, Any]] = []
        if landing.digests(kind, day):
            counts = ingest_counts(read(day), clean, landing.rejected(day, kind), key).collect(backend="polars")
            files = counts.sort("source_file").rows(named=True)
        wrong = [file for file in files if file["rows"] != file["clean"] + file["duplicates"] + file["rejected"]]
        sums = {name: sum(file[name] for file in files) for name in ("rows", "clean", "duplicates", "rejected")}
        # Erased rows are never read and in no figure above; they explain the difference to the rows of the file.
        sums["erased"] = landing.erased(day, kind)
        context.add_asset_metadata(sums, asset_key=context.asset_key, partition_key=day)
        return dg.AssetCheckResult(
            check_name="rows_add_up",
            passed=not wrong,
            metadata={**sums, "files": len(files), "files_that_do_not_add_up": dg.MetadataValue.json(wrong)},
        )

    return check


def same_columns(landing: LandingZone) -> PartitionCheck:
    """Warn of columns that earlier files did not have; they do no harm."""

    def check(day: str, _: Frame) -> dg.AssetCheckResult:
        differences = landing.differences(day)
        return dg.AssetCheckResult(
            check_name="schema",
            passed=not differences,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={file: "; ".join(changed) for file, changed in differences.items()},
        )

    return check


def known_values(landing: LandingZone, kind: Literal["events", "properties"]) -> PartitionCheck:
    """Warn of prices and availabilities that nobody mapped; they are null, and counted over the whole of each file."""

    def check(day: str, _: Frame) -> dg.AssetCheckResult:
        unknown = landing.unknown_values(kind, day)
        rows = sum(sum(values.values()) for columns in unknown.values() for values in columns.values())
        return dg.AssetCheckResult(
            check_name="known_values",
            passed=not unknown,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"rows": rows, **{file: dg.MetadataValue.json(columns) for file, columns in unknown.items()}},
        )

    return check


def volume_check(graph: GraphBuilder, partitions: PartitionStore) -> PartitionCheck:
    """Compare the day with those before it, whether stored earlier or built in this run."""
    built: dict[str, int] = {}

    def rows_of(day: str) -> int | None:
        record = None if day in built else partitions.read_lineage("clean_events", day)
        return record.rows if record else built.get(day)

    def check(day: str, clean: Frame) -> dg.AssetCheckResult:
        built[day] = count(clean)
        before = [(graph.day(day) - timedelta(days=n)).isoformat() for n in range(1, _VOLUME_DAYS + 1)]
        return volume(built[day], [rows for past in before if (rows := rows_of(past))])

    return check
