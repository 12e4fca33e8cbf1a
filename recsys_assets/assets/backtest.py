"""Group insight: how models, gate and lists did over a backfill of as-of days."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import narwhals as nw

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import chart_metadata
from recsys_assets.assets.promotion import stored_promotion
from recsys_assets.assets.ranking import told_lacking
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
    """The report on as-of days; nothing reads it, and it is built on request only."""
    params = BacktestParams(graph.dataset.name, graph.settings.backtest_days)
    trailing = window(params.days)

    @graph.asset(
        "insight",
        reads={"ranker_evaluation": trailing, "promotion": trailing, "recommendations": trailing},
        kinds=("html",),
        checks=(),
        asked_for=True,
        any_settings=True,
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
        """How models, gate and lists did over the as-of days up to this one, as far as they were built."""
        day = context.partition_key
        made = sorted({*ranker_evaluation.days, *promotion.days, *recommendations.days})
        lacks = expect_judged(told_lacking(context, graph.settings, store.partitions(), made), made, ranker_evaluation)
        inputs = BacktestInputs(
            ranker_evaluation.frame(),
            {past: stored_promotion(promotion, past) for past in promotion.days},
            {past: recommendations.frame(past) for past in recommendations.days},
        )
        report = backtest_figures(inputs, graph.day(day), params)
        charts = backtest_charts(report)
        return frames.write_bytes(
            context,
            backtest_page(report, charts),
            params={"days": params.days},
            metadata={
                **chart_metadata(charts),
                "days": days_table(report),
                "page": dg.MetadataValue.path(partition_uri(context, store)),
                **key_figures(report),
                **lacks,
            },
        )

    return [backtest_report]


def expect_judged(lacks: dict[str, str], made: Sequence[str], evaluation: Partitions) -> dict[str, str]:
    """Metadata about examples that are missing.

    Raises:
        dagster.Failure: no day can be reported on, and why.
    """
    if not made:
        raise dg.Failure("no as-of day was made: `recsys as-of DAY ...` makes those of a backtest", allow_retries=False)
    judged = evaluation.frame().filter(nw.col("users") > 0).select(n=nw.len()).collect(backend="polars").item()
    if lacks and not judged:
        raise dg.Failure(f"no as-of day was judged: {lacks['lacks']}", allow_retries=False)
    return lacks


def days_table(report: Figures) -> dg.TableMetadataValue:
    """The table of days, newest first."""
    records = [dg.TableRecord(dict(zip(HEAD, row, strict=True))) for row in day_rows(report)]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name, "string") for name in HEAD]))


def key_figures(report: Figures) -> dict[str, Any]:
    """Numbers that the UI plots over the days."""
    compared = report["compared"]
    return {
        "as_of_days": len(report["days"]),
        **{f"{metric}_at_10_{name}": mean for metric in ("ndcg", "recall") for name, mean in compared[metric].items()},
        **{f"gate_{verdict.replace(' ', '_')}": count for verdict, count in report["verdicts"].items()},
    }
