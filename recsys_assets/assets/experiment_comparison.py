"""Group experiments: the comparison of all of them, in the UI, as a page and in MLflow."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import png_metadata
from recsys_assets.assets.experiments import state_of
from recsys_assets.assets.promotion import stored_promotion
from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.metrics import GAIN, OF_LISTS, STANDARD
from recsys_assets.core.gate.rule import INTERVAL_TEXT
from recsys_assets.core.insight.model_charts import Bar, bar_panels
from recsys_assets.core.insight.report_page import Table, png_image, report_page
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.experiment_models import ASSET, ExperimentModel, models_to_test
from recsys_assets.model_registry.state import current_registry_state
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Recorded, Tracking
from recsys_assets.storage.scratch import TemporaryFolder

Result = dg.MaterializeResult[Staged]
Figures = Mapping[str, Mapping[str, Bar]]
"""Metric to experiment to its value with an interval."""

_SECONDS, _KIB = "fit_seconds", "model_kib"


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The comparison of a day."""
    horizon = graph.settings.horizon_days

    @graph.asset(
        "experiments",
        reads={"experiment_validation": None, "ranker_evaluation": None, "promotion": None},
        deps=["experiment_promotion"],
        kinds=("html", "mlflow"),
        grain="experiment",
        checks=(),
        last=True,
        file="comparison.html",
    )
    def model_comparison(
        context: dg.AssetExecutionContext,
        experiment_validation: Partitions,
        ranker_evaluation: Partitions,
        promotion: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> Result:
        """All experiments and the model that orders the lists, side by side.

        Metrics with intervals on the day's test window; times and sizes of the experiments.
        In MLflow, the run `model_comparison <day>`; the aliases of the registry are updated to champion and challenger.
        """
        day = context.partition_key
        rows = experiment_validation.frame().drop("dt").collect("polars").to_arrow().to_pylist()
        names = context.instance.get_dynamic_partitions(str(graph.experiments.name))
        models = validated(models_to_test(store.partitions(), names, day, horizon), rows)
        best = best_of(rows, {model.name: model.facts["target"] for model in models})
        winning = stored_promotion(promotion, day).winner
        served = f"served: {winning}"  # no experiment has a colon in its name
        seconds = {model.name: fit_seconds(context.instance, graph.names.key(ASSET), model) for model in models}
        evaluation = ranker_evaluation.frame().drop("dt").collect("polars").to_arrow()
        figures = with_served(compared(rows, models, seconds), served, of_lists(evaluation, winning))
        chart = bar_panels(f"Experiments on the test window of {day}", figures, served) if figures else b""
        columns, lines = table(models, figures, best, served)
        page = to_html(day, columns, lines, chart)
        recorded = record(tracking, day, best, {"comparison.html": page, "comparison.png": chart})
        mirrored = tracking.mirror(current_registry_state(store.open())[1])
        metadata = {
            "best": best or "none",
            "served_by": winning,
            "experiments": len(models),
            "comparison": to_metadata(chart),
            "table": to_ui(columns, lines),
            "mlflow": state_of(recorded, tracking),
            "aliases": mirrored.problem or "as they stand",
        }
        return frames.write_bytes(context, page, metadata=metadata)

    return [model_comparison]


def validated(models: Sequence[ExperimentModel], rows: Sequence[Mapping[str, Any]]) -> list[ExperimentModel]:
    """The models that have rows of contract EXPERIMENT_VALIDATION."""
    names = {row["experiment"] for row in rows}
    return [model for model in models if model.name in names]


def compared(
    rows: Sequence[Mapping[str, Any]], models: Sequence[ExperimentModel], seconds: Mapping[str, float]
) -> Figures:
    """The figures to draw, one panel each: metrics, gain, seconds of training, size.

    Args:
        rows: of contract EXPERIMENT_VALIDATION.
        models: of the experiments.
        seconds: that their training took, by experiment.
    """
    figures: dict[str, dict[str, Bar]] = {}
    targets = [model.facts["target"] for model in models]
    for metric in dict.fromkeys([*targets, *STANDARD, GAIN]):
        bars = {
            row["experiment"]: Bar(row["value"], row["low"], row["high"])
            for row in rows
            if row["metric"] == metric and row["value"] is not None
        }
        if bars:
            figures[metric] = bars
    if models:
        figures[_SECONDS] = {name: Bar(value) for name, value in seconds.items()}
        figures[_KIB] = {model.name: Bar(model.lineage.bytes / 1024) for model in models}
    return figures


def with_served(figures: Figures, served: str, bars: Mapping[str, Bar]) -> Figures:
    """The figures with a bar for the model that orders the lists, where it has that metric."""
    return {
        metric: {**experiments, served: bars[metric]} if metric in bars else experiments
        for metric, experiments in figures.items()
    }


def record(tracking: Tracking, day: str, best: str | None, files: Mapping[str, bytes]) -> Recorded:
    """Log the files into the MLflow run of the day's comparison, and make that run if there is none."""

    def log_files(log_artifact: Callable[[str], None]) -> None:
        with TemporaryFolder("comparison-") as folder:
            for name, data in files.items():
                path = Path(folder) / name
                path.write_bytes(data)
                log_artifact(str(path))

    tags = {"comparison_of": day}
    recorded = tracking.add(tags, lambda client, run: log_files(lambda path: client.log_artifact(run, path)))
    if recorded.run_id is None and recorded.problem is None:
        of_run = {**tags, "partition": day, "best": best or "none"}
        return tracking.record(f"model_comparison {day}", of_run, lambda mlflow: log_files(mlflow.log_artifact))
    return recorded


def of_lists(evaluation: pa.Table, model: str) -> dict[str, Bar]:
    """Metrics of a contender at the gate, named like those of experiments; on the same users and window.

    Args:
        evaluation: table of contract RANKER_EVALUATION.
        model: its name in that table.
    """
    return {
        f"{row['metric']}_at_{row['k']}": Bar(row["value"], row["low"], row["high"])
        for row in evaluation.to_pylist()
        if row["model"] == model and row["metric"] in OF_LISTS and row["value"] is not None
    }


def fit_seconds(instance: dg.DagsterInstance, key: dg.AssetKey, model: ExperimentModel) -> float:
    """Seconds of training from the event log, since stored data hold no times; NaN where the log has no such event."""
    records_filter = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[model.name])
    for record in instance.fetch_materializations(records_filter, limit=20).records:
        event = record.asset_materialization
        if event and event.metadata["sha256"].value == model.lineage.sha256:
            return float(str(event.metadata["fit_seconds"].value))
    return float("nan")


def table(
    models: Sequence[ExperimentModel], figures: Figures, best: str | None, served: str
) -> tuple[list[str], list[list[str]]]:
    """Headings and one line per experiment, the best first; last the model that orders the lists."""
    columns = ["experiment", "model", "as of", "target", *figures]
    ordered = sorted(models, key=lambda model: (model.name != best, model.name))
    lines = [
        [
            f"{model.name} (best)" if model.name == best else model.name,
            model.facts["model"],
            model.lineage.day,
            model.facts["target"],
            *(str(figures[metric].get(model.name, "")) for metric in figures),
        ]
        for model in ordered
    ]
    if figures:
        lines.append([served, "", "", "", *(str(figures[metric].get(served, "")) for metric in figures)])
    return columns, lines


def to_ui(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> dg.TableMetadataValue:
    """The table for the UI, transposed: one column per model, because the UI has no room for a column per metric."""
    head, *rows = zip(columns, *lines, strict=True)
    records = [dg.TableRecord(dict(zip(head, row, strict=True))) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in head]))


def to_html(day: str, columns: Sequence[str], lines: Sequence[Sequence[str]], chart: bytes) -> bytes:
    """The page: chart and table."""
    return report_page(
        f"Experiments on the test window of {day}",
        f"All experiments and the model that orders the lists; in brackets: {INTERVAL_TEXT}.",
        images=[png_image("comparison", "comparison", chart)] if chart else [],
        tables=[Table("Metrics", columns, lines)],
    )


def to_metadata(chart: bytes) -> dg.MarkdownMetadataValue:
    """The chart for the UI."""
    return png_metadata("comparison", chart) if chart else dg.MetadataValue.md("nothing to compare yet")
