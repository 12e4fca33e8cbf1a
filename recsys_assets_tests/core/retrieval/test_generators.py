"""Each generator by hand or by brute force."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import ITEM_ACTIVITY, ITEM_FEATURES, TOP_POPULAR, USER_ACTIVITY
from recsys_assets.core.retrieval import generators
from recsys_assets_tests.core.world import ENGINE, FIRST, Row, end_of, events, frame, marts, rows

DAY = FIRST + timedelta(days=9)


def table(**columns: list[Any]) -> generators.Frame:
    return ENGINE.from_arrow(pa.table(columns))


def scores(result: generators.Frame) -> dict[tuple[int, int], float]:
    return {(r["user_id"], r["item_id"]): r["score"] for r in rows(result)}


def test_history_equals_brute_force():
    window = marts(events(seed=21)).user_activity
    fresh, last = defaultdict(float), {}
    for row in rows(window, "dt"):
        age = (DAY - row["dt"]).days
        if 0 <= age < 6:
            key = row["user_id"], row["item_id"]
            fresh[key] += math.log2(1 + row["weight"]) * 0.5 ** (age / 3)
            last[key] = row["last_ts"]
    found = {(r["user_id"], r["item_id"]): r for r in rows(generators.user_history(window, DAY, end_of(DAY), 6, 3.0))}
    assert {key: row["fresh_weight"] for key, row in found.items()} == pytest.approx(fresh, abs=1e-5)
    for key, row in found.items():
        assert row["hours_since"] == pytest.approx((end_of(DAY) - last[key]).total_seconds() / 3600)


def test_a_shared_list_gives_k_and_replaces_items_of_the_history():
    users = table(user_id=[0, 1, 2])
    items = table(item_id=[5, 7, 6, 8], score=[4.0, 3.0, 3.0, 1.0], rank=[1, 2, 3, 4], depth=[2] * 4)
    interacted = table(user_id=[0, 0, 1, 1, 1, 1, 9], item_id=[5, 99, 5, 6, 7, 8, 5])
    for k in (nw.lit(2), nw.col("depth")):
        everywhere = {
            (r["user_id"], r["item_id"], r["rank"]) for r in rows(generators.shared_list(users, items, k, None))
        }
        assert everywhere == {(user, *place) for user in (0, 1, 2) for place in ((5, 1), (7, 2))}
        fresh = {
            (r["user_id"], r["item_id"], r["rank"]) for r in rows(generators.shared_list(users, items, k, interacted))
        }
        assert fresh == {(0, 7, 1), (0, 6, 2), (2, 5, 1), (2, 7, 2)}, (
            "in the order of the list, which knows more of ties"
        )


def test_covisit_by_hand():
    history = table(
        user_id=[0, 0, 0, 1], item_id=[1, 2, 3, 9], hours_since=[0.0, 48.0, 99.0, 0.0], top_weight=[1.0, 3.0, 9.0, 1.0]
    )
    similar = table(
        item_id=[1, 1, 2, 2, 3], similar_item_id=[2, 4, 4, 5, 6], score=[0.5, 0.25, 0.5, 0.125, 1.0],
        rank=[1, 2, 1, 2, 1],
    )  # fmt: skip
    found = scores(generators.covisit(history, similar, seeds=2, neighbours=2, half_life_days=2.0))
    assert found == {(0, 2): 0.5, (0, 4): 0.25 + 0.5 * 2 * 0.5, (0, 5): 0.5 * 2 * 0.125}
    first = scores(generators.covisit(history, similar, seeds=2, neighbours=1, half_life_days=2.0))
    assert first == {(0, 2): 0.5, (0, 4): 0.5}


def test_repeat_weighs_freshness_by_the_crowd():
    history = table(user_id=[0, 0, 1], item_id=[0, 1, 0], fresh_weight=[2.0, 3.0, 1.0])
    crowd = frame([{"item_id": 0, "users": 2, "dt": DAY}, {"item_id": 0, "users": 1, "dt": DAY}], ITEM_ACTIVITY)
    assert scores(generators.repeat(history, crowd, 0.5)) == {(0, 0): 4.0, (0, 1): 3.0, (1, 0): 2.0}
    assert scores(generators.repeat(history, crowd, 0.0)) == {(0, 0): 2.0, (0, 1): 3.0, (1, 0): 1.0}


def category_inputs() -> tuple[generators.Frame, ...]:
    history = table(user_id=[0, 0, 0, 0], item_id=[1, 2, 3, 4], weight=[5.0, 3.0, 1.0, 1.0])
    features = frame(
        [{"item_id": i, "category_id": c} for i, c in ((1, "a"), (2, "b"), (3, "b"), (4, None), (5, "a"))],
        ITEM_FEATURES,
    )
    popular: list[Row] = [
        {"segment": segment, "item_id": item, "score": score, "rank": rank}
        for segment, listed in {"category:a": [(5, 8.0), (1, 4.0), (6, 1.0)], "category:b": [(7, 100.0)]}.items()
        for rank, (item, score) in enumerate(listed, 1)
    ]
    return history, features, frame(popular, TOP_POPULAR)


def test_category_shares_and_candidates_by_hand():
    history, features, popular = category_inputs()
    shares = {r["category_id"]: r["share"] for r in rows(generators.category_shares(history, features))}
    assert shares == {"a": 0.5, "b": 0.4}, "weight outside every category counts in the whole"
    found = scores(generators.category(history, features, popular, categories=2, items=2))
    assert found == {(0, 5): 0.5, (0, 1): 0.25, (0, 7): 0.4}
    assert set(scores(generators.category(history, features, popular, categories=1, items=1))) == {(0, 5)}


def test_clock_of_the_history_is_the_end_of_the_data_sets_day():
    end = datetime(2024, 3, 1, 3, tzinfo=UTC)
    row = {"user_id": 0, "item_id": 0, "weight": 1.0, "dt": DAY, "last_ts": datetime(2024, 3, 1, 1, 30, tzinfo=UTC)}
    (found,) = rows(generators.user_history(frame([row], USER_ACTIVITY), DAY, end, 1, 1.0))
    assert found["hours_since"] == 1.5
