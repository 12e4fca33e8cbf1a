"""Group insight: what a person looks at to trust the data."""

from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.pictures import report
from recsys_assets.checks.partition import drifts
from recsys_assets.core.insight.charts import pictures
from recsys_assets.core.insight.counts import event_counts as count_events
from recsys_assets.core.insight.figures import Figures, ReportInputs, ReportParams, figures
from recsys_assets.core.insight.page import page
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import FILE_NAMES, Partitions, Staged
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.partitions import partition_key

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """What happened in the data, to look at."""
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
            "event_counts",
            lambda day: count_events(landing.events(day), clean_events.frame(day), rejected_events.frame(day)),
        )

    @graph.asset(
        "insight",
        reads={"event_counts": month, "user_activity": month, "bot_users": month},
        kinds=("html",),
        checks=(),
        advisory=("drift",),
    )
    def data_report(
        context: dg.AssetExecutionContext,
        event_counts: Partitions,
        user_activity: Partitions,
        bot_users: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """What arrived on the day and became of it, against the month before: pictures here, and a page on disk."""
        day = context.partition_key
        marts = ReportInputs(event_counts.frame(), user_activity.frame(), bot_users.frame())
        found = figures(marts, graph.day(day), params)
        return frames.write_bytes(
            context,
            "data_report",
            page(found),
            params={"days": params.days, "weights": dict(params.weights)},
            checks=[drifts(found["drift"])],
            metadata={
                **report(pictures(found)),
                "page": dg.MetadataValue.path(
                    store.open().uri(partition_key("data_report", day, FILE_NAMES["data_report"]))
                ),
                **key_figures(found),
                **event_counts.facts,
            },
        )

    return [event_counts, data_report]


def key_figures(found: Figures) -> dict[str, Any]:
    """Numbers whose course over the days the UI plots."""
    rows, volumes = found["rows"]["day"], found["volumes"]
    return {
        "events": rows["clean"],
        "duplicates": rows["duplicate"],
        "rejected": rows["rejected"],
        "users": volumes["users"][-1],
        "items": volumes["items"][-1],
        "bots": found["bots"]["by_day"][-1],
        **{f"psi_{name}": one["psi"] for name, one in found["drift"].items()},
    }
