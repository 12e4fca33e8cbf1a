"""What every log of changes of items does, on SQLite and PostgreSQL, and its way back to the landing zone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_api.events.export import Exporter, item_line
from recsys_api.events.item_change import ItemChange
from recsys_api.events.opening import open_events
from recsys_api.events.store import Limits
from recsys_assets_tests.api.events.conftest import NOW, event
from recsys_assets_tests.api.events.test_export import LEASE, Landing

LIMITS = Limits(days=30, keep_unexported=False, item_changes=3)
DAY = 86_400_000_000
CHANGES = st.builds(
    ItemChange,
    item_id=st.sampled_from([1, "1", -(2**63), "ünï\x00→", "'"]),
    field=st.sampled_from(["price", "available", "category"]),
    value=st.booleans() | st.floats(0, allow_nan=False, allow_infinity=False) | st.text("ü'\"→", min_size=1),
    ts=st.integers(NOW - 5, NOW + 5),
)


def change(item: int | str, value: Any = 1.0, field: str = "price", ts: int = 0) -> ItemChange:
    return ItemChange(item, field, value, NOW + ts)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(CHANGES, min_size=1, max_size=5), max_size=5))
def test_a_log_is_a_list_whose_times_never_go_back(new_url: Callable[[], str], calls: list[list[ItemChange]]) -> None:
    async def compare() -> None:
        url = new_url()
        store, other = [await open_events(url, LIMITS) for _ in range(2)]
        kept: list[ItemChange] = []
        cursor, seen = 0, list[ItemChange]()
        for call in calls:
            for one in call:
                kept.append(replace(one, ts=max([one.ts, *(earlier.ts for earlier in kept)])))
            assert await store.items.add(call) == kept[-1].ts
            while arrived := await other.items.since(cursor, 2):
                seen += [one for _, one in arrived]
                cursor = arrived[-1][0]
            assert seen == kept, "another worker has them all, in their order"
        assert [type(one.value) for one in seen] == [type(one.value) for one in kept]
        assert (await store.items.backlog()).unexported == len(kept)
        assert (await store.backlog()).unexported == 0, "events are another log"
        for one in (store, other):
            await one.close()

    asyncio.run(compare())


@pytest.mark.anyio
async def test_two_workers_that_add_at_once_agree_on_the_order(url: str) -> None:
    workers = [await open_events(url, LIMITS) for _ in range(2)]
    calls = [[change(item, float(number), ts=number * 7 % 5) for item in range(3)] for number in range(20)]
    await asyncio.gather(*(workers[number % 2].items.add(call) for number, call in enumerate(calls)))
    arrived = await workers[0].items.since(0, 1000)
    assert arrived == await workers[1].items.since(0, 1000)
    assert len(arrived) == 60
    assert [one.ts for _, one in arrived] == sorted(one.ts for _, one in arrived)
    for start in range(0, 60, 3):
        assert len({one.value for _, one in arrived[start : start + 3]}) == 1, "those of a call stay together"
    for store in workers:
        await store.close()


@pytest.mark.anyio
async def test_trimming_keeps_the_newest_of_each_field_within_age_and_count(url: str) -> None:
    store = await open_events(url, LIMITS)
    await store.items.add([change(9, ts=-30 * DAY - 1)])
    await store.items.add([change(1, 1.0), change(1, 2.0), change(2), change(1, True, "available"), change(3)])
    await store.add([event("e")])
    assert await store.items.trim(NOW) == 3, "one old, one replaced, one beyond the newest three"
    left = [(one.item_id, one.field) for _, one in await store.items.since(0, 9)]
    assert left == [(2, "price"), (1, "available"), (3, "price")]
    assert await store.items.trim(NOW) == 0
    (sequence, _), *_ = await store.items.since(0, 9)
    await store.items.add([change(4)])
    assert [one.item_id for _, one in await store.items.since(sequence, 9)] == [1, 3, 4], "sequences go on"
    assert len(await store.since(0, 9)) == 1
    await store.close()


@pytest.mark.anyio
async def test_trimming_waits_until_changes_are_exported(url: str) -> None:
    store = await open_events(url, replace(LIMITS, keep_unexported=True))
    await store.items.add([change(1), change(1), change(1)])
    assert await store.items.trim(NOW) == 0
    assert await store.items.claim_export("me", NOW, 10)
    assert await store.claim_export("you", NOW, 10), "events have a lease of their own"
    assert await store.items.plan_export("me", 2)
    assert await store.items.finish_export("me", 2, NOW)
    assert await store.items.trim(NOW) == 2
    assert len(await store.items.since(0, 9)) == 1
    await store.close()


@pytest.mark.anyio
async def test_each_change_is_in_one_file_and_after_a_crash_in_the_same_one(url: str, tmp_path: Path) -> None:
    store, landing = await open_events(url, Limits()), Landing(tmp_path / "landing")
    one, two = (Exporter(store.items, item_line, lambda: landing, name, 0.001, 100) for name in ("one", "two"))
    await store.items.add([change("a", 9.5), change("a", False, "available"), change("b", "shoes", "category")])
    await one.export(NOW)
    landing.crash = "after"
    with pytest.raises(OSError, match="crashed"):
        await one.export(NOW + 1000)
    landing.crash = ""
    await store.items.add([change("c", 1e-7, ts=5)])
    await store.add([event("e")])
    await two.export(NOW + 2000)
    assert await two.export(NOW + LEASE) == [], "the lease is the other's"
    assert await two.export(NOW + LEASE + 1000) == ["served/items-000000000001-000000000003.jsonl.gz"]
    assert await two.export(NOW + LEASE + 2000) == ["served/items-000000000004-000000000004.jsonl.gz"]
    assert sorted(path.name.partition("-")[0] for path in (landing.root / "served").iterdir()) == ["items", "items"]
    time = "2026-01-01T00:00:00.00000"
    assert landing.lines("items") == [
        {"item_id": "a", "ts": f"{time}0Z", "property": "price", "value": "9.5"},
        {"item_id": "a", "ts": f"{time}0Z", "property": "available", "value": "0"},
        {"item_id": "b", "ts": f"{time}0Z", "property": "category", "value": "shoes"},
        {"item_id": "c", "ts": f"{time}5Z", "property": "price", "value": "0.0000001"},
    ]
    await store.close()
