import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import RECOMMENDATIONS, IdTypes, arrow_schema
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()


@pytest.mark.parametrize("ids", [IdTypes(), IdTypes("string", "string")])
@pytest.mark.parametrize("order_by", ["ranker", "fused", *BUILT_IN.names])
def test_lists_are_dense_no_longer_than_k_and_fall_in_score(order_by: str, ids: IdTypes):
    table, _ = synthetic.candidates(12, 20, ids=ids)
    scores = pl.DataFrame(table).select("user_id", "item_id", score=pl.col("item_price").round(1))
    got = recommend(ENGINE.from_arrow(table), order_by, ENGINE.from_arrow(scores.to_arrow()), k=15)
    rows = got.collect().to_native().sort("user_id", "rank")

    rows.with_columns(generator=pl.lit("covisit")).to_arrow().cast(arrow_schema(RECOMMENDATIONS, ids))
    assert set(rows["source"]) <= {order_by, "fused"}
    for _, mine in rows.group_by("user_id"):
        assert mine["rank"].to_list() == list(range(1, 16))
        assert mine["score"].is_sorted(descending=True)
        assert mine["item_id"].n_unique() == 15
    again = recommend(ENGINE.from_arrow(table), order_by, ENGINE.from_arrow(scores.to_arrow()), k=15)
    assert again.collect().to_native().sort("user_id", "rank").equals(rows)


def _toy() -> tuple[pl.DataFrame, pl.DataFrame]:
    """One user (0), five items; 'repeat' proposes 40 and 0, the fusion prefers 30."""
    table, _ = synthetic.candidates(1, 5)
    toy = pl.DataFrame(table).with_columns(
        item_id=pl.Series([0, 10, 20, 30, 40]),
        repeat_rank=pl.Series([2, None, None, None, 1], dtype=pl.Int64),
        repeat_score=pl.Series([0.02, None, None, None, 0.5]),
        fused_score=pl.Series([0.05, 0.01, 0.03, 0.09, 0.02]),
        fused_rank=pl.Series([2, 5, 3, 1, 4]),
    )
    return toy, toy.select("user_id", "item_id", score=pl.Series([1.0, 2.0, 2.0, -1.0, 2.0]))


def _lists(order_by: str, k: int = 100) -> list[tuple[int, int, float, str]]:
    toy, scores = _toy()
    got = recommend(ENGINE.from_arrow(toy.to_arrow()), order_by, ENGINE.from_arrow(scores.to_arrow()), k)
    return got.collect().to_native().sort("rank").select("item_id", "rank", "score", "source").rows()


def test_the_ranker_orders_by_score_and_ties_by_item():
    assert [row[0] for row in _lists("ranker")] == [10, 20, 40, 0, 30]
    assert _lists("ranker", k=2) == [(10, 1, 2.0, "ranker"), (20, 2, 2.0, "ranker")]


def test_the_fusion_orders_by_its_rank():
    assert [(item, score) for item, _, score, _ in _lists("fused")] == [
        (30, 0.09),
        (0, 0.05),
        (20, 0.03),
        (40, 0.02),
        (10, 0.01),
    ]


def test_a_generator_comes_first_and_the_fusion_fills():
    assert _lists("repeat") == [
        (40, 1, 0.5, "repeat"),
        (0, 2, 0.02, "repeat"),
        (30, 3, 0.02, "fused"),
        (20, 4, 0.02, "fused"),
        (10, 5, 0.01, "fused"),
    ]


def test_a_user_without_the_generators_items_gets_the_fusion():
    toy, _ = _toy()
    none = toy.with_columns(repeat_rank=pl.lit(None, pl.Int64), repeat_score=pl.lit(None, pl.Float64))
    rows = recommend(ENGINE.from_arrow(none.to_arrow()), "repeat").collect().to_native().sort("rank")
    assert rows["item_id"].to_list() == [30, 0, 20, 40, 10]
    assert set(rows["source"]) == {"fused"}
    assert rows["score"].to_list() == [0.09, 0.05, 0.03, 0.02, 0.01]


def test_no_candidates_give_no_rows():
    table, _ = synthetic.candidates(2, 4)
    empty = ENGINE.from_arrow(pa.Table.from_batches([], schema=table.schema))
    assert recommend(empty, "fused").collect().to_native().is_empty()


def test_wrong_arguments_are_named():
    table, _ = synthetic.candidates(2, 4)
    frame = ENGINE.from_arrow(table)
    for k in (0, 101):
        with pytest.raises(ValueError, match=f"k is {k}, expected 1 to 100"):
            recommend(frame, "fused", k=k)
    for k in (1, 100):
        table = recommend(frame, "fused", k=k).collect(backend="polars")
        assert len(table) == 2 * min(k, 4), "the bounds themselves are allowed"
    with pytest.raises(ValueError, match="order_by is 'svd', expected one of ranker, fused, popular"):
        recommend(frame, "svd")
    with pytest.raises(ValueError, match="expected the scores"):
        recommend(frame, "ranker")
