from dataclasses import astuple

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import GENERATORS, RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.evaluation.bootstrap import intervals
from recsys_assets.core.evaluation.compare import choose, evaluate, lists_from_candidates
from recsys_assets.core.evaluation.evaluator import popularity
from recsys_assets.core.evaluation.pooled_gain import Gain, together
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.evaluation.brute import Case, case, means
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()


def lazy(frame: pl.DataFrame) -> nw.LazyFrame:
    return nw.from_native(frame.lazy())


def evaluated(of: Case, lists: dict[str, pl.DataFrame]) -> pa.Table:
    frames = {name: lazy(frame) for name, frame in lists.items()}
    return evaluate(frames, lazy(of.targets), None, popularity(lazy(of.known)), 60, resamples=100)


@pytest.fixture(scope="module")
def contenders() -> tuple[Case, dict[str, pl.DataFrame]]:
    """'popular' lists half of the targets first, the ranker all of them, the others are random."""
    some = case(0)
    perfect = some.targets.unique().sort("user_id", "item_id")
    perfect = perfect.with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
    half = perfect.filter(pl.col("rank") % 2 == 1)
    return some, {"fused": some.lists, "popular": half, "repeat": case(1).lists, "ranker": perfect}


def test_the_table_holds_every_contender_in_the_contract(contenders):
    some, lists = contenders
    table = evaluated(some, lists)

    assert table.schema.equals(arrow_schema(RANKER_EVALUATION, IdTypes()))
    keys = list(zip(*(table[name].to_pylist() for name in RANKER_EVALUATION.key), strict=True))
    assert keys == sorted(set(keys))
    metrics = ("recall", "precision", "ndcg", "map", "mrr", "hit", "novelty", "coverage")
    assert {(m, x, k) for m in lists for x in metrics for k in (10, 20)} <= set(keys)
    assert {m for m, metric, _ in keys if metric == "candidate_recall"} == {"fused", "popular", "repeat"}
    rows = dict(zip(keys, table.to_pylist(), strict=True))
    for model, frame in lists.items():
        for metric, value in means(Case(some.known, some.targets, frame), 10).items():
            if metric not in ("coverage", "candidate_recall"):
                assert rows[model, metric, 10]["value"] == pytest.approx(value, abs=1e-9)
    for row in rows.values():
        if row["metric"] == "coverage":
            assert row["low"] is None
        else:
            assert row["low"] <= row["value"] <= row["high"]
    assert evaluated(some, lists).equals(table)


def test_gains_are_paired(contenders):
    some, lists = contenders
    rows = {(r["model"], r["metric"], r["k"]): r for r in evaluated(some, lists).to_pylist()}
    gain = rows["popular", "ndcg_gain", 10]
    assert gain["value"] == pytest.approx(rows["popular", "ndcg", 10]["value"] - rows["fused", "ndcg", 10]["value"])
    assert gain["low"] > 0
    gain = rows["ranker", "ndcg_gain", 10]
    assert gain["value"] == pytest.approx(rows["ranker", "ndcg", 10]["value"] - rows["popular", "ndcg", 10]["value"])
    assert 0 < gain["low"] < gain["value"] < gain["high"]


def test_lists_from_candidates_hold_what_each_generator_proposed():
    table, _ = synthetic.candidates(4, 10)
    lists = lists_from_candidates(ENGINE.from_arrow(table))
    assert list(lists) == ["fused", *GENERATORS]
    for name, frame in lists.items():
        got = frame.collect().to_native()
        wanted = pl.from_arrow(table).filter(pl.col(f"{name}_rank").is_not_null())
        assert got.equals(wanted.select("user_id", "item_id", rank=f"{name}_rank"))


def test_a_generator_that_proposed_nothing_scores_zero(contenders):
    some, lists = contenders
    rows = evaluated(some, {"trending": lists["fused"].clear(), "fused": lists["fused"]}).to_pylist()
    mine = {(r["metric"], r["k"]): r["value"] for r in rows if r["model"] == "trending"}
    assert mine["ndcg", 10] == mine["coverage", 10] == mine["candidate_recall", 1] == 0
    assert mine["novelty", 10] is None


def test_no_targets_give_a_table_of_no_users(contenders):
    some, lists = contenders
    table = evaluated(Case(some.known, some.targets.clear(), some.lists), lists)
    assert set(table["users"].to_pylist()) == {0}
    decision = choose(table)
    assert decision.order_by == "fused"
    assert "only 0 users" in decision.why or "nothing was judged" in decision.why


def _chosen(some: Case, lists: dict[str, pl.DataFrame], drop: str = "", min_users: int = 30):
    return choose(evaluated(some, {name: frame for name, frame in lists.items() if name != drop}), min_users)


def test_the_winner_orders(contenders):
    some, lists = contenders
    decision = _chosen(some, lists)
    assert (decision.order_by, decision.baseline) == ("ranker", "popular")
    assert decision.gain is not None
    assert decision.low is not None
    assert 0 < decision.low < decision.gain
    assert "the ranker beat popular in NDCG@10" in decision.why

    lost = _chosen(some, {**lists, "ranker": case(5).lists})
    assert lost.order_by == "popular"
    assert lost.gain is not None
    assert lost.gain < 0
    assert "did not beat popular" in lost.why

    equal = _chosen(some, {**lists, "ranker": lists["popular"]})
    assert (equal.order_by, equal.gain) == ("popular", 0)

    without = _chosen(some, lists, drop="ranker")
    assert (without.order_by, without.gain) == ("popular", None)
    assert "there is no ranker" in without.why


def test_too_few_users_or_no_evaluation_fall_back_to_the_fusion(contenders):
    some, lists = contenders
    few = _chosen(some, lists, min_users=1000)
    assert few.order_by == "fused"
    assert few.gain is not None
    assert f"only {few.users} users could be judged and 1000 are needed" in few.why
    for nothing in (None, arrow_schema(RANKER_EVALUATION, IdTypes()).empty_table()):
        decision = choose(nothing)
        assert (decision.order_by, decision.baseline, decision.users) == ("fused", None, 0)
        assert "nothing was judged yet" in decision.why


def test_equal_contenders_prefer_the_fusion():
    some = case(4)
    assert _chosen(some, {"category": some.lists, "fused": some.lists}, min_users=1).order_by == "fused"


def test_a_lead_that_chance_explains_changes_nothing(contenders):
    """One user's luck makes the mean better, but not the interval."""
    some, lists = contenders
    lucky = some.targets.unique().sort("user_id", "item_id").head(1).with_columns(rank=0)
    better = pl.concat([lucky.select(lists["fused"].columns), lists["fused"]], how="vertical_relaxed")
    decision = _chosen(some, {"fused": lists["fused"], "popular": better, "ranker": better}, min_users=1)
    assert decision.gain is not None
    assert decision.gain >= 0
    assert decision.order_by == decision.baseline == "fused"


def test_what_one_window_leaves_open_several_decide(contenders):
    some, lists = contenders
    lucky = some.targets.unique().sort("user_id", "item_id").head(1).with_columns(rank=0)
    better = pl.concat([lucky.select(lists["fused"].columns), lists["fused"]], how="vertical_relaxed")
    table = evaluated(some, {"fused": lists["fused"], "ranker": better})
    alone = choose(table, 1)
    assert alone.order_by == "fused"
    assert alone.gain is not None
    assert alone.gain > 0
    before = [Gain(0.1, 0.06, 0.14, 40), Gain(0.05, -0.02, 0.12, 30)]
    decided = choose(table, 1, earlier=before)
    assert (decided.order_by, decided.users) == ("ranker", alone.users + 70)
    assert "on 3 windows" in decided.why
    assert choose(table, alone.users + 71, earlier=before).order_by == "fused", "too few on all windows"
    assert choose(table, alone.users + 1, earlier=before).order_by == "ranker", "too few on one window alone"
    behind = evaluated(some, {"fused": better, "ranker": lists["fused"]})
    assert choose(behind, 1, earlier=[Gain(0.5, 0.4, 0.6, 1000)]).order_by == "fused", "behind on the newest one"


def test_windows_together_are_the_mean_over_their_users_with_an_interval_of_its_own():
    assert astuple(together([Gain(0.2, 0.1, 0.4, 7)])) == pytest.approx((0.2, 0.1, 0.4, 7))
    rng = np.random.default_rng(0)
    windows = [rng.normal(0.05, 0.3, size) for size in (200, 400, 50)]
    gains = [Gain(one.mean, one.low, one.high, len(window)) for window in windows for one in intervals(window[:, None])]
    found, everybody = together(gains), intervals(np.concatenate(windows)[:, None])[0]
    assert found.users == 650
    assert found.value == pytest.approx(everybody.mean)
    assert (found.low, found.high) == pytest.approx((everybody.low, everybody.high), abs=0.004)
    assert found.low < found.value < found.high
