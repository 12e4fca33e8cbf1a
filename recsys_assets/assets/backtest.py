"""Group insight: what a backfill of as-of days was worth."""

from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import chart_metadata
from recsys_assets.assets.promotion import stored_promotion
from recsys_assets.core.insight.backtest import BacktestInputs, BacktestParams
from recsys_assets.core.insight.backtest import backtest as backtest_figures
from recsys_assets.core.insight.backtest_charts import backtest_charts
from recsys_assets.core.insight.backtest_page import HEAD, backtest_page, day_rows
from recsys_assets.core.insight.figures import Figures
from recsys_assets.io_managers.frame_writer import FrameWriter, partition_uri
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The report on as-of days; nothing reads it, and it is made when somebody asks for it."""
    params = BacktestParams(graph.dataset.name, graph.settings.backtest_days)
    trailing = window(params.days)

    @graph.asset(
        "insight",
        reads={"ranker_evaluation": trailing, "promotion": trailing, "recommendations": trailing},
        kinds=("html",),
        checks=(),
        asked_for=True,
        file="report.html",
    )
    def backtest_report(
        context: dg.AssetExecutionContext,
        ranker_evaluation: Partitions,
        promotion: Partitions,
        recommendations: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> Result:
        """How models, gate and lists did over the as-of days up to this one, as far as they were made."""
        day = context.partition_key
        inputs = BacktestInputs(
            ranker_evaluation.frame(),
            {one: stored_promotion(promotion, one) for one in promotion.days},
            {one: recommendations.frame(one) for one in recommendations.days},
        )
        found = backtest_figures(inputs, graph.day(day), params)
        return frames.write_bytes(
            context,
            backtest_page(found),
            params={"days": params.days},
            metadata={
                **chart_metadata(backtest_charts(found)),
                "days": dg.MetadataValue.table([dg.TableRecord(row) for row in named(found)], schema=COLUMNS),
                "page": dg.MetadataValue.path(partition_uri(context, store)),
                **key_figures(found),
            },
        )

    return [backtest_report]


COLUMNS = dg.TableSchema([dg.TableColumn(name, "string") for name in HEAD])


def named(found: Figures) -> list[dict[str, str]]:
    """The rows of the table, newest day first."""
    return [dict(zip(HEAD, row, strict=True)) for row in day_rows(found)]


def key_figures(found: Figures) -> dict[str, Any]:
    """Numbers whose course over the days the UI plots."""
    compared = found["compared"]
    return {
        "as_of_days": len(found["days"]),
        **{f"{metric}_at_10_{name}": mean for metric in ("ndcg", "recall") for name, mean in compared[metric].items()},
        **{f"gate_{verdict.replace(' ', '_')}": count for verdict, count in found["verdicts"].items()},
    }
