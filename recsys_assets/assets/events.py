"""Group events: what others put into the landing zone, cleaned by day. No row is lost."""

from datetime import timedelta

import dagster as dg

from recsys_assets.assets.builder import OWNERS, GraphBuilder
from recsys_assets.checks.partition import count, volume
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import CleanParams, clean_day, ingest_counts
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter, PartitionCheck
from recsys_assets.io_managers.partitions import Staged
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.partitions import PartitionStore

Result = dg.MaterializeResult[Staged]
_VOLUME_DAYS = 14


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Raw events as others write them, and what they become."""
    params = CleanParams(graph.dataset.session_gap_minutes)
    raw_events = dg.AssetSpec(
        "raw_events",
        group_name="events",
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
        advisory=("schema",),
        watched=True,
    )
    def clean_events(
        context: dg.AssetExecutionContext,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """Events of the day in canonical columns: exact duplicates removed, sessions named, each row's source kept."""
        for day in context.partition_keys:
            seen = {"files": landing.digests("events", day), "schema": landing.differences(day)}
            context.log_event(dg.AssetObservation("raw_events", partition=day, metadata=seen))
        return frames.write(
            context,
            "clean_events",
            lambda day: clean_day(landing.events(day), params),
            gates=[rows_add_up(context, landing), volume_gate(graph, store.partitions()), same_columns(landing)],
            params=lambda day: {"files": landing.digests("events", day), "session_gap": params.session_gap_minutes},
        )

    @graph.asset("events", deps=["raw_events"], grain="day")
    def rejected_events(
        context: dg.AssetExecutionContext, landing: dg.ResourceParam[LandingZone], frames: FrameWriter
    ) -> Result:
        """Rows that are no event, each with its reason, kept as they were."""
        return frames.write(
            context,
            "rejected_events",
            landing.rejected,
            params=lambda day: {"files": landing.digests("events", day)},
        )

    return [raw_events, clean_events, rejected_events]


def rows_add_up(context: dg.AssetExecutionContext, landing: LandingZone) -> PartitionCheck:
    """Per file of the day: rows read = clean + duplicates + rejected."""

    def check(day: str, clean: Frame) -> dg.AssetCheckResult:
        counts = ingest_counts(landing.events(day), clean, landing.rejected(day)).collect(backend="polars")
        files = counts.sort("source_file").rows(named=True)
        wrong = [one for one in files if one["rows"] != one["clean"] + one["duplicates"] + one["rejected"]]
        sums = {name: sum(one[name] for one in files) for name in ("rows", "clean", "duplicates", "rejected")}
        # Never read, so in none of the figures above; said so that a count of the landing file can be explained.
        sums["erased"] = landing.erased(day)
        context.add_asset_metadata(sums, asset_key="clean_events", partition_key=day)
        return dg.AssetCheckResult(
            check_name="rows_add_up",
            passed=not wrong,
            metadata={**sums, "files": len(files), "files_that_do_not_add_up": dg.MetadataValue.json(wrong)},
        )

    return check


def same_columns(landing: LandingZone) -> PartitionCheck:
    """Columns that files before did not have do no harm; somebody may want to know."""

    def check(day: str, _: Frame) -> dg.AssetCheckResult:
        found = landing.differences(day)
        return dg.AssetCheckResult(
            check_name="schema",
            passed=not found,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={file: "; ".join(changed) for file, changed in found.items()},
        )

    return check


def volume_gate(graph: GraphBuilder, partitions: PartitionStore) -> PartitionCheck:
    """Compare the day with those before it, whether stored earlier or built in this run."""
    built: dict[str, int] = {}

    def rows_of(day: str) -> int | None:
        record = None if day in built else partitions.read_lineage("clean_events", day)
        return record.rows if record else built.get(day)

    def check(day: str, clean: Frame) -> dg.AssetCheckResult:
        built[day] = count(clean)
        before = [(graph.day(day) - timedelta(days=n)).isoformat() for n in range(1, _VOLUME_DAYS + 1)]
        return volume(built[day], [rows for one in before if (rows := rows_of(one))])

    return check
