"""New items by category and price: a case worked out by hand, and which items must never be recommended."""

from __future__ import annotations

from datetime import date

import narwhals as nw
import pytest

from recsys_assets.core.contracts import ITEM_ACTIVITY, ITEM_FEATURES, USER_ACTIVITY, IdTypes
from recsys_assets.core.engine import Frame
from recsys_assets.core.retrieval.content import alike, new_items
from recsys_assets.core.retrieval.generators import user_history
from recsys_assets_tests.core.world import INTS, STRINGS, Row, end_of, frame, rows, typed

DAY = date(2024, 3, 1)


def items(ids: IdTypes, *given: tuple[int, str | None, str | None, float | None, int]) -> Frame:
    """Rows of item, category, root, price and days known."""
    found: list[Row] = [
        {
            "item_id": typed(item, ids.item), "category_id": category, "root_id": root, "price": price,
            "available": True, "days_known": days,
        }
        for item, category, root, price, days in given
    ]  # fmt: skip
    return frame(found, ITEM_FEATURES, ids, day=False)


def history(ids: IdTypes, *given: tuple[int, int, float]) -> Frame:
    """Rows of user, item and weight, all of today."""
    found = [
        {
            "user_id": typed(user, ids.user), "item_id": typed(item, ids.item), "events": 1, "targets": 0,
            "weight": weight, "top_weight": weight, "last_ts": end_of(DAY), "dt": DAY,
        }
        for user, item, weight in given
    ]  # fmt: skip
    return user_history(frame(found, USER_ACTIVITY, ids), DAY, end_of(DAY), 7, 5.0)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_a_case_by_hand(ids: IdTypes):
    catalog = items(
        ids,
        (1, "shoes", "wear", 100.0, 40),
        (2, "shoes", "wear", 25.0, 40),
        (3, "books", "books", 8.0, 40),
        (10, "shoes", "wear", 50.0, 1),
        (11, "shoes", "wear", 200.0, 1),
        (12, "shoes", "wear", None, 1),
        (13, "hats", "wear", 50.0, 8),
        (14, "books", "books", 8.0, 8),
        (15, None, None, 50.0, 1),
        (16, "tea", "food", 50.0, 1),
    )
    fresh = new_items(catalog, frame([], ITEM_ACTIVITY, ids), 7, 0).filter(nw.col("days_known") < 40)
    # Weights of 1 and 3 are fresh weights of 1 and 2: user 1 has half of the weight in shoes (about 50) and as much in
    # books, user 2 has all of it in hats, of which there is no other.
    seen = history(ids, (1, 1, 1.0), (1, 2, 1.0), (1, 3, 3.0), (2, 13, 1.0))
    found = {(row["user_id"], row["item_id"]): row["score"] for row in rows(alike(seen, catalog, fresh, 3, 9))}
    one, two = typed(1, ids.user), typed(2, ids.user)
    expected = {
        (one, 10): 0.5 + 0.25 * 0.5,
        (one, 11): (0.5 + 0.25 * 0.5) / 4,
        (one, 12): (0.5 + 0.25 * 0.5) / 2,
        (one, 13): 0.25 * 0.5 / 2,
        (one, 14): (0.5 + 0.25 * 0.5) / 2,
        (two, 10): 0.25,
        (two, 11): 0.25 / 4,
        (two, 12): 0.25 / 2,
    }
    assert found == {
        (user, typed(item, ids.item)): pytest.approx(score, abs=2e-6) for (user, item), score in expected.items()
    }


def test_new_items_are_known_for_days_or_without_events_and_have_few_users():
    catalog = items(INTS, *((item, "c", "c", None, days) for item, days in ((1, 3), (2, 4), (3, 40), (4, 2), (5, 40))))
    counts = {1: 2, 2: 1, 4: 3, 5: 1}
    activity = [
        {
            "item_id": item, "events": 1, "targets": 0, "weight": 1.0, "users": users, "sessions": 1,
            "last_ts": end_of(DAY), "dt": DAY,
        }
        for item, users in counts.items()
    ]  # fmt: skip
    found = rows(new_items(catalog, frame(activity, ITEM_ACTIVITY), days=3, users=2))
    # 2 is known for too long, 4 was touched by too many, 5 is old and known; 3 is old, but nobody's yet.
    assert [row["item_id"] for row in found] == [1, 3]
    assert [row["newness"] for row in found] == [pytest.approx(0.5 ** (2 / 3)), pytest.approx(0.5**13)]


def test_without_categories_there_are_no_candidates_and_without_prices_the_newest_comes_first():
    seen = history(INTS, (1, 1, 1.0))
    bare = items(INTS, (1, None, None, 5.0, 9), (2, None, None, 5.0, 1))
    assert rows(alike(seen, bare, bare.with_columns(newness=nw.lit(1.0)), 3, 9)) == []
    priceless = items(INTS, (1, "c", None, None, 9), (2, "c", None, None, 2), (3, "c", None, None, 1))
    fresh = new_items(priceless, frame([], ITEM_ACTIVITY), 7, 0)
    found = rows(alike(seen, priceless, fresh, 3, 9))
    assert [row["item_id"] for row in sorted(found, key=lambda row: -row["score"])] == [3, 2]
