"""Sums that no order changes, dense ranks and top-k."""

import random
from collections import defaultdict

import narwhals as nw
import polars as pl

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank, exact_sum, top_k


def lazy(df: pl.DataFrame) -> Frame:
    return nw.from_native(df.lazy())


def test_exact_sum_gives_the_same_bits_in_any_order():
    rng = random.Random(1)
    values = [rng.uniform(0, 1e6) for _ in range(2000)] + [0.1, 1e-7, 1e8]
    sums = set()
    for _ in range(5):
        rng.shuffle(values)
        (total,) = lazy(pl.DataFrame({"x": values})).select(exact_sum(nw.col("x"))).collect()["x"].to_list()
        sums.add(total)
    assert len(sums) == 1
    assert abs(sums.pop() - sum(values)) < 2000 * 2**-20


def test_exact_sum_of_partial_sums_is_the_exact_sum_of_all():
    rng = random.Random(2)
    df = pl.DataFrame({"g": [rng.randrange(9) for _ in range(500)], "x": [rng.random() for _ in range(500)]})
    whole = lazy(df).select(exact_sum(nw.col("x"))).collect()["x"].to_list()
    parts = lazy(df).group_by("g").agg(exact_sum(nw.col("x")).alias("x")).select(exact_sum(nw.col("x")))
    assert parts.collect()["x"].to_list() == whole


def test_ranks_are_dense_with_ties_by_id_and_top_k_cuts_each_group():
    rng = random.Random(3)
    rows = [(user, item, float(rng.randrange(4))) for user in range(6) for item in rng.sample(range(50), user * 5)]
    df = pl.DataFrame(rows, schema=["user_id", "item_id", "score"], orient="row")
    ranked = dense_rank(lazy(df), ["user_id"], "score", ["item_id"]).collect().to_native()
    groups = defaultdict(list)
    for user, item, score in rows:
        groups[user].append((-score, item))
    expected = {(u, item): n for u, g in groups.items() for n, (_, item) in enumerate(sorted(g), 1)}
    assert {(r["user_id"], r["item_id"]): r["rank"] for r in ranked.to_dicts()} == expected
    best = top_k(lazy(df), 3, ["user_id"], "score", ["item_id"], name="place").collect().to_native()
    assert {(r["user_id"], r["item_id"]) for r in best.to_dicts()} == {key for key, n in expected.items() if n <= 3}
    assert best.columns == ["user_id", "item_id", "score", "place"]


def test_a_frame_without_groups_is_ranked_as_one():
    df = pl.DataFrame({"item_id": ["b", "a", "c"], "score": [1.0, 1.0, 2.0]})
    ranked = dense_rank(lazy(df), [], "score", ["item_id"]).collect().to_native()
    assert dict(zip(ranked["item_id"], ranked["rank"], strict=True)) == {"c": 1, "a": 2, "b": 3}
