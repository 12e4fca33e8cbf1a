"""What people see of an evaluation: one table and one chart, both with intervals."""

from __future__ import annotations

import pyarrow as pa

from recsys_assets.assets.charts import evaluation_metadata
from recsys_assets_tests.core.gate.evaluations import evaluation_of


def with_rows(evaluation: pa.Table, *rows: tuple[str, str, float, float, float]) -> pa.Table:
    added = [
        {"model": model, "metric": metric, "k": 10, "value": value, "low": low, "high": high, "users": 1_234}
        for model, metric, value, low, high in rows
    ]
    return pa.concat_tables([evaluation, pa.Table.from_pylist(added, schema=evaluation.schema)])


def test_an_evaluation_is_one_table_and_one_chart() -> None:
    evaluation = with_rows(
        evaluation_of(1_234, ranker=(0.05, 0.01, 0.09)),
        ("fused", "recall", 0.2, 0.1, 0.3),
        ("ranker", "recall", 0.25, 0.2, 0.3),
        ("ranker", "ndcg_gain_over_fused", 0.05, 0.01, 0.09),
        ("popular", "ndcg_gain_over_fused", -0.05, -0.06, -0.04),
    )
    shown = evaluation_metadata(evaluation)
    assert shown.keys() == {"contenders", "chart"}
    assert str(shown["contenders"].value).splitlines() == [
        "| contender | NDCG@10 | recall@10 | gain over fused | users |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| ranker | 0.1500 | 0.2500 | 0.0500 [0.0100, 0.0900] | 1,234 |",
        "| fused | 0.1000 | 0.2000 | – | 1,234 |",
        "| popular | 0.0500 | – | -0.0500 [-0.0600, -0.0400] | 1,234 |",
    ]
    assert str(shown["chart"].value).startswith("![contenders](data:image/png;base64,")


def test_where_nobody_was_evaluated_it_says_so() -> None:
    assert [value.value for value in evaluation_metadata(evaluation_of().slice(0, 0)).values()] == [
        "nobody was evaluated"
    ]
