from dataclasses import astuple

import narwhals as nw
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import intervals
from recsys_assets.core.evaluation.compare import evaluate, lists_from_candidates
from recsys_assets.core.evaluation.evaluator import popularity
from recsys_assets.core.evaluation.pooled_gain import Gain, pooled_gain
from recsys_assets.core.gate.rule import CONFIDENCE, Winner, decide, pick_baseline
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.evaluation.brute import Case, case, means
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()
Contenders = tuple[Case, dict[str, pl.DataFrame]]


def lazy(frame: pl.DataFrame) -> Frame:
    return nw.from_native(frame.lazy())


def evaluated(of: Case, lists: dict[str, pl.DataFrame]) -> pa.Table:
    frames = {name: lazy(frame) for name, frame in lists.items()}
    known = popularity(lazy(of.known))
    return evaluate(
        frames, lazy(of.targets), None, known, 60, resamples=100, level=CONFIDENCE, pick_baseline=pick_baseline
    )


@pytest.fixture(scope="module")
def contenders() -> Contenders:
    """'popular' lists half of the targets first, the ranker all of them, the others are random."""
    shop = case(0)
    perfect = shop.targets.unique().sort("user_id", "item_id")
    perfect = perfect.with_columns(rank=pl.int_range(1, pl.len() + 1).over("user_id"))
    half = perfect.filter(pl.col("rank") % 2 == 1)
    return shop, {"fused": shop.lists, "popular": half, "repeat": case(1).lists, "ranker": perfect}


def test_the_table_holds_every_contender_in_the_contract(contenders: Contenders):
    shop, lists = contenders
    table = evaluated(shop, lists)

    assert table.schema.equals(arrow_schema(RANKER_EVALUATION, IdTypes()))
    keys = list(zip(*(table[name].to_pylist() for name in RANKER_EVALUATION.key), strict=True))
    assert keys == sorted(set(keys))
    metrics = ("recall", "precision", "ndcg", "map", "mrr", "hit", "novelty", "coverage")
    assert {(m, x, k) for m in lists for x in metrics for k in (10, 20)} <= set(keys)
    assert {m for m, metric, _ in keys if metric == "candidate_recall"} == {"fused", "popular", "repeat"}
    rows = dict(zip(keys, table.to_pylist(), strict=True))
    for model, frame in lists.items():
        for metric, value in means(Case(shop.known, shop.targets, frame), 10).items():
            if metric not in ("coverage", "candidate_recall"):
                assert rows[model, metric, 10]["value"] == pytest.approx(value, abs=1e-9)
    for row in rows.values():
        if row["metric"] == "coverage":
            assert row["low"] is None
        else:
            assert row["low"] <= row["value"] <= row["high"]
    assert evaluated(shop, lists).equals(table)


def test_gains_are_paired(contenders: Contenders):
    shop, lists = contenders
    rows = {(r["model"], r["metric"], r["k"]): r for r in evaluated(shop, lists).to_pylist()}
    gain = rows["popular", "ndcg_gain_over_fused", 10]
    assert gain["value"] == pytest.approx(rows["popular", "ndcg", 10]["value"] - rows["fused", "ndcg", 10]["value"])
    assert gain["low"] > 0
    gain = rows["ranker", "ndcg_gain", 10]
    assert gain["value"] == pytest.approx(rows["ranker", "ndcg", 10]["value"] - rows["popular", "ndcg", 10]["value"])
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    over_fused = {model: row for (model, metric, _), row in rows.items() if metric == "ndcg_gain_over_fused"}
    assert over_fused.keys() == lists.keys() - {"fused"}


def test_lists_from_candidates_hold_the_candidates_of_each_generator():
    table, _ = synthetic.candidates(4, 10)
    lists = lists_from_candidates(ENGINE.from_arrow(table))
    assert list(lists) == ["fused", *BUILT_IN.names]
    for name, frame in lists.items():
        got = frame.collect().to_native()
        wanted = pl.DataFrame(table).filter(pl.col(f"{name}_rank").is_not_null())
        assert got.equals(wanted.select("user_id", "item_id", rank=f"{name}_rank"))


def test_a_generator_without_candidates_scores_zero(contenders: Contenders):
    shop, lists = contenders
    rows = evaluated(shop, {"trending": lists["fused"].clear(), "fused": lists["fused"]}).to_pylist()
    mine = {(r["metric"], r["k"]): r["value"] for r in rows if r["model"] == "trending"}
    assert mine["ndcg", 10] == mine["coverage", 10] == mine["candidate_recall", 1] == 0
    assert mine["novelty", 10] is None


def test_no_targets_give_a_table_of_no_users(contenders: Contenders):
    shop, lists = contenders
    table = evaluated(Case(shop.known, shop.targets.clear(), shop.lists), lists)
    assert set(table["users"].to_pylist()) == {0}
    winner = decide(table, 30).with_ranker
    assert winner.order_by == "fused"
    assert "nothing was judged" in winner.why


def winner_of(shop: Case, lists: dict[str, pl.DataFrame], drop: str = "", min_users: int = 30) -> Winner:
    table = evaluated(shop, {name: frame for name, frame in lists.items() if name != drop})
    return decide(table, min_users).with_ranker


def test_the_winner_orders(contenders: Contenders):
    shop, lists = contenders
    decision = winner_of(shop, lists)
    assert (decision.order_by, decision.baseline) == ("ranker", "popular")
    assert decision.gain is not None
    assert decision.low is not None
    assert 0 < decision.low < decision.gain
    assert "the ranker beat popular in NDCG@10" in decision.why

    lost = winner_of(shop, {**lists, "ranker": case(5).lists})
    assert lost.order_by == "popular"
    assert lost.gain is not None
    assert lost.gain < 0
    assert "did not beat popular" in lost.why

    equal = winner_of(shop, {**lists, "ranker": lists["popular"]})
    assert (equal.order_by, equal.gain) == ("popular", 0)

    without = winner_of(shop, lists, drop="ranker")
    assert (without.order_by, without.gain) == ("popular", None)
    assert "there is no ranker" in without.why


def test_too_few_users_or_no_evaluation_fall_back_to_the_fusion(contenders: Contenders):
    shop, lists = contenders
    few = winner_of(shop, lists, min_users=1000)
    assert few.order_by == "fused"
    assert few.gain is not None
    assert f"only {few.users} users could be judged and 1000 are needed" in few.why
    nothing = decide(arrow_schema(RANKER_EVALUATION, IdTypes()).empty_table(), 30).with_ranker
    assert (nothing.order_by, nothing.baseline, nothing.users) == ("fused", None, 0)
    assert "nothing was judged yet" in nothing.why


def test_equal_contenders_prefer_the_fusion():
    shop = case(4)
    assert winner_of(shop, {"category": shop.lists, "fused": shop.lists}, min_users=1).order_by == "fused"


def test_a_lead_by_chance_changes_nothing(contenders: Contenders):
    """One user's luck makes the mean better, but not the interval."""
    shop, lists = contenders
    lucky = shop.targets.unique().sort("user_id", "item_id").head(1).with_columns(rank=0)
    better = pl.concat([lucky.select(lists["fused"].columns), lists["fused"]], how="vertical_relaxed")
    decision = winner_of(shop, {"fused": lists["fused"], "popular": better, "ranker": better}, min_users=1)
    assert decision.gain is not None
    assert decision.gain >= 0
    assert decision.order_by == decision.baseline == "fused"


def test_the_pooled_gain_decides_where_one_window_does_not(contenders: Contenders):
    shop, lists = contenders
    lucky = shop.targets.unique().sort("user_id", "item_id").head(1).with_columns(rank=0)
    better = pl.concat([lucky.select(lists["fused"].columns), lists["fused"]], how="vertical_relaxed")
    table = evaluated(shop, {"fused": lists["fused"], "ranker": better})
    alone = decide(table, 1).with_ranker
    assert alone.order_by == "fused"
    assert alone.gain is not None
    assert alone.gain > 0
    before = [Gain(0.1, 0.06, 0.14, 40), Gain(0.05, -0.02, 0.12, 30)]
    assert "on 3 windows" not in alone.why
    pooled = decide(table, 1, before).with_ranker
    assert (pooled.order_by, pooled.users) == ("ranker", alone.users + 70)
    assert "on 3 windows" in pooled.why
    assert decide(table, alone.users + 71, before).with_ranker.order_by == "fused", "too few on all windows"
    assert decide(table, alone.users + 1, before).with_ranker.order_by == "ranker", "too few on this window only"
    behind = evaluated(shop, {"fused": better, "ranker": lists["fused"]})
    good = [Gain(0.5, 0.4, 0.6, 1000)]
    assert decide(behind, 1, good).with_ranker.order_by == "ranker", "behind on the newest one, by chance"
    worse = evaluated(shop, {"fused": lists["popular"], "ranker": lists["fused"]})
    assert decide(worse, 1, good).with_ranker.order_by == "fused", "behind on the newest one"


def test_the_pooled_gain_is_that_of_all_users_at_once():
    assert astuple(pooled_gain([Gain(0.2, 0.1, 0.4, 7)])) == pytest.approx((0.2, 0.1, 0.4, 7))
    rng = np.random.default_rng(0)
    windows = [rng.normal(0.05, 0.3, size) for size in (200, 400, 50)]
    bounds = [intervals(window[:, None], level=CONFIDENCE)[0] for window in windows]
    pooled = pooled_gain(
        [Gain(one.mean, one.low, one.high, len(window)) for one, window in zip(bounds, windows, strict=True)]
    )
    everybody = intervals(np.concatenate(windows)[:, None], level=CONFIDENCE)[0]
    assert pooled.users == 650
    assert pooled.value == pytest.approx(everybody.mean)
    assert (pooled.low, pooled.high) == pytest.approx((everybody.low, everybody.high), abs=0.004)
    assert pooled.low < pooled.value < pooled.high
