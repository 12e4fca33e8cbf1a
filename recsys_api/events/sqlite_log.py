"""What the logs of a SQLite file have in common: longer reads in a thread, and the lease of the one who exports."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from recsys_api.events.store import Backlog, ExportState, Limits, StoreError
from recsys_api.events.writer import Writer

TRIMMED_AT_ONCE = 2000

T = TypeVar("T")


class Scanner:
    """Runs longer reads one after the other, in threads.

    Args:
        connection: used by nothing else; closed at the end.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """What a read returns."""

        def locked() -> T:
            with self._lock:
                return read(self._connection)

        return await asyncio.to_thread(locked)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class SqliteLog:
    """A :class:`~recsys_api.events.store.Log` without its entries.

    Args:
        writer: of the file.
        scanner: likewise.
        entries: name of the table with a ``sequence`` for each entry.
        state: name of the table with one row, that of :func:`state_table`.
        limits: what it keeps.
    """

    def __init__(self, writer: Writer, scanner: Scanner, entries: str, state: str, limits: Limits) -> None:
        self._writer, self._scanner, self._limits = writer, scanner, limits
        self._entries, self._state = entries, state

    async def backlog(self) -> Backlog:
        """What waits; see :class:`Log`."""
        count = f"select count(*) from {self._entries} where sequence > (select cursor from {self._state})"  # noqa: S608
        rows = await self._scanner.run(lambda c: fetch(c, count, ()))
        return Backlog(self._writer.queued, rows[0][0])

    async def claim_export(self, holder: str, now: int, seconds: float) -> ExportState | None:
        """Become the one that exports; see :class:`Log`."""
        free = "holder is null or holder = ? or expires <= ?"
        take = f"update {self._state} set holder = ?, expires = ? where {free}"  # noqa: S608 (our own text)
        look = f"select cursor, planned, at from {self._state}"  # noqa: S608

        def claim(connection: sqlite3.Connection) -> ExportState | None:
            taken = connection.execute(take, (holder, now + round(seconds * 1e6), holder, now))
            return ExportState(*connection.execute(look).fetchone()) if taken.rowcount else None

        return await self._writer.run(claim)

    async def plan_export(self, holder: str, upto: int) -> bool:
        """Note where the next file ends; see :class:`Log`."""
        return await self._change_state("planned = ?", "planned = cursor", (upto,), holder)

    async def finish_export(self, holder: str, upto: int, now: int) -> bool:
        """Note that the planned file is written; see :class:`Log`."""
        return await self._change_state("cursor = planned, at = ?", "planned = ?", (now, upto), holder)

    async def _change_state(self, change: str, condition: str, values: tuple[int, ...], holder: str) -> bool:
        statement = f"update {self._state} set {change} where {condition} and holder = ?"  # noqa: S608 (our own text)
        return bool(await self._writer.run(lambda c: c.execute(statement, (*values, holder)).rowcount))

    def _deletable(self, connection: sqlite3.Connection, due: Iterable[int]) -> list[tuple[int]]:
        """Sequences that may be deleted now, ascending: by setting, what is in no landing file yet stays."""
        if not self._limits.keep_unexported:
            return [(sequence,) for sequence in sorted(due)]
        cursor = fetch(connection, f"select cursor from {self._state}", ())[0][0]  # noqa: S608 (our own text)
        return [(sequence,) for sequence in sorted(due) if sequence <= cursor]

    async def _delete(self, due: list[tuple[int]]) -> int:
        """Delete entries by their sequences, some at a time, so that others can write in between; returns how many."""
        deleted, statement = 0, f"delete from {self._entries} where sequence = ?"  # noqa: S608 (our own text)
        for start in range(0, len(due), TRIMMED_AT_ONCE):
            part = due[start : start + TRIMMED_AT_ONCE]
            deleted += await self._writer.run(lambda c, part=part: c.executemany(statement, part).rowcount)
        return deleted


def state_table(name: str) -> str:
    """Statements that create the table of a log's export state where it is missing."""
    return f"""
create table if not exists {name} (
    only integer primary key check (only = 1), cursor integer not null, planned integer not null, at integer not null,
    holder text, expires integer not null
);
insert or ignore into {name} values (1, 0, 0, 0, null, 0);
"""  # noqa: S608 (our own text)


def fetch(connection: sqlite3.Connection, query: str, values: Iterable[Any]) -> list[Any]:
    """The rows of a query.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return connection.execute(query, tuple(values)).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"events cannot be read: {error}") from error
