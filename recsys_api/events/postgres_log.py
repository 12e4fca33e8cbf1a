"""What the logs of a PostgreSQL database have in common: connections, the lease of who exports, ids."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import orjson

from recsys_api.events.store import Backlog, ExportState, StoreError, StoreFullError, check_room
from recsys_assets.storage.lists import Key

logger = logging.getLogger("uvicorn.recsys.events")

STATE_COLUMNS = """
    only_row boolean primary key default true check (only_row), cursor bigint not null default 0,
    planned bigint not null default 0, at bigint not null default 0, holder text, expires bigint not null default 0
"""
"""Columns of the table of a log's export state, which has one row."""


class PostgresLog:
    """A :class:`~recsys_api.events.store.Log` without its entries.

    Args:
        pool: of connections.
        entries: name of the table with a ``sequence`` for each entry.
        state: name of the table with :data:`STATE_COLUMNS`.
    """

    def __init__(self, pool: asyncpg.Pool, entries: str, state: str) -> None:
        self._pool, self._entries, self._state = pool, entries, state
        self._queued = 0

    @contextmanager
    def _queueing(self, count: int) -> Generator[None]:
        """Entries wait to become durable while the context lasts.

        Raises:
            StoreBusyError: too many wait already.
        """
        check_room(self._queued, count)
        self._queued += count
        try:
            yield
        finally:
            self._queued -= count

    async def backlog(self) -> Backlog:
        """What waits; see :class:`Log`."""
        count = f"select count(*) from {self._entries} where sequence > (select cursor from {self._state})"  # noqa: S608
        async with self._connection() as connection:
            return Backlog(self._queued, await connection.fetchval(count))

    async def claim_export(self, holder: str, now: int, seconds: float) -> ExportState | None:
        """Become the one that exports; see :class:`Log`."""
        free = "holder is null or holder = $1 or expires <= $3"
        claim = f"update {self._state} set holder = $1, expires = $2 where {free} returning cursor, planned, at"  # noqa: S608
        async with self._connection() as connection:
            row = await connection.fetchrow(claim, holder, now + round(seconds * 1e6), now)
        return ExportState(*row) if row else None

    async def plan_export(self, holder: str, upto: int) -> bool:
        """Note where the next file ends; see :class:`Log`."""
        return await self._change_state("planned = $1 where planned = cursor and holder = $2", upto, holder)

    async def finish_export(self, holder: str, upto: int, now: int) -> bool:
        """Note that the planned file is written; see :class:`Log`."""
        change = "cursor = planned, at = $1 where planned = $2 and holder = $3"
        return await self._change_state(change, now, upto, holder)

    async def _change_state(self, change: str, *values: int | str) -> bool:
        statement = f"update {self._state} set {change}"  # noqa: S608 (our own text)
        async with self._connection() as connection:
            return count_of(await connection.execute(statement, *values)) > 0

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[asyncpg.pool.PoolConnectionProxy]:
        try:
            async with self._pool.acquire(timeout=10) as connection:
                yield connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise as_store_error(error) from error


def as_id(key: Key) -> str:
    """An id as it is stored: JSON, so that 1 and "1" stay different ids, and any text can be one."""
    return orjson.dumps(key).decode()


def count_of(status: str) -> int:
    """Rows of a command tag such as ``DELETE 3``."""
    return int(status.rpartition(" ")[2])


def as_store_error(error: Exception) -> StoreError:
    """What a store raises for an error of the driver."""
    if isinstance(error, asyncpg.DiskFullError):
        return StoreFullError("the disk of the event store is full")
    logger.error("the event store does not answer: %s", error or type(error).__name__)
    return StoreError(f"the event store does not answer: {error or type(error).__name__}")
