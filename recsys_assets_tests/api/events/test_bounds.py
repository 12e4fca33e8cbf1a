"""However fast events come, they take a bounded amount of memory: while they wait, are read, and become files."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from recsys_api.events import store as stores
from recsys_api.events.event import Event
from recsys_api.events.export import Exporter, event_line
from recsys_api.events.item_change import ItemChange
from recsys_api.events.opening import open_events
from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import Added, Limits, StoreBusyError
from recsys_api.live import Arrivals
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.api.events.conftest import NOW, event


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_no_more_wait_than_are_allowed_and_nothing_of_a_refused_call_is_stored(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MOST_QUEUED", 10)
    store = await open_events(url, Limits())
    calls = [[event(f"{call}-{n}", user_id=call) for n in range(4)] for call in range(6)]
    results = await asyncio.gather(*map(store.add, calls), return_exceptions=True)
    assert results[:2] == [Added(4, 0)] * 2
    assert [type(result) for result in results[2:]] == [StoreBusyError] * 4
    assert [e.event_id for _, e in await store.since(0, 99)] == [e.event_id for call in calls[:2] for e in call]
    assert (await store.backlog()).queued == 0
    assert await store.add(calls[2]) == Added(4, 0), "there is room again"
    changes = [ItemChange(1, "available", True, NOW) for _ in range(11)]
    results = await asyncio.gather(*(store.items.add(changes) for _ in range(2)), return_exceptions=True)
    assert isinstance(results[0], int), "a call that finds none waiting is taken, however many it has"
    assert isinstance(results[1], StoreBusyError)
    assert await store.delete_user(0) == 4
    await store.close()


@pytest.mark.anyio
async def test_a_landing_file_takes_little_more_than_its_compressed_bytes(tmp_path: Path) -> None:
    count, landing = 20_000, LocalStore(tmp_path / "landing")
    store = await SqliteEvents.open(tmp_path / "events.sqlite", Limits())
    for first in range(0, count, 1000):
        await store.add(
            [event(f"{n}", user_id=n, kind=["view", "impression"][n % 2]) for n in range(first, first + 1000)]
        )
    exporter = Exporter(store, event_line, lambda: landing, "me", 0.001, count)
    tracemalloc.start()
    try:
        names = await exporter.export(NOW)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    lines = {name: gzip.decompress((tmp_path / "landing" / name).read_bytes()).splitlines() for name in names}
    found = sorted(int(json.loads(line)["event_id"]) for of_file in lines.values() for line in of_file)
    assert found == list(range(count))
    assert most < 8 << 20, "lines kept as orjson makes them took 8 KB each"
    await store.close()


class Endless:
    """A store in which more has arrived whenever somebody looks."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def last(self) -> int:
        return 1_000_000

    async def since(self, sequence: int, limit: int) -> Sequence[tuple[int, Event]]:
        self.asked.append(limit)
        return [(number, event(str(number))) for number in range(sequence + 1, sequence + limit + 1)]


@pytest.mark.anyio
async def test_what_has_arrived_is_read_in_parts_though_more_arrives_all_the_time() -> None:
    arrivals, store = Arrivals(), Endless()
    first, more = await arrivals.read(store)  # pyright: ignore[reportArgumentType]
    then, _ = await arrivals.read(store)  # pyright: ignore[reportArgumentType]
    assert more
    assert len(first) == len(then) == store.asked[0] <= 10_000
    ids = [int(one.event_id) for one in first + then]
    assert ids == list(range(ids[0], ids[0] + len(ids))), "each once, in order"
    again = [one async for part in arrivals.again(store) for one in part]  # pyright: ignore[reportArgumentType]
    assert again == first + then, "what was read, and nothing of what has arrived since"
