"""What the SQLite store does to answer quickly loses nothing: the filter of known users, and inserts of many calls."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from recsys_api.events.event import Event
from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import Added, Limits
from recsys_assets_tests.api.events.conftest import event


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(path: Path) -> SqliteEvents:
    return await SqliteEvents.open(path, Limits())


@pytest.mark.anyio
async def test_every_user_of_whom_something_is_stored_may_be_known_to_every_worker(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    users = [*range(0, 2000, 7), *(f"user {n}" for n in range(100)), -1, 2**62]
    one, other = await opened(path), await opened(path)
    for place, user in enumerate(users):
        await (one if place % 2 else other).add([event(f"of {user}", user_id=user)])
    await one.delete_user("only deleted")
    for store in (one, other):
        assert all(map(store.may_know, [*users, "only deleted"]))
        strangers = [user for user in range(3000, 4000) if store.may_know(user)]
        assert len(strangers) < 10, "and most others are known to be none"
    await one.close()
    await other.close()
    # As a crash of the machine may leave it: the file is there, and bits are missing.
    filter_file = tmp_path / "events.sqlite.users"
    filter_file.write_bytes(bytes(filter_file.stat().st_size))
    again = await opened(path)
    assert all(map(again.may_know, [*users, "only deleted"]))
    await again.close()


_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import Limits
from recsys_assets_tests.api.events.conftest import event

async def main():
    store = await SqliteEvents.open(Path(sys.argv[1]), Limits())
    await store.add([event("acknowledged", user_id=77)])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.anyio
async def test_a_user_whose_events_a_killed_worker_has_acknowledged_is_known_to_the_others(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    store = await opened(path)
    assert not store.may_know(77)
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -9
    assert store.may_know(77)
    assert [one.event_id for one in (await store.history(77, 9))[0]] == ["acknowledged"]
    await store.close()


@pytest.mark.anyio
async def test_calls_that_are_written_together_say_what_each_by_itself_would(tmp_path: Path) -> None:
    """Against a model: an id counts for the call that came first, wherever the others hold it again."""
    rng = random.Random(3)
    store = await opened(tmp_path / "events.sqlite")
    known: set[str] = set()
    for _ in range(30):
        calls: list[Sequence[Event]] = [
            [event(f"id {rng.randrange(150)}", user_id=rng.randrange(9)) for _ in range(rng.randrange(1, 6))]
            for _ in range(rng.randrange(1, 9))
        ]
        expected: list[tuple[bool, ...]] = []
        for call in calls:
            new: list[bool] = []
            for one in call:
                new.append(one.event_id not in known)
                known.add(one.event_id)
            expected.append(tuple(new))
        added = await asyncio.gather(*map(store.add, calls))
        assert [tuple(one.new) for one in added] == expected
        assert list(added) == [Added(sum(new), len(new) - sum(new)) for new in expected]
    stored = [one.event_id for _, one in await store.since(0, 1000)]
    assert sorted(stored) == sorted(known)
    await store.close()


@pytest.mark.anyio
async def test_more_events_than_fit_into_a_statement_are_stored_all_or_none(tmp_path: Path) -> None:
    store = await opened(tmp_path / "events.sqlite")
    await store.add([event("1500")])
    many = [event(str(n)) for n in range(2500)]
    assert await store.add(many) == Added(2499, 1)
    assert [one.event_id for _, one in await store.since(0, 9999)] == [
        "1500",
        *(str(n) for n in range(2500) if n != 1500),
    ]
    beyond = [*(event(f"again {n}") for n in range(1200)), event("beyond", item_id=2**63)]
    with pytest.raises(OverflowError):
        await store.add(beyond)
    assert len(await store.since(0, 9999)) == 2500
    await store.close()


@pytest.mark.anyio
async def test_a_file_of_an_earlier_page_size_is_used_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma page_size = 4096")
        connection.execute("create table earlier (number integer)")
    store = await opened(path)
    assert await store.add([event("a")]) == Added(1, 0)
    await store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma page_size").fetchone() == (4096,)


@pytest.mark.anyio
async def test_the_filter_has_its_place_on_the_disk_before_it_is_written(tmp_path: Path) -> None:
    """A gap in a mapped file that is to be filled on a full disk would end the process (SIGBUS)."""
    store = await opened(tmp_path / "events.sqlite")
    about = (tmp_path / "events.sqlite.users").stat()
    assert about.st_blocks * 512 >= about.st_size > 0
    await store.close()
