"""Group experiments, what people look at: all of them side by side, in the UI, as a page and in MLflow."""

import base64
import html
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.experiments import state_of
from recsys_assets.assets.pictures import Bar, side_by_side
from recsys_assets.assets.promotion import stored_promotion, winner
from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.metrics import GAIN, OF_LISTS, STANDARD
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.model_registry.experiment_models import ASSET, EXPERIMENTS, ExperimentModel, models_to_test
from recsys_assets.model_registry.state import current_registry_state
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking

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
        """All experiments and who orders the lists side by side on the test window of the day: metrics with intervals.

        Times and sizes of the experiments beside them.
        In MLflow, the run `model_comparison <day>`; the aliases of the registry are brought up to who stands.
        """
        day = context.partition_key
        rows = experiment_validation.frame().drop("dt").collect("polars").to_arrow().to_pylist()
        names = {row["experiment"] for row in rows}
        known = context.instance.get_dynamic_partitions(str(EXPERIMENTS.name))
        models = [one for one in models_to_test(store.partitions(), known, day, horizon) if one.name in names]
        best = best_of(rows, {one.name: one.facts["target"] for one in models})
        found = compared(rows, models, {one.name: fit_seconds(context.instance, one) for one in models})
        serving = winner(stored_promotion(promotion, day))
        served = f"served: {serving}"  # no experiment has a colon in its name
        beside = of_lists(ranker_evaluation.frame().drop("dt").collect("polars").to_arrow(), serving)
        found = {
            metric: {**bars, served: beside[metric]} if metric in beside else bars for metric, bars in found.items()
        }
        picture = side_by_side(f"Experiments on the test window of {day}", found, served) if found else b""
        columns, lines = table(models, found, best, served)
        page = to_html(day, columns, lines, picture)

        def artifacts(log: Any) -> None:
            with tempfile.TemporaryDirectory(prefix="recsys-comparison-") as folder:
                for name, data in {"comparison.html": page, "comparison.png": picture}.items():
                    path = Path(folder) / name
                    path.write_bytes(data)
                    log(str(path))

        tags = {"comparison_of": day}
        recorded = tracking.add(tags, lambda client, run: artifacts(lambda path: client.log_artifact(run, path)))
        if recorded.run_id is None and recorded.problem is None:
            shown = {**tags, "partition": day, "best": best or "none"}
            recorded = tracking.record(f"model_comparison {day}", shown, lambda mlflow: artifacts(mlflow.log_artifact))
        mirrored = tracking.mirror(current_registry_state(store.open())[1])
        return frames.write_bytes(
            context,
            "model_comparison",
            page,
            metadata={
                "best": best or "none",
                "served_by": serving,
                "experiments": len(models),
                "comparison": inline(picture) if picture else dg.MetadataValue.md("nothing to compare yet"),
                "table": to_ui(columns, lines),
                "mlflow": state_of(recorded, tracking),
                "aliases": mirrored.problem or "as they stand",
            },
        )

    return [model_comparison]


def compared(
    rows: Sequence[Mapping[str, Any]], models: Sequence[ExperimentModel], seconds: Mapping[str, float]
) -> Figures:
    """The figures to draw, a panel each: metrics, gain, seconds of training, size."""
    found: dict[str, dict[str, Bar]] = {}
    targets = [one.facts["target"] for one in models]
    for metric in dict.fromkeys([*targets, *STANDARD, GAIN]):
        bars = {
            row["experiment"]: Bar(row["value"], row["low"], row["high"])
            for row in rows
            if row["metric"] == metric and row["value"] is not None
        }
        if bars:
            found[metric] = bars
    if models:
        found[_SECONDS] = {name: Bar(value) for name, value in seconds.items()}
        found[_KIB] = {one.name: Bar(one.lineage.bytes / 1024) for one in models}
    return found


def of_lists(evaluation: pa.Table, model: str) -> dict[str, Bar]:
    """Metrics of a model of the gate, named as experiments name theirs; measured on the same users and window.

    Args:
        evaluation: table of contract RANKER_EVALUATION.
        model: as it is called there.
    """
    return {
        f"{row['metric']}_at_{row['k']}": Bar(row["value"], row["low"], row["high"])
        for row in evaluation.to_pylist()
        if row["model"] == model and row["metric"] in OF_LISTS and row["value"] is not None
    }


def fit_seconds(instance: dg.DagsterInstance, one: ExperimentModel) -> float:
    """How long training took, as the event log has it: it is no part of what is stored; NaN where it forgot."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(ASSET), asset_partitions=[one.name])
    for record in instance.fetch_materializations(wanted, limit=20).records:
        made = record.asset_materialization
        if made and made.metadata["sha256"].value == one.lineage.sha256:
            return float(str(made.metadata["fit_seconds"].value))
    return float("nan")


def table(
    models: Sequence[ExperimentModel], found: Figures, best: str | None, served: str
) -> tuple[list[str], list[list[str]]]:
    """Headings and one line per experiment, the best first; below them whoever orders the lists."""
    columns = ["experiment", "model", "as of", "target", *found]
    ordered = sorted(models, key=lambda one: (one.name != best, one.name))
    lines = [
        [
            f"{one.name} (best)" if one.name == best else one.name,
            one.facts["model"],
            one.lineage.day,
            one.facts["target"],
            *(str(found[metric].get(one.name, "")) for metric in found),
        ]
        for one in ordered
    ]
    if found:
        lines.append([served, "", "", "", *(str(found[metric].get(served, "")) for metric in found)])
    return columns, lines


def to_ui(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> dg.TableMetadataValue:
    """The table for the UI, which is not wide enough for a column per metric: a column per model."""
    head, *rest = zip(columns, *lines, strict=True)
    records = [dg.TableRecord(dict(zip(head, line, strict=True))) for line in rest]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name) for name in head]))


def to_html(day: str, columns: Sequence[str], lines: Sequence[Sequence[str]], picture: bytes) -> bytes:
    """The page: picture and table, and nothing that it would have to fetch."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    image = (
        f'<img alt="comparison" src="data:image/png;base64,{base64.b64encode(picture).decode()}">' if picture else ""
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>Experiments, {day}</title><style>body{{font-family:sans-serif}}"
        "td,th{padding:.2em .6em;text-align:left;border-bottom:1px solid #ddd}</style>"
        f"<h1>Experiments on the test window of {day}</h1>{image}<table><tr>{head}</tr>{body}</table>"
    ).encode()


def inline(picture: bytes) -> dg.MarkdownMetadataValue:
    """A picture in the UI."""
    return dg.MetadataValue.md(f"![comparison](data:image/png;base64,{base64.b64encode(picture).decode()})")
