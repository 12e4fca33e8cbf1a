"""Stores that are full, cannot be opened, or do not answer."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from recsys_api.events.opening import open_events
from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import Added, Limits, StoreError, StoreFullError
from recsys_assets_tests.api.events.conftest import event


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def limit_pages(store: SqliteEvents, more: int) -> None:
    """Let the file grow by some pages only, as a disk that fills up does."""

    def limit(connection: sqlite3.Connection) -> None:
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count = {pages + more}")

    await store._writer.run(limit)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.anyio
async def test_a_full_disk_refuses_whole_calls_and_everything_else_goes_on(tmp_path: Path) -> None:
    store = await SqliteEvents.open(tmp_path / "events.sqlite", Limits())
    await store.add([event("before")])
    await limit_pages(store, 8)
    calls = [[event(f"{call}-{n}") for n in range(300)] for call in range(4)]
    results = await asyncio.gather(*map(store.add, calls), return_exceptions=True)
    assert [type(result) for result in results] == [StoreFullError] * 4
    assert [e.event_id for _, e in await store.since(0, 9)] == ["before"], "nothing of a call that failed"
    assert await store.add([event("small")]) == Added(1, 0), "a small one still fits"
    assert len(await store.of_user(1, 9)) == 2
    await limit_pages(store, 10_000)
    assert await store.add(calls[0]) == Added(300, 0)
    await store.close()


@pytest.mark.anyio
async def test_a_job_that_fails_fails_for_its_own_caller_only(tmp_path: Path) -> None:
    store = await SqliteEvents.open(tmp_path / "events.sqlite", Limits())
    beyond = event("beyond", user_id=2**63)
    results = await asyncio.gather(
        store.add([event("a")]), store.add([event("b"), beyond]), store.add([event("c")]), return_exceptions=True
    )
    assert [type(result) for result in results] == [Added, OverflowError, Added]
    assert [e.event_id for _, e in await store.since(0, 9)] == ["a", "c"]
    await store.close()


@pytest.mark.anyio
async def test_a_store_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "other.sqlite").write_bytes(b"no database" * 1000)
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("pragma user_version = 99")
    for path in (tmp_path / "file" / "x.sqlite", tmp_path / "other.sqlite", newer):
        with pytest.raises(StoreError, match=str(path)):
            await open_events(f"sqlite:///{path}", Limits())
    with pytest.raises(StoreError) as error:
        await open_events("postgresql://me:hunter2@127.0.0.1:9/nowhere", Limits())
    assert "hunter2" not in str(error.value)


@pytest.mark.anyio
async def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    store = await SqliteEvents.open(tmp_path / "events.sqlite", Limits())
    await store.close()
    with pytest.raises(StoreError):
        await store.add([event("late")])
