"""Popular and similar items."""

import math
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

import duckdb
import narwhals as nw
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import (
    COVISITED_ITEMS,
    ITEM_ACTIVITY,
    ITEM_FEATURES,
    ITEM_PAIRS,
    SIMILAR_ITEMS,
    TOP_POPULAR,
    IdTypes,
    arrow_schema,
)
from recsys_assets.core.engine import Frame
from recsys_assets.core.models.covisitation import (
    CovisitParams,
    covisit_in_parts,
    covisit_similarity,
)
from recsys_assets.core.models.popular import PopularParams, top_popular
from recsys_assets.core.models.similar_items import similar_in_parts, similar_items
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.world import ENGINE, FIRST, INTS, STRINGS, Row, events, frame, marts, rows, written

DAY = FIRST + timedelta(days=9)


def activity(item: int, age: int, weight: float) -> Row:
    return {"item_id": item, "weight": weight, "dt": DAY - timedelta(days=age)}


def feature(item: int, category: str | None = None, available: bool = True) -> Row:
    return {"item_id": item, "category_id": category, "available": available}


def lists(
    window: list[Row], features: list[Row], params: PopularParams, hours: Frame | None = None
) -> dict[str, list[tuple[int, float]]]:
    result = top_popular(frame(window, ITEM_ACTIVITY), frame(features, ITEM_FEATURES), DAY, params, hours)
    found = defaultdict(list)
    for row in rows(result, "segment", "rank"):
        found[row["segment"]].append((row["item_id"], row["score"]))
        assert row["rank"] == len(found[row["segment"]])
    return found


def test_what_weighs_nothing_is_popular_nowhere():
    """Neither in a window nor among what was popular before, which fills it up."""
    window = [activity(0, 0, 1.0), activity(1, 0, 0.0), activity(2, 9, 0.0)]
    found = lists(window, [feature(item, "c") for item in range(3)], PopularParams())
    assert found
    assert {item for of in found.values() for item, _ in of} == {0}


def test_segments_by_hand():
    window = [
        activity(0, 0, 4.0), activity(0, 1, 4.0), activity(1, 4, 10.0), activity(2, 5, 99.0), activity(3, 0, 8.0),
        activity(3, -1, 99.0), activity(4, 0, 0.0), activity(5, 0, 50.0),
    ]  # fmt: skip
    features = [feature(0, "x"), feature(1, "x"), feature(3, "y"), feature(5, "y", available=False)]
    params = PopularParams(days=5, trending_days=2, trending_half_life=1.0, k=2)
    assert lists(window, features, params) == {
        "all": [(1, 10.0), (0, 8.0)],
        "trending": [(3, 8.0), (0, 6.0)],
        "category:x": [(1, 10.0), (0, 8.0)],
        "category:y": [(3, 8.0)],
    }, "ties go to the smaller id; the future, the far past and what is gone are not popular"
    hours = ENGINE.from_arrow(
        pa.table({"item_id": [1, 1, 3, 2, 3], "hours": [0, 24, 12, 72, -1], "weight": [1.0, 4.0, 4.0, 99.0, 99.0]})
    )
    short = PopularParams(days=5, trending_half_life=0.5, k=2, category_days=2)
    assert lists(window, features, short, hours) == {
        "all": [(1, 10.0), (0, 8.0)],
        "trending": [(1, 2.0), (3, 2.0)],
        "category:x": [(0, 8.0)],
        "category:y": [(3, 8.0)],
    }, "half a day halves; the categories have a window of their own"
    keep = lists(window, features, PopularParams(days=5, k=2, exclude_unavailable=False))
    assert keep["all"] == [(5, 50.0), (1, 10.0)]


def test_covisitation_equals_brute_force_in_both_directions():
    window = marts(events(seed=11))
    sessions, weights = defaultdict(int), defaultdict(float)
    for row in rows(window.item_activity):
        sessions[row["item_id"]] += row["sessions"]
    for row in rows(window.item_pairs):
        weights[row["item_id"], row["other_item_id"]] += row["weight"]
        weights[row["other_item_id"], row["item_id"]] += row["weight"]
    expected = defaultdict(list)
    for (a, b), weight in weights.items():
        expected[a].append((-weight / (math.sqrt(sessions[a] * sessions[b]) + 2.0), b))
    found = rows(covisit_similarity(window.item_pairs, window.item_activity, CovisitParams(4, 2.0)), "item_id", "rank")
    for item, near in expected.items():
        mine = [row for row in found if row["item_id"] == item]
        assert [row["similar_item_id"] for row in mine] == [other for _, other in sorted(near)[:4]]
        assert [row["score"] for row in mine] == pytest.approx([-score for score, _ in sorted(near)[:4]])
        assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
        assert item not in [row["similar_item_id"] for row in mine]


def neighbours(item: int, *others: int) -> list[Row]:
    return [
        {"item_id": item, "similar_item_id": other, "score": 1 / rank, "rank": rank}
        for rank, other in enumerate(others, 1)
    ]


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_parts_of_the_items_make_the_files_that_all_items_make(tmp_path: Path, ids: IdTypes):
    window, small = marts(events(seed=14, ids=ids), ids), PolarsEngine()
    params = CovisitParams(4, 2.0)
    near = covisit_similarity(window.item_pairs, window.item_activity, params)
    small.rows_at_once = 20
    parts = list(covisit_in_parts(small, window.item_pairs, window.item_activity, params))
    fused = list(similar_in_parts(small, near, near, 3))
    assert min(len(parts), len(fused)) > 2
    for name, contract, whole, cut in (
        ("near", COVISITED_ITEMS, near, parts),
        ("fused", SIMILAR_ITEMS, similar_items(near, near, 3), fused),
    ):
        for path, frames in ((tmp_path / name, whole), (tmp_path / f"{name} cut", iter(cut))):
            small.sink(frames, path, arrow_schema(contract, ids), contract.sort_by)
        assert (tmp_path / name).read_bytes() == (tmp_path / f"{name} cut").read_bytes()


def test_fusion_by_hand():
    covisit = ENGINE.from_arrow(pa.Table.from_pylist(neighbours(0, 5, 6, 7)))
    factors = ENGINE.from_arrow(pa.Table.from_pylist(neighbours(0, 6, 8) + neighbours(9, 0)))
    found = defaultdict(list)
    for row in rows(similar_items(covisit, factors, 3), "item_id", "source", "rank"):
        found[row["item_id"], row["source"]].append(row["similar_item_id"])
        assert row["rank"] == len(found[row["item_id"], row["source"]])
    assert found == {
        (0, "covisit"): [5, 6, 7],
        (0, "als"): [6, 8],
        (0, "fused"): [6, 5, 8],
        (9, "als"): [0],
        (9, "fused"): [0],
    }


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_the_future_changes_no_list_and_nothing_gives_nothing(ids: IdTypes):
    happened = events(seed=12, ids=ids)
    features = frame([], ITEM_FEATURES, ids)
    now, later = (
        top_popular(marts(given, ids).item_activity, features, DAY, PopularParams())
        for given in ([e for e in happened if e["dt"] <= DAY], happened)
    )
    assert written(now, TOP_POPULAR, ids) == written(later, TOP_POPULAR, ids)
    empty = frame([], ITEM_ACTIVITY, ids)
    assert rows(top_popular(empty, features, DAY, PopularParams())) == []
    none = covisit_similarity(frame([], ITEM_PAIRS, ids), empty, CovisitParams())
    assert rows(similar_items(none, none, 5)) == []


def test_duckdb_gives_the_same_lists():
    window, features = (
        marts(events(seed=13)),
        frame([feature(n, f"c{n % 4}", n % 7 > 0) for n in range(30)], ITEM_FEATURES),
    )
    with duckdb.connect() as connection:

        def moved(one: Frame) -> Frame:
            return nw.from_native(connection.from_arrow(one.collect(backend="polars").to_arrow()))

        here = top_popular(window.item_activity, features, DAY, PopularParams())
        there = top_popular(moved(window.item_activity), moved(features), DAY, PopularParams())
        # Not by their bytes: the bits after the last one of a column of booleans are arbitrary.
        assert rows(there, "segment", "rank") == rows(here, "segment", "rank")
        near = covisit_similarity(window.item_pairs, window.item_activity, CovisitParams())
        near_there = covisit_similarity(moved(window.item_pairs), moved(window.item_activity), CovisitParams())
        expected = written(similar_items(near, near, 5), SIMILAR_ITEMS)
        assert written(similar_items(near_there, near_there, 5), SIMILAR_ITEMS) == expected
