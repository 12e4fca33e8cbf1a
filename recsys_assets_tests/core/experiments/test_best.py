"""Which experiment is the best, and the rows that experiments are evaluated on."""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.window import lists_to_evaluate, with_targets
from recsys_assets.engines.polars import PolarsEngine


def row(experiment: str, **metrics: float | None) -> list[dict[str, object]]:
    return [{"experiment": experiment, "metric": name, "value": value} for name, value in metrics.items()]


ROWS = [
    *row("a", ndcg_at_10=0.3, auc=0.9, recall_at_20=0.1),
    *row("b", ndcg_at_10=0.4, auc=0.7, recall_at_20=None),
    *row("c", ndcg_at_10=0.2, auc=0.8, recall_at_20=0.1),
]


def test_experiments_of_one_target_compete_and_the_highest_wins() -> None:
    assert best_of(ROWS, dict.fromkeys("abc", "ndcg_at_10")) == "b"
    assert best_of(ROWS, dict.fromkeys("abc", "auc")) == "a"
    assert best_of(ROWS, dict.fromkeys("cba", "recall_at_20")) == "a", "of equals the first by name; b has no figure"


def test_of_the_winners_of_several_targets_the_gates_own_metric_decides() -> None:
    assert best_of(ROWS, {"a": "auc", "c": "auc", "b": "ndcg_at_10"}) == "b"
    assert best_of(ROWS, {"a": "ndcg_at_10", "b": "auc", "c": "auc"}) == "a", "b lost to c in what it competes in"


def test_without_any_metric_there_is_no_best() -> None:
    assert best_of([], {"a": "auc"}) is None
    assert best_of(ROWS, {}) is None
    assert best_of(ROWS, {"b": "recall_at_20"}) is None


def test_targets_outside_the_candidates_count_and_bots_are_left_out() -> None:
    """User 1 acted on items 5 and 9, of which 5 was a candidate; user 2 on 7 alone; user 3 was taken for a bot."""
    engine = PolarsEngine()
    examples = pa.table(
        {"user_id": [1, 1, 2], "item_id": [4, 5, 4], "label": [0, 1, 0], "fused_rank": pa.array([2, 1, 1], pa.int32())}
    )
    targets = pa.table({"user_id": [1, 1, 2, 3], "item_id": [5, 9, 7, 1]})
    rows = with_targets(engine.from_arrow(examples), engine.from_arrow(targets))
    lists = lists_to_evaluate(rows.sort("user_id", "item_id").collect(backend="polars").to_arrow())
    assert (lists.group.tolist(), lists.targets.tolist()) == ([0, 0, 1], [2, 1])
    assert (lists.labels.tolist(), lists.fused.tolist()) == ([False, True, False], [-2, -1, -1])
    without_targets = lists_to_evaluate(examples)
    assert without_targets.targets.tolist() == [1, 1], "among the candidates, and at least one"


def test_a_user_is_one_group_in_each_window() -> None:
    days = [date(2020, 1, 1)] * 2 + [date(2020, 1, 8)] * 3
    table = pa.table(
        {
            "dt": days,
            "user_id": ["u", "u", "u", "u", "v"],
            "item_id": [1, 2, 1, 2, 1],
            "label": [1, 0, 0, 0, 1],
            "fused_rank": pa.array([1, 2, 1, 2, 1], pa.int32()),
        }
    )
    assert lists_to_evaluate(table).group.tolist() == [0, 0, 1, 1, 2]
