"""Changes of items, in the PostgreSQL database of the events.

They are few: who adds some holds a lock to the end of the transaction, so that sequences and times become visible in
their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import orjson

from recsys_api.events.item_change import ItemChange
from recsys_api.events.postgres_log import STATE_COLUMNS, PostgresLog, as_id, count_of
from recsys_api.events.store import Limits

_LOCK = 0x5EC5_0003
SCHEMA = f"""
create table if not exists recsys_item_changes (
    sequence bigint generated always as identity primary key, item_id text not null, field text not null,
    value text not null, ts bigint not null
);
create index if not exists recsys_item_changes_by_field on recsys_item_changes (item_id, field, sequence);
create table if not exists recsys_item_changes_state ({STATE_COLUMNS});
insert into recsys_item_changes_state default values on conflict do nothing;
"""  # noqa: S608 (our own text)
_LAST_TIME = "select ts from recsys_item_changes order by sequence desc limit 1"
_INSERT = "insert into recsys_item_changes (item_id, field, value, ts) values ($1, $2, $3, $4)"
_SINCE = """
select sequence, item_id, field, value, ts from recsys_item_changes where sequence > $1 order by sequence limit $2
"""
_TRIM = """
delete from recsys_item_changes where sequence in (
    select sequence from (
        select sequence, ts, age, row_number() over (partition by age = 1 order by sequence desc) as number from (
            select sequence, ts, row_number() over (partition by item_id, field order by sequence desc) as age
            from recsys_item_changes
        ) aged
    ) ranked where age > 1 or ts < $1 or number > $2
) and ($3 or sequence <= (select cursor from recsys_item_changes_state))
"""


class PostgresItems(PostgresLog):
    """An ``ItemLog`` in PostgreSQL.

    Args:
        pool: of connections to the database of the events.
        limits: what it keeps.
    """

    def __init__(self, pool: asyncpg.Pool, limits: Limits) -> None:
        super().__init__(pool, "recsys_item_changes", "recsys_item_changes_state")
        self._limits = limits

    async def add(self, changes: Sequence[ItemChange]) -> int:
        """Store changes; see :class:`ItemLog`."""
        with self._queueing(len(changes)):
            async with self._connection() as connection, connection.transaction():
                return await _insert(connection, changes)

    async def since(self, sequence: int, limit: int) -> list[tuple[int, ItemChange]]:
        """The next changes by arrival; see :class:`Log`."""
        async with self._connection() as connection:
            rows = await connection.fetch(_SINCE, sequence, limit)
        return [(row[0], ItemChange(orjson.loads(row[1]), row[2], orjson.loads(row[3]), row[4])) for row in rows]

    async def trim(self, now: int) -> int:
        """Delete what newer changes replaced and what is beyond the limits; see :class:`ItemLog`."""
        limits = self._limits
        values = (limits.oldest(now), limits.item_changes, not limits.keep_unexported)
        async with self._connection() as connection:
            return count_of(await connection.execute(_TRIM, *values, timeout=600))


async def _insert(connection: asyncpg.pool.PoolConnectionProxy, changes: Sequence[ItemChange]) -> int:
    """Insert changes; returns the time of the last one as it is stored."""
    await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
    last = await connection.fetchval(_LAST_TIME) or 0
    rows: list[tuple[str, str, str, int]] = []
    for change in changes:
        last = max(last, change.ts)
        rows.append((as_id(change.item_id), change.field, orjson.dumps(change.value).decode(), last))
    await connection.executemany(_INSERT, rows)
    return last
