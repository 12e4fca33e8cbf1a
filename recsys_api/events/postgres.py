"""Events in PostgreSQL, shared by workers on any number of machines.

A sequence is given before its transaction commits, so transactions become visible in another order, and a reader that
went by the highest sequence would skip events. Therefore each writer holds a shared advisory lock from before its first
sequence to its commit; a reader takes the lock alone for a moment, in which no write is under way, and notes the
highest sequence: nothing below it can appear any more.

Ids are stored as JSON, so that 1 and "1" stay different ids, and any text can be one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from recsys_api.events import postgres_items
from recsys_api.events.event import Event, event_key, pack_extra, unpack
from recsys_api.events.postgres_items import PostgresItems
from recsys_api.events.postgres_log import STATE_COLUMNS, PostgresLog, as_id, as_store_error, count_of
from recsys_api.events.store import Added, Limits, StoreError, tombstone
from recsys_assets.storage.lists import Key

_SCHEMA_LOCK, _WRITE_LOCK = 0x5EC5_0001, 0x5EC5_0002
_SCHEMA = f"""
create table if not exists recsys_events (
    sequence bigint generated always as identity primary key, event_key bytea not null unique, event_id text not null,
    user_id text not null, item_id text not null, event_type text not null, ts bigint not null, extra text
);
create index if not exists recsys_events_by_user on recsys_events (user_id, ts desc, sequence desc);
create table if not exists recsys_deleted_users (token bytea primary key);
create table if not exists recsys_events_state (salt bytea not null, {STATE_COLUMNS});
{postgres_items.SCHEMA}
"""
_INSERT = """
with posted as materialized (
    select nextval(pg_get_serial_sequence('recsys_events', 'sequence')) as sequence, rows.*
    from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
        as rows (event_key, event_id, user_id, item_id, event_type, ts, extra)
)
insert into recsys_events (sequence, event_key, event_id, user_id, item_id, event_type, ts, extra)
overriding system value select * from posted order by event_key, sequence
on conflict (event_key) do nothing returning event_key
"""
# Sequences are in the order of posting. All workers insert in the order of keys, so that two which store the same
# events never wait for each other.
_COLUMNS = "event_id, user_id, item_id, event_type, ts, extra"
_OF_USER = f"select {_COLUMNS} from recsys_events where user_id = $1 order by ts desc, sequence desc limit $2"  # noqa: S608
_HISTORY = (
    f"select true, null, null, null, null, null, null where exists "  # noqa: S608
    f"(select 1 from recsys_deleted_users where token = $3) union all (select false, events.* from ({_OF_USER}) events)"
)
"""The events, and a row of nulls if the user was deleted."""
_SINCE = (
    f"select sequence, {_COLUMNS} from recsys_events "  # noqa: S608
    "where sequence > $1 and sequence <= $2 order by sequence limit $3"
)
_TRIM = """
delete from recsys_events where sequence in (
    select sequence from (
        select sequence, ts, row_number() over (partition by user_id order by ts desc, sequence desc) as number
        from recsys_events
    ) ranked where ts < $1 or number > $2
) and ($3 or sequence <= (select cursor from recsys_events_state))
"""
_MOST_IN_GROUP = 5000


@dataclass(frozen=True)
class _Batch:
    rows: list[tuple[Any, ...]]
    future: asyncio.Future[Added]


class PostgresEvents(PostgresLog):
    """An ``EventStore`` in PostgreSQL; make it with :meth:`open`."""

    def __init__(self, pool: asyncpg.Pool, limits: Limits, salt: bytes) -> None:
        super().__init__(pool, "recsys_events", "recsys_events_state")
        self.items = PostgresItems(pool, limits)
        self._limits, self._salt = limits, salt
        self._waiting: list[_Batch] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._flusher = asyncio.create_task(self._flush())

    @classmethod
    async def open(cls, url: str, limits: Limits) -> PostgresEvents:
        """Connect, and create the tables that are missing.

        Args:
            url: ``postgresql://…``.
            limits: what it keeps.

        Raises:
            StoreError: it does not answer, or refuses; the message has no password.
        """
        pool = None
        try:
            pool = await asyncpg.create_pool(url, min_size=1, max_size=4, command_timeout=30, timeout=10)
            async with pool.acquire() as connection, connection.transaction():
                # Workers start at once, and `if not exists` does not keep two of them apart.
                await connection.execute("select pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
                await connection.execute(_SCHEMA)
                insert = "insert into recsys_events_state (salt) values ($1) on conflict do nothing"
                await connection.execute(insert, secrets.token_bytes(32))
                salt = await connection.fetchval("select salt from recsys_events_state")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            if pool is not None:
                pool.terminate()
            raise as_store_error(error) from error
        return cls(pool, limits, salt)

    async def add(self, events: Sequence[Event]) -> Added:
        """Store events; see :class:`EventStore`."""
        if self._closing:
            raise StoreError("the event store is closed")
        with self._queueing(len(events)):
            rows = [
                (
                    event_key(e.event_id),
                    e.event_id,
                    as_id(e.user_id),
                    as_id(e.item_id),
                    e.event_type,
                    e.ts,
                    pack_extra(e),
                )
                for e in events
            ]
            batch = _Batch(rows, asyncio.get_running_loop().create_future())
            self._waiting.append(batch)
            self._wake.set()
            # A caller that goes away does not take its events back: they may be committed already.
            return await asyncio.shield(batch.future)

    def may_know(self, user_id: Key) -> bool:
        """Whether anything may be known of a user; see :class:`EventStore`. Other machines write as well."""
        return True

    async def of_user(self, user_id: Key, limit: int) -> list[Event]:
        """A user's newest events; see :class:`EventStore`."""
        async with self._connection() as connection:
            rows = await connection.fetch(_OF_USER, as_id(user_id), limit)
        return [_event(*row) for row in rows]

    async def history(self, user_id: Key, limit: int) -> tuple[list[Event], bool]:
        """A user's newest events, and whether they were deleted; see :class:`EventStore`."""
        async with self._connection() as connection:
            rows = await connection.fetch(_HISTORY, as_id(user_id), limit, tombstone(user_id, self._salt))
        deleted = any(row[0] for row in rows)
        return [_event(*tuple(row)[1:]) for row in rows if not row[0]], deleted

    async def since(self, sequence: int, limit: int) -> list[tuple[int, Event]]:
        """The next events by arrival; see :class:`EventStore`."""
        async with self._connection() as connection:
            settled = await _settled(connection)
            rows = await connection.fetch(_SINCE, sequence, settled, limit)
        return [(row[0], _event(*row[1:])) for row in rows]

    async def last(self) -> int:
        """The newest sequence; see :class:`EventStore`."""
        async with self._connection() as connection:
            return await connection.fetchval("select coalesce(max(sequence), 0) from recsys_events")

    async def delete_user(self, user_id: Key) -> int:
        """Forget a user; see :class:`EventStore`."""
        async with self._connection() as connection, connection.transaction():
            token = tombstone(user_id, self._salt)
            await connection.execute("insert into recsys_deleted_users values ($1) on conflict do nothing", token)
            done = await connection.execute("delete from recsys_events where user_id = $1", as_id(user_id))
        return count_of(done)

    async def trim(self, now: int) -> int:
        """Delete what is beyond the limits; see :class:`EventStore`."""
        limits = self._limits
        values = (limits.oldest(now), limits.per_user, not limits.keep_unexported)
        async with self._connection() as connection:
            return count_of(await connection.execute(_TRIM, *values, timeout=600))

    async def close(self) -> None:
        """Store what was accepted, and disconnect; see :class:`EventStore`."""
        self._closing = True
        self._wake.set()
        await self._flusher
        await self._pool.close()

    async def _flush(self) -> None:
        """Store what waits in one transaction, then what has come meanwhile, until the store is closed."""
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            group: list[_Batch] = []
            rows = 0
            while self._waiting and (not group or rows + len(self._waiting[0].rows) <= _MOST_IN_GROUP):
                group.append(self._waiting.pop(0))
                rows += len(group[-1].rows)
            if not self._waiting and not self._closing:
                self._wake.clear()
            try:
                new = await self._insert([row for batch in group for row in batch.rows])
            except Exception as error:
                for batch in group:
                    batch.future.set_exception(error)
                continue
            for batch in group:
                # The first of equal ids in the group is the one that was stored.
                batch.future.set_result(Added.of([row[0] in new and not new.discard(row[0]) for row in batch.rows]))

    async def _insert(self, rows: list[tuple[Any, ...]]) -> set[bytes]:
        """Store rows; returns the keys of those that are new."""
        if not rows:
            return set()
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with self._connection() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock_shared($1)", _WRITE_LOCK)
            return {row[0] for row in await connection.fetch(_INSERT, *columns)}


async def _settled(connection: asyncpg.pool.PoolConnectionProxy) -> int:
    """The highest sequence below which nothing can appear any more."""
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", _WRITE_LOCK)
        return await connection.fetchval("select coalesce(max(sequence), 0) from recsys_events")


def _event(event_id: str, user_id: str, item_id: str, event_type: str, ts: int, extra: str | None) -> Event:
    return unpack(event_id, orjson.loads(user_id), orjson.loads(item_id), event_type, ts, extra)
