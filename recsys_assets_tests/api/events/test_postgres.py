"""What is particular to PostgreSQL: transactions that become visible in another order than their sequences."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from recsys_api.events.opening import open_events
from recsys_api.events.store import Limits
from recsys_assets_tests.api.events.conftest import PASSWORD, event
from recsys_assets_tests.postgres_server import create_database

pytestmark = pytest.mark.stack

SLOW_COMMIT = """
create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(0.5); return null; end $$;
create constraint trigger slow after insert on recsys_events deferrable initially deferred
for each row when (new.event_id = 'slow') execute function wait();
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_an_event_that_is_committed_late_is_not_skipped(postgres_port: int) -> None:
    url = create_database(postgres_port, PASSWORD, "late")
    one, two = [await open_events(url, Limits()) for _ in range(2)]
    connection = await asyncpg.connect(url)
    await connection.execute(SLOW_COMMIT)
    slow = asyncio.create_task(one.add([event("slow")]))
    while not await connection.fetchval("select last_value from pg_sequences where sequencename like 'recsys%'"):
        await asyncio.sleep(0)
    assert (await two.add([event("fast")])).accepted == 1
    assert not slow.done(), "the one with the lower sequence is not visible yet"
    arrived = await two.since(0, 9)
    assert [e.event_id for _, e in arrived] == ["slow", "fast"]
    await slow
    for store in (one, two):
        await store.close()
    await connection.close()


@pytest.mark.anyio
async def test_workers_that_store_the_same_events_in_another_order_both_succeed(postgres_port: int) -> None:
    url = create_database(postgres_port, PASSWORD, "orders")
    workers = [await open_events(url, Limits()) for _ in range(2)]
    names = [f"e{n}" for n in range(2000)]
    for attempt in range(5):
        events = [event(f"{attempt}-{name}") for name in names]
        both = await asyncio.gather(workers[0].add(events), workers[1].add(events[::-1]))
        assert sum(added.accepted for added in both) == len(names)
    for store in workers:
        await store.close()
