"""Cost and gain of the re-ranking policy, against the same computed list by list."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.evaluation.compare import evaluate_lists
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.window import Window
from recsys_assets.core.gate.rule import CONFIDENCE, decide, pick_baseline
from recsys_assets.core.lists.evaluation import with_final_lists
from recsys_assets_tests.core.evaluation.brute import Case, case, means
from recsys_assets_tests.core.evaluation.test_compare import lazy

Row = dict[str, Any]
GATE_RULE: dict[str, Any] = {"level": CONFIDENCE, "pick_baseline": pick_baseline}
ITEMS = 65
FEATURES = pl.DataFrame(
    {
        "item_id": range(ITEMS),
        "category_id": [None if item % 7 == 0 else f"c{item % 5}" for item in range(ITEMS)],
        "root_id": [None if item % 5 == 4 else f"r{item % 5 // 2}" for item in range(ITEMS)],
    }
)
"""Every seventh item has no category, c4 is not in the tree, c0 and c1 share a root, and so do c2 and c3."""


def similarity(one: int, other: int) -> float:
    if one % 7 == 0 or other % 7 == 0:
        return 0.0
    one, other = one % 5, other % 5
    return 1.0 if one == other else 0.5 if one // 2 == other // 2 and 4 not in (one, other) else 0.0


def mean_diversity(lists: pl.DataFrame, users: set[int]) -> float:
    """Mean intra-list diversity@10 of the users who were evaluated and have two items."""
    per_user = []
    for (user,), rows in lists.filter(pl.col("rank") <= 10).group_by("user_id"):
        if user in users and len(rows) > 1:
            per_user.append(1 - fmean(similarity(a, b) for a, b in combinations(rows["item_id"], 2)))
    return fmean(per_user)


def evaluated(features: pl.DataFrame = FEATURES, same: bool = False) -> tuple[Case, Case, pa.Table, pa.Table]:
    before, after = case(0), case(1)
    window = Window(Evaluator(lazy(before.targets), popularity(lazy(before.known))), ITEMS)
    plain = lazy(before.lists)
    evaluation = evaluate_lists(
        window.evaluator, {"fused": plain, "popular": lazy(case(2).lists)}, ITEMS, resamples=100, **GATE_RULE
    )
    final = plain if same else lazy(after.lists)
    return before, after, evaluation, with_final_lists(evaluation, window, "fused", plain, final, lazy(features))


def by_key(table: pa.Table) -> dict[tuple[str, str, int], Row]:
    return {(row["model"], row["metric"], row["k"]): row for row in table.to_pylist()}


def test_the_final_lists_are_evaluated_like_any_contender():
    before, after, evaluation, table = evaluated()
    assert table.schema.equals(arrow_schema(RANKER_EVALUATION, IdTypes()))
    rows = by_key(table)
    assert list(rows) == sorted(rows)
    assert by_key(evaluation).items() <= rows.items(), "the contenders stay as they are"
    for k in (10, 20):
        expected = means(Case(before.known, before.targets, after.lists), k)
        for metric in ("recall", "ndcg", "novelty", "hit"):
            assert rows["final", metric, k]["value"] == pytest.approx(expected[metric])
        assert 0 < rows["final", "coverage", k]["value"] <= 1
    gain = rows["final", "ndcg_gain", 10]
    assert gain["value"] == pytest.approx(rows["final", "ndcg", 10]["value"] - rows["fused", "ndcg", 10]["value"])
    assert gain["low"] < gain["value"] < gain["high"]
    users = set(before.targets["user_id"])
    assert rows["final", "diversity", 10]["value"] == pytest.approx(mean_diversity(after.lists, users))
    assert rows["fused", "diversity", 10]["value"] == pytest.approx(mean_diversity(before.lists, users))
    assert decide(table, 1) == decide(evaluation, 1), "the final lists are no contender"


def test_without_a_policy_nothing_is_gained_or_lost():
    _, _, _, table = evaluated(same=True)
    rows = by_key(table)
    assert [rows["final", "ndcg_gain", 10][end] for end in ("value", "low", "high")] == [0.0, 0.0, 0.0]
    for metric in ("recall", "ndcg", "novelty", "coverage", "diversity"):
        assert rows["final", metric, 10]["value"] == rows["fused", metric, 10]["value"]


def test_without_categories_there_is_no_diversity():
    _, _, _, table = evaluated(FEATURES.clear())
    assert "diversity" not in {row["metric"] for row in table.to_pylist()}
    assert ("final", "ndcg", 10) in by_key(table)


def test_without_users_there_are_no_values():
    no_targets = case(0).targets.clear()
    window = Window(Evaluator(lazy(no_targets), popularity(lazy(case(0).known))), ITEMS)
    lists = lazy(case(0).lists)
    evaluation = evaluate_lists(window.evaluator, {"fused": lists}, ITEMS, resamples=10, **GATE_RULE)
    rows = by_key(with_final_lists(evaluation, window, "fused", lists, lists, lazy(FEATURES)))
    assert (rows["final", "ndcg", 10]["value"], rows["final", "ndcg", 10]["users"]) == (None, 0)
