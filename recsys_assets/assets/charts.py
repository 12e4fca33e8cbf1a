"""Charts as metadata of materializations, as Dagster's UI shows them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.core.evaluation.compare import OVER_FUSED
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K
from recsys_assets.core.insight.drawing import Chart, data_uri
from recsys_assets.core.insight.model_charts import Bar, bar_chart, bar_panels, search_chart
from recsys_assets.core.insight.report_page import png_uri
from recsys_assets.core.tuning.study import Record


def bar_chart_metadata(title: str, values: Mapping[str, float], most: int = 20) -> dg.MarkdownMetadataValue:
    """A horizontal bar chart, largest first."""
    return png_metadata(title, bar_chart(title, values, most)) if values else dg.MetadataValue.md("nothing to draw yet")


def evaluation_metadata(evaluation: pa.Table) -> dict[str, dg.MarkdownMetadataValue]:
    """An evaluation (contract RANKER_EVALUATION) as one table and one chart with intervals, at the decisive k."""
    figures: dict[str, dict[str, Bar]] = defaultdict(dict)
    for row in evaluation.to_pylist():
        if row["k"] == DECISIVE_K and row["value"] is not None:
            figures[row["metric"]][row["model"]] = Bar(row["value"], row["low"], row["high"])
    ndcg, users = figures["ndcg"], max(evaluation["users"].to_pylist(), default=0)
    columns = [
        (f"NDCG@{DECISIVE_K}", ndcg),
        (f"recall@{DECISIVE_K}", figures["recall"]),
        ("gain over fused", figures[OVER_FUSED]),
    ]
    lines = [["contender", *(name for name, _ in columns), "users"], ["---", *["---:"] * (len(columns) + 1)]]
    for name in sorted(ndcg, key=lambda name: (-ndcg[name].value, name)):
        cells = [f"{column[name].value:.4f}" if name in column else "–" for _, column in columns]
        gain = figures[OVER_FUSED].get(name)
        lines.append([name, *cells[:-1], str(gain) if gain else "–", f"{users:,}"])
    if not ndcg:
        return {"contenders": dg.MetadataValue.md("nobody was evaluated")}
    panels = {name: column for name, column in columns if column}
    return {
        "contenders": dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines)),
        "chart": png_metadata("contenders", bar_panels(f"{users:,} users of the last horizon", panels, "fused")),
    }


def search_metadata(
    metric: str, trials: Sequence[Record], choices: Mapping[str, Sequence[str]] | None = None
) -> dict[str, dg.MetadataValue[Any]]:
    """A search: its trials as a table, and how the best value grew as a chart.

    Args:
        metric: what was maximized.
        trials: in order; none where nothing was searched.
        choices: what the numbers 0, 1, … of a parameter stand for, by its name.
    """
    if not trials:
        return {"trials": dg.MetadataValue.int(0)}

    def value(name: str, params: Mapping[str, float]) -> str:
        if name not in params:
            return ""
        return choices[name][int(params[name])] if choices and name in choices else f"{params[name]:.4g}"

    names = sorted({name for trial in trials for name in trial.params})
    records = [
        dg.TableRecord(
            {
                "trial": trial.trial,
                "state": trial.state,
                metric: round(trial.value, 5),
                **{name: value(name, trial.params) for name in names},
            }
        )
        for trial in trials
    ]
    columns = [dg.TableColumn("trial", "int"), dg.TableColumn("state"), dg.TableColumn(metric, "float")]
    columns += [dg.TableColumn(name) for name in names]
    return {
        "trials": dg.MetadataValue.table(records, dg.TableSchema(columns)),
        "search": png_metadata(f"{metric} of the trials", search_chart(metric, trials)),
    }


def chart_metadata(charts: Sequence[Chart]) -> dict[str, dg.MarkdownMetadataValue]:
    """All charts in full in the entry ``report``, and a sparkline of each in one of its own.

    The UI shows markdown of up to 1,000 characters in place, and more behind a link.
    """
    return {
        "report": dg.MetadataValue.md("\n\n".join(_markdown(chart.name, data_uri(chart.svg)) for chart in charts)),
        **{chart.name: sparkline_metadata(chart.name, chart.sparkline) for chart in charts},
    }


def sparkline_metadata(name: str, svg: str) -> dg.MarkdownMetadataValue:
    """A chart of at most a few hundred characters, which the UI shows in place."""
    return dg.MetadataValue.md(_markdown(name, data_uri(svg)))


def png_metadata(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG, which the UI shows behind a link."""
    return dg.MetadataValue.md(f"![{name}]({png_uri(png)})")


def _markdown(name: str, address: str) -> str:
    # Within <> a markdown address may hold blanks and brackets.
    return f"![{name}](<{address}>)"
