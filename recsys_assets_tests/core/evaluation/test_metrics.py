"""Metrics by hand, against plain Python, and against the shared judge where it is at hand."""

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.compare import evaluate
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.metrics import novelty, per_user
from recsys_assets.core.gate.rule import CONFIDENCE, pick_baseline
from recsys_assets_tests.core.evaluation.brute import Case, case, means

_EVALUATOR = Path(__file__).resolve().parents[4] / "shared" / "tools" / "evaluate.py"


def lazy(frame: pl.DataFrame) -> Frame:
    return nw.from_native(frame.lazy())


def figures(of: Case, k: int, resamples: int = 50) -> dict[str, dict[str, Any]]:
    table = evaluate(
        {"fused": lazy(of.lists)},
        lazy(of.targets),
        None,
        popularity(lazy(of.known)),
        of.known["item_id"].n_unique(),
        ks=(k,),
        resamples=resamples,
        level=CONFIDENCE,
        pick_baseline=pick_baseline,
    )
    return {row["metric"]: row for row in table.to_pylist()}


def test_by_hand():
    """T = {a, b, c}; the list hits at places 2 and 3 of 4, cut at 3."""
    hits = np.array([[False, True, True, False], [False, False, False, True], [True, False, False, False]])
    got = per_user(hits, np.array([3, 1, 5]), 3)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert got["recall"].tolist() == pytest.approx([2 / 3, 0, 1 / 5])
    assert got["precision"].tolist() == pytest.approx([2 / 3, 0, 1 / 3])
    assert got["ndcg"].tolist() == pytest.approx([(1 / math.log2(3) + 1 / 2) / ideal, 0, 1 / ideal])
    assert got["map"].tolist() == pytest.approx([(1 / 2 + 2 / 3) / 3, 0, 1 / 3])
    assert got["mrr"].tolist() == [0.5, 0, 1]
    assert got["hit"].tolist() == [1, 0, 1]
    assert novelty(np.array([[1.0, 3.0], [2.0, np.nan], [np.nan, np.nan]]), 2).tolist()[:2] == [2, 2]


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_equal_to_plain_python(seed: int, k: int):
    some = case(seed)
    got = figures(some, k)
    for metric, value in means(some, k).items():
        assert got[metric]["value"] == pytest.approx(value, abs=1e-12), metric
    assert got["candidate_recall"]["k"] == some.lists["rank"].max()
    assert got["recall"]["users"] == some.targets["user_id"].n_unique()


def test_string_ids_give_the_same_figures():
    some = case(2)
    numbers, text = figures(some, 10), figures(some.strings(), 10)
    assert {name: row["value"] for name, row in text.items()} == pytest.approx(
        {name: row["value"] for name, row in numbers.items()}
    )


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    if not _EVALUATOR.exists():
        pytest.skip(f"the shared judge is not at {_EVALUATOR}; the metrics are compared with plain Python alone")
    spec = importlib.util.spec_from_file_location("shared_evaluate", _EVALUATOR)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("k", [3, 10])
def test_equal_to_the_shared_judge_with_intervals(oracle: ModuleType, k: int):
    some = case(3).strings()  # string ids: both sort users the same way, so the resamples are the same too
    theirs = oracle.Split(some.known, some.targets, "keep").score(some.lists, k, B=200, seed=0)["all"]
    ours = figures(some, k, resamples=200)
    for metric in ("recall", "ndcg", "precision", "map", "mrr", "hit", "novelty"):
        row = ours[metric]
        assert row["value"] == pytest.approx(theirs[metric], abs=1e-9), metric
        assert [row["low"], row["high"]] == pytest.approx(theirs[f"{metric}_ci"], abs=1e-5), metric
    assert ours["coverage"]["value"] == pytest.approx(theirs["coverage"])
    assert ours["recall"]["users"] == theirs["users"]


def test_an_item_listed_twice_counts_once_at_its_better_rank():
    lists = pl.DataFrame({"user_id": [0, 0, 0], "item_id": [7, 5, 5], "rank": [9, 2, 4]})
    targets = pl.DataFrame({"user_id": [0, 0], "item_id": [7, 7]})
    read = Evaluator(lazy(targets), popularity(lazy(targets))).read(lazy(lists), 2)
    assert read.hits.tolist() == [[False, True]]
    assert (read.longest, read.recalled.tolist()) == (2, [1])


def test_only_users_with_candidates_and_known_ids_are_judged():
    targets = pl.DataFrame({"user_id": [0, 1, None], "item_id": [1, 1, 1]})
    evaluator = Evaluator(lazy(targets), popularity(lazy(targets)), lazy(pl.DataFrame({"user_id": [0, 5]})))
    assert evaluator.targets.tolist() == [1]
