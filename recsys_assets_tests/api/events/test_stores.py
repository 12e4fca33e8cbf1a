"""What every store of events does: one suite for SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_api.events.event import Event
from recsys_api.events.opening import open_events
from recsys_api.events.store import Added, EventStore, ExportState, Limits
from recsys_assets_tests.api.events.conftest import NOW, event

LIMITS = Limits(days=30, per_user=3, keep_unexported=False)
DAY = 86_400_000_000

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
USERS = st.sampled_from([1, "1", 0, -(2**63), 2**63 - 1, "ünï\x00→", "'"])
IDS = st.sampled_from(["a", "b", "A", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "0189f7ea-ae2c-7809-8aeb-b819cf5e9e7f"])
NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=4)  # the edge refuses others
EVENTS = st.builds(
    Event,
    event_id=IDS | NAMES,
    user_id=USERS,
    item_id=USERS,
    event_type=st.sampled_from(["view", "impression"]),
    ts=st.integers(NOW, NOW + 3),
    session_id=st.none() | TEXT,
    position=st.none() | st.integers(1, 9),
    price=st.none() | st.floats(0, allow_nan=False, allow_infinity=False),
)
STEPS = st.lists(st.lists(EVENTS, max_size=6) | USERS, max_size=8)


async def _follows(store: EventStore, steps: list[Any]) -> None:
    """Compare a store with a list, step by step."""
    kept: list[Event] = []
    deleted: set[int | str] = set()
    seen: list[Event] = []
    cursor = 0
    for step in steps:
        if isinstance(step, list):
            new: list[Event] = []
            is_new: list[bool] = []
            for one in step:
                is_new.append(one.event_id not in {e.event_id for e in kept + new})
                if is_new[-1]:
                    new.append(one)
            added = await store.add(step)
            assert added == Added(len(new), len(step) - len(new))
            assert list(added.new) == is_new
            kept += new
            for sequence, arrived in await store.since(cursor, 100):
                assert sequence > cursor
                cursor = sequence
                seen.append(arrived)
            assert seen[len(seen) - len(new) :] == new
        else:
            gone = [e for e in kept if e.user_id == step]
            assert await store.delete_user(step) == len(gone)
            kept = [e for e in kept if e.user_id != step]
            deleted.add(step)
        for user in (1, "1", 0, "ünï\x00→"):
            mine = [e for e in reversed(kept) if e.user_id == user]
            mine.sort(key=lambda e: -e.ts)
            assert await store.of_user(user, 3) == mine[:3]
            assert await store.history(user, 3) == (mine[:3], user in deleted)
    everything = await store.since(0, 1000)
    assert [e for _, e in everything] == kept
    assert await store.since(0, 2) == everything[:2]
    assert (await store.backlog()).unexported == len(kept)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_store_is_a_list_without_duplicates(new_url: Callable[[], str], steps: list[Any]) -> None:
    async def compare() -> None:
        store = await open_events(new_url(), LIMITS)
        try:
            await _follows(store, steps)
        finally:
            await store.close()

    asyncio.run(compare())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_what_is_added_in_two_workers_at_once_is_seen_once_by_who_follows(url: str) -> None:
    workers = [await open_events(url, LIMITS) for _ in range(2)]
    reader = await open_events(url, LIMITS)
    seen: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def follow() -> None:
        last = False
        while not last:
            last = done.is_set()  # one more look after the end
            while arrived := await reader.since(seen[-1][0] if seen else 0, 7):
                seen.extend((sequence, e.event_id) for sequence, e in arrived)

    async def post(worker: int, caller: int) -> int:
        accepted = 0
        for number in range(30):
            # Half of the ids are posted by both workers.
            names = [f"{caller}-{number}", f"{worker}-{caller}-{number}"]
            accepted += (await workers[worker].add([event(name) for name in names])).accepted
        return accepted

    following = asyncio.create_task(follow())
    accepted = await asyncio.gather(*(post(worker, caller) for worker in (0, 1) for caller in range(8)))
    done.set()
    await following
    assert sum(accepted) == 8 * 30 * 3
    assert len(seen) == len({name for _, name in seen}) == sum(accepted)
    for store in (*workers, reader):
        await store.close()


POSTER = """
import asyncio, json, sys
from recsys_api.events.opening import open_events
from recsys_api.events.store import Limits
from recsys_api.events.event import Event

async def main(url, name, calls, callers):
    store = await open_events(url, Limits())
    async def post(caller):
        accepted = 0
        for number in range(calls):
            ids = [f"{name}-{caller}-{number}", f"shared-{caller}-{number}"]
            added = await store.add([Event(i, caller, 1, "view", number) for i in ids])
            accepted += added.accepted
            print(json.dumps(ids), flush=True)
        return accepted
    accepted = sum(await asyncio.gather(*map(post, range(callers))))
    await store.close()
    print(json.dumps(accepted), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


def start(url: str, name: str, calls: int, callers: int) -> subprocess.Popen[str]:
    """A process that posts events, and prints the ids of each call that is acknowledged."""
    command = [sys.executable, "-c", POSTER, url, name, str(calls), str(callers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def all_ids(url: str) -> list[str]:
    store = await open_events(url, LIMITS)
    try:
        return [e.event_id for _, e in await store.since(0, 1_000_000)]
    finally:
        await store.close()


def test_processes_share_a_store_and_each_event_is_stored_once(url: str) -> None:
    processes = [start(url, name, 25, 8) for name in ("a", "b")]
    accepted = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    ids = asyncio.run(all_ids(url))
    assert len(ids) == len(set(ids)) == sum(accepted) == 8 * 25 * 3


def test_what_was_acknowledged_outlives_kill_9(url: str) -> None:
    process = start(url, "a", 100_000, 8)
    assert process.stdout
    acknowledged = [json.loads(process.stdout.readline()) for _ in range(150)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [json.loads(line) for line in process.communicate()[0].splitlines() if line.endswith("]")]
    assert process.returncode == -signal.SIGKILL
    ids = asyncio.run(all_ids(url))
    assert {name for call in acknowledged for name in call} <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.anyio
async def test_trimming_forgets_by_age_and_keeps_the_newest_of_a_user(url: str) -> None:
    store = await open_events(url, LIMITS)
    await store.add([event(f"mine-{n}", ts=n) for n in (5, 1, 4, 2, 3)])
    await store.add(
        [event("other", user_id="1"), event("old", user_id=2, ts=-30 * DAY - 1), event("edge", 3, ts=-30 * DAY)]
    )
    assert await store.trim(NOW) == 3
    assert [e.event_id for e in await store.of_user(1, 9)] == ["mine-5", "mine-4", "mine-3"]
    assert sorted(e.event_id for _, e in await store.since(0, 99)) == ["edge", "mine-3", "mine-4", "mine-5", "other"]
    assert await store.trim(NOW) == 0
    await store.close()


@pytest.mark.anyio
async def test_trimming_waits_until_events_are_exported(url: str) -> None:
    store = await open_events(url, replace(LIMITS, keep_unexported=True))
    await store.add([event("old", ts=-60 * DAY), event("later", ts=-59 * DAY)])
    assert await store.trim(NOW) == 0
    (first, _), _ = await store.since(0, 9)
    assert await store.claim_export("me", NOW, 10)
    assert await store.plan_export("me", first)
    assert await store.finish_export("me", first, NOW)
    assert await store.trim(NOW) == 1
    assert [e.event_id for _, e in await store.since(0, 9)] == ["later"]
    await store.close()


@pytest.mark.anyio
async def test_one_worker_exports_until_its_time_is_over_and_the_next_goes_on_with_its_plan(url: str) -> None:
    one, two = [await open_events(url, LIMITS) for _ in range(2)]
    seconds = 10
    assert await one.claim_export("one", NOW, seconds) == ExportState(0, 0, 0)
    assert await two.claim_export("two", NOW + 9_999_999, seconds) is None
    assert not await two.plan_export("two", 5)
    assert await one.plan_export("one", 7)
    assert not await one.plan_export("one", 8), "one file at a time"
    late = NOW + 10_000_000
    assert await two.claim_export("two", late, seconds) == ExportState(0, 7, 0)
    assert not await one.finish_export("one", 7, late), "it was overtaken"
    assert await two.finish_export("two", 7, late)
    assert await two.claim_export("two", late, seconds) == ExportState(7, 7, late)
    assert await one.claim_export("one", late + 1, seconds) is None
    await one.close()
    await two.close()


@pytest.mark.anyio
async def test_events_that_wait_are_stored_when_the_store_closes(url: str) -> None:
    store = await open_events(url, LIMITS)
    adding = [asyncio.create_task(store.add([event(f"e{n}")])) for n in range(50)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*adding) == [Added(1, 0)] * 50
    assert len(await all_ids(url)) == 50
