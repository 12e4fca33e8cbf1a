"""Group insight: counts and report of each day, by which a person judges the data."""

from collections.abc import Collection
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import chart_metadata
from recsys_assets.checks.partition import drifts
from recsys_assets.core.insight.counts import event_counts as count_events
from recsys_assets.core.insight.data_charts import data_charts
from recsys_assets.core.insight.data_page import data_page
from recsys_assets.core.insight.figures import Figures, ReportInputs, ReportParams, figures
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.ingest.file_rows import file_rows, summed
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter, partition_uri
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import span, window
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.objects import ObjectStore

Result = dg.MaterializeResult[Staged]

_FILES_SHOWN = 50
_FILE_COLUMNS = (
    "file",
    "read",
    "clean",
    "duplicates",
    "rejected",
    "why rejected",
    "outside the dates of the graph",
    "held",
    "not built yet",
)


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Event counts, and the report on them."""
    params = ReportParams(
        graph.dataset.name,
        {name: event.weight for name, event in graph.dataset.event_types.items()},
        graph.settings.report_days,
    )
    month = window(params.days)

    @graph.asset("insight", reads={"clean_events": None, "rejected_events": None}, deps=["raw_events"], grain="day")
    def event_counts(
        context: dg.AssetExecutionContext,
        clean_events: Partitions,
        rejected_events: Partitions,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
    ) -> Result:
        """Rows of the day by file and by what became of them: event type and hour, duplicate, or why rejected."""
        return frames.write(
            context,
            lambda day: count_events(landing.events(day), clean_events.frame(day), rejected_events.frame(day)),
        )

    @graph.asset(
        "insight",
        reads={"event_counts": month, "user_activity": month, "bot_users": month},
        kinds=("html",),
        checks=(),
        advisory=("drift",),
        file="report.html",
    )
    def data_report(
        context: dg.AssetExecutionContext,
        event_counts: Partitions,
        user_activity: Partitions,
        bot_users: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """What arrived on the day and what became of it, against the month before: charts here, and a page on disk."""
        day = context.partition_key
        marts = ReportInputs(event_counts.frame(), user_activity.frame(), bot_users.frame())
        report = figures(marts, graph.day(day), params)
        charts = data_charts(report)
        return frames.write_bytes(
            context,
            data_page(report, charts),
            params={"days": params.days, "weights": dict(params.weights)},
            checks=[drifts(report["drift"])],
            metadata={
                **chart_metadata(charts),
                "page": dg.MetadataValue.path(partition_uri(context, store)),
                **key_figures(report),
                "files": files_table(store.open(), span(graph.partitions), event_counts.days),
                **event_counts.facts,
            },
        )

    return [event_counts, data_report]


def files_table(store: ObjectStore, days: tuple[str, str], reported: Collection[str]) -> dg.TableMetadataValue:
    """One line for each event file with rows on the days of the report: what became of its rows, on all days."""
    accepted = read_accepted(store)
    names = [name for name, file in accepted.files.items() if not set(reported).isdisjoint(file.days)]
    records = [
        dg.TableRecord(
            {
                "file": rows.name,
                "read": rows.read,
                "clean": rows.clean,
                "duplicates": rows.duplicates,
                "rejected": rows.rejected.total(),
                "why rejected": ", ".join(f"{reason}: {n:,}" for reason, n in sorted(rows.rejected.items())),
                "outside the dates of the graph": rows.outside,
                "held": rows.held,
                "not built yet": rows.unbuilt,
            }
        )
        for rows in summed(file_rows(store, accepted, names, days), _FILES_SHOWN)
    ]
    texts = ("file", "why rejected")
    columns = [dg.TableColumn(name, "string" if name in texts else "int") for name in _FILE_COLUMNS]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def key_figures(report: Figures) -> dict[str, Any]:
    """Numbers that the UI plots over the days."""
    rows, volumes = report["rows"]["day"], report["volumes"]
    return {
        "events": rows["clean"],
        "duplicates": rows["duplicate"],
        "rejected": rows["rejected"],
        "users": volumes["users"][-1],
        "items": volumes["items"][-1],
        "bots": report["bots"]["by_day"][-1],
        **{f"psi_{name}": drift["psi"] for name, drift in report["drift"].items()},
    }
