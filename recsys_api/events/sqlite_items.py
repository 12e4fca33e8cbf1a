"""Changes of items, in the SQLite file of the events."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from recsys_api.events.item_change import ItemChange
from recsys_api.events.sqlite_log import Scanner, SqliteLog, fetch, state_table
from recsys_api.events.store import Limits
from recsys_api.events.writer import Writer

SCHEMA = f"""
create table if not exists item_changes (
    sequence integer primary key autoincrement, item_id not null, field text not null, value text not null,
    ts integer not null
);
create index if not exists item_changes_by_field on item_changes (item_id, field, sequence);
{state_table("item_export")}
"""
# item_id has no type, so that 1 and '1' stay different ids.
_INSERT = "insert into item_changes (item_id, field, value, ts) values (?, ?, ?, ?)"
_LAST_TIME = "select ts from item_changes order by sequence desc limit 1"
_SINCE = "select sequence, item_id, field, value, ts from item_changes where sequence > ? order by sequence limit ?"
_REPLACED = """
select sequence from item_changes older where exists (
    select 1 from item_changes newer
    where newer.item_id = older.item_id and newer.field = older.field and newer.sequence > older.sequence
)
"""
_OLD = "select sequence from item_changes where ts < ?"
_CURRENT = f"select sequence from item_changes where sequence not in ({_REPLACED}) order by sequence desc"  # noqa: S608


class SqliteItems(SqliteLog):
    """An ``ItemLog`` in a SQLite file.

    Args:
        writer: of the file.
        scanner: of its own; closed with it.
        limits: what it keeps.
    """

    def __init__(self, writer: Writer, scanner: Scanner, limits: Limits) -> None:
        super().__init__(writer, scanner, "item_changes", "item_export", limits)

    async def add(self, changes: Sequence[ItemChange]) -> int:
        """Store changes; see :class:`ItemLog`."""
        rows = [(c.item_id, c.field, orjson.dumps(c.value).decode(), c.ts) for c in changes]

        def insert(connection: sqlite3.Connection) -> int:
            (last,) = connection.execute(_LAST_TIME).fetchone() or (0,)
            for item_id, field, value, ts in rows:
                last = max(last, ts)
                connection.execute(_INSERT, (item_id, field, value, last))
            return last

        return await self._writer.run(insert, len(rows))

    async def since(self, sequence: int, limit: int) -> list[tuple[int, ItemChange]]:
        """The next changes by arrival; see :class:`Log`."""
        rows = await self._scanner.run(lambda c: fetch(c, _SINCE, (sequence, limit)))
        return [(row[0], ItemChange(row[1], row[2], orjson.loads(row[3]), row[4])) for row in rows]

    async def trim(self, now: int) -> int:
        """Delete what newer changes replaced and what is beyond the limits; see :class:`ItemLog`."""
        return await self._delete(await self._scanner.run(lambda c: self._due(c, now)))

    def close(self) -> None:
        """Close what reads."""
        self._scanner.close()

    def _due(self, connection: sqlite3.Connection, now: int) -> list[tuple[int]]:
        """Sequences of the changes to delete, ascending."""
        due = {row[0] for row in fetch(connection, _REPLACED, ())}
        due.update(row[0] for row in fetch(connection, _OLD, (self._limits.oldest(now),)))
        due.update(row[0] for row in fetch(connection, f"{_CURRENT} limit -1 offset ?", (self._limits.item_changes,)))
        return self._deletable(connection, due)
