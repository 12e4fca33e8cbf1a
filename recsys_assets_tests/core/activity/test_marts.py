"""Daily marts by hand and by brute force; merging days equals aggregating their union."""

import math
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import combinations

import duckdb
import narwhals as nw
import pytest

from recsys_assets.core.activity.marts import EventWeights, item_activity, item_pairs, user_activity
from recsys_assets.core.activity.merge import (
    merge_item_activity,
    merge_item_pairs,
    merge_user_activity,
)
from recsys_assets.core.clock import days_before, half_life, hours_before, last_days
from recsys_assets.core.contracts import CLEAN_EVENTS, ITEM_ACTIVITY, ITEM_PAIRS, USER_ACTIVITY, IdTypes
from recsys_assets.core.engine import Frame
from recsys_assets_tests.core.world import INTS, STRINGS, WEIGHTS, Row, events, frame, marts, rows, written

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def event(user: int | None, item: int, kind: str, minute: int, session: int | None = 0) -> Row:
    ts = NOON + timedelta(minutes=minute)
    return {"user_id": user, "item_id": item, "event_type": kind, "ts": ts, "session_id": session}


def day(*records: Row) -> Frame:
    return frame(records, CLEAN_EVENTS, day=False)


def test_a_day_by_hand():
    interactions = day(
        event(0, 0, "view", 0),
        event(0, 0, "buy", 5),
        event(0, 1, "cart", 6, session=7),
        event(1, 0, "view", 9),
        event(None, 0, "view", 10, session=None),
        event(None, 2, "unheard of", 11, session=None),
    )
    assert [(r["user_id"], r["item_id"], r["events"], r["targets"], r["weight"], r["top_weight"], r["last_ts"].minute)
            for r in rows(user_activity(interactions, WEIGHTS), "user_id", "item_id")] == [
        (0, 0, 2, 1, 7.0, 6.0, 5), (0, 1, 1, 0, 2.5, 2.5, 6), (1, 0, 1, 0, 1.0, 1.0, 9),
    ]  # fmt: skip
    by_item = item_activity(interactions, WEIGHTS).select(*ITEM_ACTIVITY.columns)
    assert [tuple(r.values())[:6] for r in rows(by_item)] == [
        (0, 4, 1, 9.0, 2, 2), (1, 1, 0, 2.5, 1, 1), (2, 1, 0, 0.0, 0, 0),
    ]  # fmt: skip


def test_pairs_by_hand():
    """Unknown users have no sessions; the same session id of two users is two sessions; repeats count once."""
    interactions = day(
        event(0, 2, "view", 0),
        event(0, 0, "view", 1),
        event(0, 2, "buy", 2),
        event(0, 1, "view", 3),
        event(1, 0, "view", 4),
        event(1, 1, "view", 5),
        event(1, 5, "view", 5, session=9),
        event(None, 0, "view", 6, session=None),
        event(None, 3, "view", 6, session=None),
    )
    result = {(r["item_id"], r["other_item_id"]): (r["sessions"], r["weight"]) for r in rows(item_pairs(interactions))}
    assert result == {
        (0, 1): (2, pytest.approx(1 / math.log2(4) + 1 / math.log2(3), abs=1e-6)),
        (0, 2): (1, 0.5),
        (1, 2): (1, 0.5),
    }
    capped = {(r["item_id"], r["other_item_id"]): r["sessions"] for r in rows(item_pairs(interactions, 2))}
    assert capped == {(0, 1): 1, (1, 2): 1}, "the last two items of user 0 are 2 (again at minute 2) and 1"


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_marts_equal_brute_force(ids: IdTypes):
    interactions = events(seed=4, days=1, ids=ids)
    identified = [e for e in interactions if e["user_id"] is not None]
    clean = frame(interactions, CLEAN_EVENTS, ids)
    users = defaultdict(list)
    sessions = defaultdict(set)
    for e in identified:
        users[e["user_id"], e["item_id"]].append(e)
        sessions[e["user_id"], e["session_id"]].add(e["item_id"])
    for row in (result := rows(user_activity(clean, WEIGHTS))):
        mine = users[row["user_id"], row["item_id"]]
        weights = [WEIGHTS.weights[e["event_type"]] for e in mine]
        assert (row["events"], row["weight"], row["top_weight"]) == (len(mine), sum(weights), max(weights))
        assert row["targets"] == sum(e["event_type"] == "buy" for e in mine)
        assert row["last_ts"] == max(e["ts"] for e in mine)
    assert len(result) == len(users)
    for row in (result := rows(item_activity(clean, WEIGHTS))):
        item = row["item_id"]
        assert row["events"] == sum(e["item_id"] == item for e in interactions)
        assert row["users"] == len({e["user_id"] for e in identified if e["item_id"] == item})
        assert row["sessions"] == sum(item in items for items in sessions.values())
    assert len(result) == len({e["item_id"] for e in interactions})
    pairs = defaultdict(int)
    for items in sessions.values():
        for pair in combinations(sorted(items, key=lambda i: i.encode() if isinstance(i, str) else i), 2):
            pairs[pair] += 1
    assert {(r["item_id"], r["other_item_id"]): r["sessions"] for r in rows(item_pairs(clean))} == pairs


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_merging_days_equals_aggregating_their_union(ids: IdTypes):
    """Exact, to the bit, also for weights that have no exact binary form."""
    interactions = events(seed=5, ids=ids)
    odd = EventWeights({"view": 0.1, "cart": 1 / 3, "buy": 2.7}, frozenset({"buy", "cart"}))
    union = frame(interactions, CLEAN_EVENTS, ids)
    by_day = [
        frame([e for e in interactions if e["dt"] == d], CLEAN_EVENTS, ids)
        for d in sorted({e["dt"] for e in interactions})
    ]

    def merged(mart: Callable[[Frame], Frame], merge: Callable[[Frame], Frame]) -> Frame:
        parts = [mart(one).with_columns(dt=nw.lit(date(2024, 3, 1))) for one in by_day]
        return merge(nw.concat(parts, how="vertical"))

    for contract, mart, merge, leave in (
        (USER_ACTIVITY, lambda e: user_activity(e, odd), merge_user_activity, ()),
        (ITEM_ACTIVITY, lambda e: item_activity(e, odd), merge_item_activity, ("users",)),
        (ITEM_PAIRS, item_pairs, merge_item_pairs, ()),
    ):
        columns = [name for name in contract.columns if name not in leave]
        assert rows(merged(mart, merge).select(columns)) == rows(mart(union).select(columns)), contract.name


def test_merge_tells_days_and_user_days():
    interactions = events(seed=6)
    window = marts(interactions)
    days = defaultdict(set)
    user_days = defaultdict(set)
    for e in interactions:
        if e["user_id"] is not None:
            days[e["user_id"], e["item_id"]].add(e["dt"])
            user_days[e["item_id"]].add((e["user_id"], e["dt"]))
    for row in rows(merge_user_activity(window.user_activity)):
        mine = days[row["user_id"], row["item_id"]]
        assert (row["days"], row["first_day"], row["last_day"]) == (len(mine), min(mine), max(mine))
    assert all(len(user_days[r["item_id"]]) == r["users"] for r in rows(merge_item_activity(window.item_activity)))


def test_order_of_events_changes_no_byte():
    interactions = events(seed=7, days=2)
    shuffled = random.Random(0).sample(interactions, len(interactions))
    for contract, mart in (
        (USER_ACTIVITY, lambda e: user_activity(e, WEIGHTS)),
        (ITEM_ACTIVITY, lambda e: item_activity(e, WEIGHTS)),
        (ITEM_PAIRS, lambda e: item_pairs(e, 4)),
    ):
        first, second = (mart(frame(records, CLEAN_EVENTS)) for records in (interactions, shuffled))
        assert written(first, contract) == written(second, contract)


def test_duckdb_gives_the_same_marts():
    clean = frame(events(seed=8, days=1), CLEAN_EVENTS)
    with duckdb.connect() as connection:
        relation = nw.from_native(connection.from_arrow(clean.collect(backend="polars").to_arrow()))
        for contract, mart in (
            (USER_ACTIVITY, lambda e: user_activity(e, WEIGHTS)),
            (ITEM_ACTIVITY, lambda e: item_activity(e, WEIGHTS)),
            (ITEM_PAIRS, lambda e: item_pairs(e, 5)),
        ):
            assert written(mart(relation), contract) == written(mart(clean), contract)


def test_a_day_without_events():
    nothing = day()
    assert rows(user_activity(nothing, WEIGHTS)) == rows(item_activity(nothing, WEIGHTS)) == []
    assert rows(item_pairs(nothing)) == rows(merge_item_pairs(frame([], ITEM_PAIRS))) == []
    only_unknown = day(event(None, 3, "view", 0, session=None))
    assert rows(user_activity(only_unknown, WEIGHTS)) == rows(item_pairs(only_unknown)) == []


def test_clock():
    days = [
        date(1970, 1, 1),
        date(2000, 2, 29),
        date(2001, 3, 1),
        date(2024, 2, 29),
        date(2024, 12, 31),
        date(2100, 3, 1),
    ]
    as_of = date(2024, 3, 2)
    interactions = frame([{**event(0, n, "view", 7 * n), "dt": d} for n, d in enumerate(days)], CLEAN_EVENTS)
    end = datetime(2024, 3, 3, 3, tzinfo=UTC)
    result = rows(
        interactions.select(
            "item_id", "ts", "dt", age=days_before(nw.col("dt"), as_of), hours=hours_before(nw.col("ts"), end),
            left=half_life(nw.col("item_id") * 2.0, 2.0),
        )
    )  # fmt: skip
    assert [row["age"] for row in result] == [(as_of - d).days for d in days]
    assert [row["hours"] for row in result] == pytest.approx(
        [(end - row["ts"]).total_seconds() / 3600 for row in result]
    )
    assert [row["left"] for row in result] == pytest.approx([0.5**n for n in range(6)])
    assert [r["dt"] for r in rows(last_days(interactions, as_of, 3))] == [date(2024, 2, 29)]
    assert rows(last_days(interactions, as_of, 2)) == []
