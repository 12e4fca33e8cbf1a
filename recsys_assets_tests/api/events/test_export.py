"""Events come back as landing files: each once, whichever worker writes and wherever one dies."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_api.events.export import LEASE_SECONDS, Exporter, event_line
from recsys_api.events.opening import open_events
from recsys_api.events.store import Limits
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.api.events.conftest import NOW, event

LEASE = round(LEASE_SECONDS * 1e6)


class Landing(LocalStore):
    """A folder in which a write may fail, before or after the file is there."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.root, self.crash = root, ""

    def put(self, key: str, data: bytes | Path) -> None:
        if self.crash == "before":
            raise OSError("crashed")
        if isinstance(data, bytes) and (self.root / key).exists():
            assert (self.root / key).read_bytes() == data, "written again with the same bytes"
        super().put(key, data)
        if self.crash == "after":
            raise OSError("crashed")

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The rows of all files of a kind, in order."""
        files = sorted((self.root / "served").glob(f"{kind}-*.jsonl.gz"))
        return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]

    def ids(self) -> list[str]:
        return [row["event_id"] for kind in ("events", "impressions") for row in self.lines(kind)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_files_have_canonical_rows_and_come_at_a_size_or_an_age(url: str, tmp_path: Path) -> None:
    store, landing = await open_events(url, Limits()), Landing(tmp_path / "landing")
    exporter = Exporter(store, event_line, lambda: landing, "me", seconds=60, most=3)
    full = replace(event("e1", "u", "i", kind="buy"), order_id="o", quantity=2, price=9.5, position=1, placement="home")
    await store.add([full, event("e2", kind="impression")])
    assert await exporter.export(NOW) == []
    assert await exporter.export(NOW + 59_999_999) == [], "not due yet"
    (first, impressions) = await exporter.export(NOW + 60_000_000)
    assert (first, impressions) == (
        "served/events-000000000001-000000000002.jsonl.gz",
        "served/impressions-000000000001-000000000002.jsonl.gz",
    )
    (row,) = landing.lines("events")
    assert {
        name: row[name] for name in ("user_id", "item_id", "event_type", "ts", "order_id", "quantity", "price")
    } == {
        "user_id": "u",
        "item_id": "i",
        "event_type": "buy",
        "ts": "2026-01-01T00:00:00.000000Z",
        "order_id": "o",
        "quantity": 2,
        "price": 9.5,
    }
    assert landing.lines("impressions")[0].keys() == row.keys(), "all columns, also those without a value"
    await store.add([event(f"more-{n}", kind="dislike" if n == 6 else "view") for n in range(7)])
    names = await exporter.export(NOW + 60_000_001)
    assert [name.partition("-")[0] for name in names] == ["served/events"] * 2, "two are full, one waits"
    assert (await store.backlog()).unexported == 1
    assert await exporter.export(NOW + 200_000_000) == ["served/impressions-000000000009-000000000009.jsonl.gz"]
    assert sorted(landing.ids()) == ["e1", "e2", *(f"more-{n}" for n in range(7))]
    assert [path.name for path in (landing.root / "served").iterdir() if path.name.startswith(".")] == []
    await store.close()


@pytest.mark.anyio
async def test_after_a_crash_the_same_file_is_written_again(url: str, tmp_path: Path) -> None:
    store, landing = await open_events(url, Limits()), Landing(tmp_path / "landing")
    one, two = (Exporter(store, event_line, lambda: landing, name, seconds=0.001, most=100) for name in ("one", "two"))
    await store.add([event(f"e{n}") for n in range(5)])
    await one.export(NOW)
    landing.crash = "after"
    with pytest.raises(OSError, match="crashed"):
        await one.export(NOW + 1000)
    landing.crash = ""
    (written,) = (landing.root / "served").iterdir()
    await store.add([event("later")])
    await two.export(NOW + 2000)
    assert await two.export(NOW + LEASE) == [], "the lease is the other's"
    assert await two.export(NOW + LEASE + 1000) == [f"served/{written.name}"]
    assert await two.export(NOW + LEASE + 2000) == ["served/events-000000000006-000000000006.jsonl.gz"]
    assert landing.ids() == [*(f"e{n}" for n in range(5)), "later"]
    await store.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 5)),
        st.tuples(st.just("export"), st.integers(0, 1)),
        st.tuples(st.sampled_from(["before", "after"]), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([1, LEASE // 2, LEASE])),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_event_is_in_one_file_however_workers_take_turns_and_die(tmp_path: Path, steps: list[Any]) -> None:
    run = next(_runs)

    async def play() -> None:
        store = await open_events(f"sqlite:///{tmp_path / f'{run}.sqlite'}", Limits())
        landing = Landing(tmp_path / f"landing{run}")
        names, now, posted = itertools.count(), NOW, 0
        workers = [
            Exporter(store, event_line, lambda: landing, str(next(names)), seconds=1e-6, most=3) for _ in range(2)
        ]
        for step, value in [*steps, ("wait", LEASE), ("export", 0), ("wait", LEASE), ("export", 1)]:
            if step == "add":
                await store.add([event(str(posted + n), kind=["view", "impression"][n % 2]) for n in range(value)])
                posted += value
            elif step == "wait":
                now += value
            else:
                landing.crash = "" if step == "export" else step
                try:
                    await workers[value].export(now)
                    await workers[value].export(now + 1)
                except OSError:  # the worker is gone; another one comes in its place
                    workers[value] = Exporter(
                        store, event_line, lambda: landing, str(next(names)), seconds=1e-6, most=3
                    )
        assert sorted(landing.ids(), key=int) == [str(n) for n in range(posted)]
        await store.close()

    asyncio.run(play())


_runs = itertools.count()


@pytest.mark.anyio
async def test_two_workers_at_once_write_each_event_once(url: str, tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing")
    stores = [await open_events(url, Limits()) for _ in range(2)]
    exporters = [
        Exporter(store, event_line, lambda: landing, name, 0.001, 20) for store, name in zip(stores, "ab", strict=True)
    ]
    times = itertools.count(NOW, LEASE // 50)

    async def post(store: int) -> None:
        for number in range(60):
            await stores[store].add([event(f"{store}-{number}")])

    async def export(exporter: int, posting: list[asyncio.Task[None]]) -> None:
        while not all(task.done() for task in posting):
            await exporters[exporter].export(next(times))

    posting = [asyncio.create_task(post(n)) for n in (0, 1)]
    await asyncio.gather(*posting, *(export(n, posting) for n in (0, 1)))
    for step in range(3):
        await exporters[0].export(next(times) + step * LEASE)
    assert sorted(landing.ids()) == sorted(f"{store}-{n}" for store in (0, 1) for n in range(60))
    for store in stores:
        await store.close()


@pytest.mark.anyio
async def test_events_of_a_deleted_user_are_not_written(new_url: Callable[[], str], tmp_path: Path) -> None:
    store, landing = await open_events(new_url(), Limits()), Landing(tmp_path / "landing")
    await store.add([event("a", user_id=1), event("b", user_id=2)])
    await store.delete_user(1)
    exporter = Exporter(store, event_line, lambda: landing, "me", seconds=0.001, most=10)
    await exporter.export(NOW)
    await exporter.export(NOW + 1000)
    assert landing.ids() == ["b"]
    await store.close()
