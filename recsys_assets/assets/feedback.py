"""Group feedback: what was shown by the API, and what followed from it."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.activity import event_weights
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import chart_metadata
from recsys_assets.assets.events import rows_add_up
from recsys_assets.core.activity.feedback import AttributionParams, attribute
from recsys_assets.core.contracts import ATTRIBUTION, IMPRESSIONS
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import clean_impressions
from recsys_assets.core.insight.feedback import FeedbackParams, feedback
from recsys_assets.core.insight.feedback_page import HEAD, MOST_GROUPS, feedback_charts, feedback_page, group_rows
from recsys_assets.core.insight.figures import Figures
from recsys_assets.ingest.landing import LandingZone
from recsys_assets.io_managers.frame_writer import FrameWriter, partition_uri
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Impressions, the events that follow from them, and the report on both."""
    settings = graph.settings
    params = AttributionParams(settings.attribution_hours, sorted(event_weights(graph.dataset).targets))

    @graph.asset("feedback", grain="day", checks=("contract", "rows_add_up"))
    def impressions(
        context: dg.AssetExecutionContext, landing: dg.ResourceParam[LandingZone], frames: FrameWriter
    ) -> Result:
        """What was shown to whom on the day, and what of it was disliked, as posted to the API; duplicates removed."""

        def shown(day: str) -> Frame | pa.Table:
            # Where nothing was served, and that is most days of most data sets, no engine has anything to do.
            served = landing.digests("impressions", day)
            return (
                clean_impressions(landing.impressions(day)) if served else frames.schema_of(IMPRESSIONS).empty_table()
            )

        return frames.write(
            context,
            shown,
            partition_checks=[rows_add_up(context, landing, "impressions")],
            params=lambda day: {"files": landing.digests("impressions", day)},
        )

    @graph.asset("feedback", reads={"impressions": window(params.days + 1), "clean_events": None}, grain="day")
    def attribution(
        context: dg.AssetExecutionContext,
        impressions: Partitions,
        clean_events: Partitions,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
    ) -> Result:
        """Events of the day by users to whom something was shown, each with the impression that it follows from."""

        def attributed(day: str) -> Frame | pa.Table:
            days = [(graph.day(day) - timedelta(days=n)).isoformat() for n in range(params.days + 1)]
            if not any(landing.digests("impressions", shown) for shown in days):
                return frames.schema_of(ATTRIBUTION).empty_table()
            return attribute(clean_events.frame(day), landing.answers(day), impressions.frame(*days), params)

        return frames.write(
            context,
            attributed,
            days_read={"impressions": params.days + 1},
            params=lambda day: {
                "files": landing.digests("events", day),
                "hours": params.hours,
                "targets": list(params.targets),
            },
        )

    trailing = window(settings.report_days + params.days)
    report = FeedbackParams(settings.report_days, params.hours, params.days)

    @graph.asset(
        "feedback",
        reads={"impressions": trailing, "attribution": trailing},
        kinds=("html",),
        checks=(),
        file="report.html",
    )
    def feedback_report(
        context: dg.AssetExecutionContext,
        impressions: Partitions,
        attribution: Partitions,
        landing: dg.ResourceParam[LandingZone],
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """What followed from what was shown: clicks and targets by placement, source, release and position."""
        day, persist = graph.day(context.partition_key), frames.run.persist
        found = feedback(impressions.frame(), attribution.frame(), day, report, persist)
        charts = feedback_charts(found)
        return frames.write_bytes(
            context,
            feedback_page(found, graph.dataset.name, charts),
            params=asdict(report),
            metadata={
                **chart_metadata(charts),
                "groups": groups_table(found),
                "page": dg.MetadataValue.path(partition_uri(context, store)),
                **key_figures(found),
                # Impressions of other days than those of the data set are in no partition.
                "rejected": dg.MetadataValue.json(landing.served_rejections("impressions")),
            },
        )

    return [impressions, attribution, feedback_report]


def groups_table(figures: Figures) -> dg.TableMetadataValue:
    """The table of placements, sources and releases."""
    records = [dg.TableRecord(dict(zip(HEAD, row, strict=True))) for row in group_rows(figures)[:MOST_GROUPS]]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name, "string") for name in HEAD]))


def key_figures(figures: Figures) -> dict[str, Any]:
    """Numbers that the UI plots over the days."""
    every = figures["all"] or {"impressions": 0, "clicked": 0}
    names = ("impressions", "clicked", "click_through_rate", "precision", "recall")
    return {
        **{name: every[name] for name in names if every.get(name) is not None},
        **{f"attributed_by_{name}": count for name, count in sorted(figures["attributed_by"].items())},
        **{name: figures[name] for name in ("targets", "dislikes", "not_final")},
    }
