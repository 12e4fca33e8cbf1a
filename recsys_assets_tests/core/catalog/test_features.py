"""Features of items as of a day."""

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from recsys_assets.core.catalog.features import item_features
from recsys_assets.core.contracts import CATEGORY_TREE, ITEM_ACTIVITY, ITEM_FEATURES, ITEM_PROPERTIES, IdTypes
from recsys_assets_tests.core.world import (
    FIRST,
    INTS,
    STRINGS,
    Row,
    end_of,
    events,
    frame,
    marts,
    properties,
    property_frame,
    rows,
    tree,
    written,
)

DAY = FIRST + timedelta(days=8)


def snapshot(item: int, name: str, value: str | None, hour: int = 0, day: date = DAY) -> Row:
    ts = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
    return {"item_id": item, "property": name, "value": value, "ts": ts, "dt": day}


def by_item(snapshots: list[Row], activity: list[Row] | None = None) -> dict[int, Row]:
    window = frame([{**row, "events": 1} for row in activity or []], ITEM_ACTIVITY)
    return {r["item_id"]: r for r in rows(item_features(property_frame(snapshots), window, tree(), end_of(DAY), DAY))}


def test_values_by_hand():
    features = by_item(
        [
            snapshot(0, "category", "c1", 1),
            snapshot(0, "category", "c3", 0),
            snapshot(0, "price", "277.2"),
            snapshot(0, "available", "0"),
            snapshot(0, "brand", "Ada"),
            snapshot(1, "title", "old title", 1),
            snapshot(1, "title", "new title", 2),
            snapshot(1, "category", "c4"),
            snapshot(1, "price", "277.2"),
            snapshot(1, "available", "1"),
            snapshot(2, "price", None, day=FIRST),
        ],
        [{"item_id": 0, "dt": DAY - timedelta(days=2)}, {"item_id": 3, "dt": DAY}],
    )
    assert tuple(features[0].values())[1:] == ("c1", "c0", 2, False, 277.2, "Ada", None, DAY - timedelta(days=2), 3)
    assert tuple(features[1].values())[1:] == ("c4", None, None, True, 277.2, None, "new title", DAY, 1)
    assert tuple(features[2].values())[1:] == (None, None, None, True, None, None, None, FIRST, 9)
    assert tuple(features[3].values())[1:] == (None, None, None, True, None, None, None, DAY, 1)
    assert set(features) == {0, 1, 2, 3}


def test_what_means_nothing_known_is_unknown_and_what_was_never_stated_is_available():
    features = by_item(
        [
            snapshot(0, "available", "0", 1),
            snapshot(0, "available", None, 2),
            snapshot(0, "price", "5", 1),
            snapshot(0, "price", None, 2),
            snapshot(1, "price", "0"),
            snapshot(2, "available", "0"),
        ]
    )
    found = {item: (row["available"], row["price"]) for item, row in features.items()}
    assert found == {0: (None, None), 1: (True, 0.0), 2: (False, None)}


def test_the_instant_the_day_ends_belongs_to_the_next():
    tomorrow = snapshot(0, "price", "9", day=DAY + timedelta(days=1))
    assert by_item([snapshot(0, "price", "5", 23), {**tomorrow, "dt": DAY}])[0]["price"] == 5.0
    assert by_item([tomorrow, {**tomorrow, "dt": DAY}]) == {}


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_equals_brute_force(ids: IdTypes):
    snapshots, interactions = properties(seed=3, ids=ids), events(seed=3, ids=ids)
    window = marts(interactions, ids).item_activity
    last: dict[tuple[Any, str], Any] = {}
    first = defaultdict(lambda: DAY)
    for row in sorted(snapshots, key=lambda r: r["ts"]):
        if row["dt"] <= DAY:
            last[row["item_id"], row["property"]] = row["value"]
    for row in [*snapshots, *interactions]:
        if row["dt"] <= DAY:
            first[row["item_id"]] = min(first[row["item_id"]], row["dt"])
    features = rows(item_features(property_frame(snapshots, ids), window, tree(), end_of(DAY), DAY))
    assert {r["item_id"]: r["first_seen"] for r in features} == first
    for row in features:
        item = row["item_id"]
        price = last.get((item, "price"))
        assert row["category_id"] == last.get((item, "category"))
        assert row["available"] == (last.get((item, "available"), "1") == "1")
        assert row["price"] == (None if price is None else float(price))
        assert row["days_known"] == (DAY - row["first_seen"]).days + 1


def test_the_future_and_the_order_of_rows_change_no_byte():
    snapshots, interactions = properties(seed=5), events(seed=5)
    changed = [{**row, "value": "77"} if row["dt"] > DAY else row for row in snapshots]
    random.Random(1).shuffle(changed)
    past = [row for row in snapshots if row["dt"] <= DAY]
    assert len(past) < len(snapshots)

    def result(snapshots: list[Row], acts: list[Row]) -> bytes:
        activity = marts(acts).item_activity
        return written(item_features(property_frame(snapshots), activity, tree(), end_of(DAY), DAY), ITEM_FEATURES)

    expected = result(snapshots, interactions)
    assert result(changed, interactions) == expected
    assert result(past, [e for e in interactions if e["dt"] <= DAY]) == expected


def test_no_properties_no_tree_no_activity():
    nothing = item_features(
        frame([], ITEM_PROPERTIES), frame([], ITEM_ACTIVITY), frame([], CATEGORY_TREE), end_of(DAY), DAY
    )
    assert rows(nothing) == []
    no_tree = item_features(
        property_frame([snapshot(0, "category", "c1")]),
        frame([], ITEM_ACTIVITY),
        frame([], CATEGORY_TREE, day=False),
        end_of(DAY),
        DAY,
    )
    assert [(r["category_id"], r["root_id"], r["available"]) for r in rows(no_tree)] == [("c1", None, True)]
