"""The comparison of experiments: its figures, its table and its page."""

from __future__ import annotations

import pyarrow as pa

from recsys_assets.assets.experiment_comparison import compared, of_lists, table, to_html, to_ui, validated, with_served
from recsys_assets.core.insight.model_charts import Bar
from recsys_assets.model_registry.experiment_models import ExperimentModel
from recsys_assets.storage.lineage import Lineage


def model(name: str, target: str = "ndcg_at_5") -> ExperimentModel:
    params = {"model": "generator", "target": target}
    return ExperimentModel(name, Lineage(f"experiment_model.{name}", "2015-05-10", 9, "1", params=params, bytes=2048))


def row(experiment: str, metric: str, value: float | None) -> dict[str, object]:
    return {"experiment": experiment, "metric": metric, "value": value, "low": value, "high": value}


ROWS = [row("a", "ndcg_at_5", 0.25), row("b", "ndcg_at_5", 0.5), row("b", "auc", None)]
MODELS = [model("a"), model("b"), model("new")]


def test_panels_are_the_defined_metrics_then_seconds_and_size() -> None:
    models = validated(MODELS, ROWS)
    assert [one.name for one in models] == ["a", "b"]
    figures = compared(ROWS, models, {"a": 1.5, "b": 2.5})
    assert list(figures) == ["ndcg_at_5", "fit_seconds", "model_kib"], "auc is not defined"
    assert figures["ndcg_at_5"] == {"a": Bar(0.25, 0.25, 0.25), "b": Bar(0.5, 0.5, 0.5)}
    assert figures["model_kib"]["a"] == Bar(2.0)
    assert compared([], [], {}) == {}


def test_the_served_model_gets_a_bar_where_the_gate_measured_the_metric() -> None:
    columns = {"metric": ["ndcg", "ndcg", "coverage"], "k": [5, 5, 5], "model": ["fused", "ranker", "fused"]}
    evaluation = pa.table({**columns, "value": [0.3, 0.4, 0.9], "low": [0.2, 0.3, 0.8], "high": [0.4, 0.5, 1.0]})
    bars = of_lists(evaluation, "fused")
    assert bars == {"ndcg_at_5": Bar(0.3, 0.2, 0.4)}, "coverage is no metric of experiments"
    figures = with_served(compared(ROWS, MODELS[:2], {"a": 1.5, "b": 2.5}), "served: fused", bars)
    assert figures["ndcg_at_5"]["served: fused"] == bars["ndcg_at_5"]
    assert "served: fused" not in figures["fit_seconds"]


def test_the_best_is_the_first_line_and_the_served_model_the_last() -> None:
    figures = compared(ROWS, MODELS[:2], {"a": 1.5, "b": 2.5})
    columns, lines = table(MODELS[:2], figures, "b", "served: fused")
    assert columns == ["experiment", "model", "as of", "target", *figures]
    assert [line[0] for line in lines] == ["b (best)", "a", "served: fused"]
    assert lines[0][1:5] == ["generator", "2015-05-10", "ndcg_at_5", str(Bar(0.5, 0.5, 0.5))]
    assert [column.name for column in to_ui(columns, lines).schema.columns] == [
        "experiment",
        "b (best)",
        "a",
        lines[2][0],
    ]


def test_the_page_escapes_its_cells_and_needs_no_other_file() -> None:
    page = to_html("2015-05-10", ["experiment"], [["<script>"]], b"png").decode()
    assert "<td>&lt;script&gt;</td>" in page
    assert 'src="data:image/png;base64,cG5n"' in page
    assert "<img" not in to_html("2015-05-10", ["experiment"], [], b"").decode()
