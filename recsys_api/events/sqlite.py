"""Events in one SQLite file, shared by the worker processes of a machine.

The order of sequences is the order of commits: SQLite has one writer at a time, and a sequence is given while writing.
Rows are appended; of the two indexes, that of event ids has 16 bytes per event, and that of users holds what finds a
user's newest events.
"""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import TypeAlias

from recsys_api.events import sqlite_items
from recsys_api.events.event import Event, event_key, pack_extra, unpack
from recsys_api.events.known_users import KnownUsers
from recsys_api.events.sqlite_items import SqliteItems
from recsys_api.events.sqlite_log import Scanner, SqliteLog, fetch, state_table
from recsys_api.events.store import Added, Limits, StoreError, tombstone
from recsys_api.events.writer import Writer
from recsys_assets.storage.lists import Key

_VERSION = 1
_SCHEMA = f"""
create table if not exists events (
    sequence integer primary key autoincrement, event_key blob not null, event_id text not null,
    user_id not null, item_id not null, event_type text not null, ts integer not null, extra text
);
create unique index if not exists events_by_key on events (event_key);
create index if not exists events_by_user on events (user_id, ts, sequence);
create table if not exists deleted_users (token blob primary key) without rowid;
create table if not exists meta (salt blob not null);
{state_table("export")}
{sqlite_items.SCHEMA}
"""
# user_id and item_id have no type, so that 1 and '1' stay different ids.
_INSERT = "insert into events (event_key, event_id, user_id, item_id, event_type, ts, extra) values"
_ROW, _KNOWN = "(?, ?, ?, ?, ?, ?, ?)", "on conflict (event_key) do nothing"
_AT_ONCE = 1000
"""Events in a statement: SQLite takes 32,766 values."""
_COLUMNS = "event_id, user_id, item_id, event_type, ts, extra"
_OF_USER = f"select {_COLUMNS} from events where user_id = ? order by ts desc, sequence desc limit ?"  # noqa: S608
_HISTORY = (
    f"select * from (select {_COLUMNS} from events where user_id = ? order by ts desc, sequence desc limit ?) "  # noqa: S608
    "union all select null, null, null, null, null, null from deleted_users where token = ?"
)
"""The events, and a row of nulls if the user was deleted. SQLite runs the parts one after the other."""
_SINCE = f"select sequence, {_COLUMNS} from events where sequence > ? order by sequence limit ?"  # noqa: S608
_BEYOND = "select sequence from events where user_id = ? order by ts desc, sequence desc limit -1 offset ?"
_PAGE = 1024
"""Bytes of a page. An event with a random id changes a page of each index, and a commit writes whole pages:
with those of 4 KiB, the disk got twice as much."""
_LOG_BYTES = 16 << 20
"""Length of the write-ahead log at which its pages go to their places: what changed again meanwhile goes there once."""
_BUSY_MILLISECONDS = 10_000


_Row: TypeAlias = tuple[bytes, str, Key, Key, str, int, str | None]
_Call: TypeAlias = tuple[Collection[bytes], Sequence[_Row]]
"""Hashes of users, and the rows of their events."""


class SqliteEvents(SqliteLog):
    """An ``EventStore`` in a SQLite file; make it with :meth:`open`."""

    def __init__(self, path: Path, limits: Limits) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        turn = path.with_name(f"{path.name}.lock").open("ab")
        try:
            # Workers start at once, and the change to a write-ahead log does not wait for others.
            fcntl.flock(turn, fcntl.LOCK_EX)
            writing = _connect(path)
            self._salt = _prepare(writing, path)
            self._users = KnownUsers(path.with_name(f"{path.name}.users"), lambda: self._tokens(writing))
        except BaseException:
            turn.close()
            raise
        fcntl.flock(turn, fcntl.LOCK_UN)
        self._reading = _connect(path)
        # A connection of their own: who follows changes of items must not wait for long reads of events.
        scanning, following = _connect(path), _connect(path)
        for connection in (self._reading, scanning, following):
            connection.execute("pragma query_only = on")
        super().__init__(Writer(writing, turn), Scanner(scanning), "events", "export", limits)
        self.items = SqliteItems(self._writer, Scanner(following), limits)

    @classmethod
    async def open(cls, path: Path, limits: Limits) -> SqliteEvents:
        """Open a file; it and its folder are created where they are missing.

        Args:
            path: of the file. The write-ahead log and a lock lie beside it.
            limits: what it keeps.

        Raises:
            StoreError: it cannot be opened, or is of another version.
        """
        try:
            return await asyncio.to_thread(cls, path, limits)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}") from error

    async def add(self, events: Sequence[Event]) -> Added:
        """Store events; see :class:`EventStore`."""
        rows = [
            (event_key(e.event_id), e.event_id, e.user_id, e.item_id, e.event_type, e.ts, pack_extra(e)) for e in events
        ]
        tokens = {tombstone(event.user_id, self._salt) for event in events}
        return Added.of(await self._writer.run_together(self._insert, (tokens, rows), len(rows)))

    def may_know(self, user_id: Key) -> bool:
        """Whether anything may be known of a user; see :class:`EventStore`."""
        return self._users.may_have(tombstone(user_id, self._salt))

    async def of_user(self, user_id: Key, limit: int) -> list[Event]:
        """A user's newest events; see :class:`EventStore`. Reads at once: it takes less than a change of threads."""
        return [unpack(*row) for row in fetch(self._reading, _OF_USER, (user_id, limit))]

    async def history(self, user_id: Key, limit: int) -> tuple[list[Event], bool]:
        """A user's newest events, and whether they were deleted; see :class:`EventStore`."""
        rows = fetch(self._reading, _HISTORY, (user_id, limit, tombstone(user_id, self._salt)))
        deleted = bool(rows) and rows[-1][0] is None
        return [unpack(*row) for row in (rows[:-1] if deleted else rows)], deleted

    async def since(self, sequence: int, limit: int) -> list[tuple[int, Event]]:
        """The next events by arrival; see :class:`EventStore`."""
        # Made in the thread as well: those of a busy moment would hold up all answers for some ten milliseconds.
        return await self._scanner.run(
            lambda c: [(row[0], unpack(*row[1:])) for row in fetch(c, _SINCE, (sequence, limit))]
        )

    async def last(self) -> int:
        """The newest sequence; see :class:`EventStore`."""
        return int(fetch(self._reading, "select coalesce(max(sequence), 0) from events", ())[0][0])

    async def delete_user(self, user_id: Key) -> int:
        """Forget a user; see :class:`EventStore`."""

        def forget(connection: sqlite3.Connection) -> int:
            token = tombstone(user_id, self._salt)
            self._users.add([token])
            connection.execute("insert or ignore into deleted_users values (?)", (token,))
            return connection.execute("delete from events where user_id = ?", (user_id,)).rowcount

        return await self._writer.run(forget)

    async def trim(self, now: int) -> int:
        """Delete what is beyond the limits; see :class:`EventStore`."""
        return await self._delete(await self._scanner.run(lambda c: self._beyond_limits(c, now)))

    async def close(self) -> None:
        """Store what was accepted, and close the file; see :class:`EventStore`."""
        await self._writer.close()
        self._users.close()
        self._reading.close()
        self._scanner.close()
        self.items.close()

    def _insert(self, connection: sqlite3.Connection, calls: Sequence[_Call]) -> list[list[bool]]:
        """Insert the rows of several calls, as one where they are not many; returns of each row whether it is new."""
        for tokens, _ in calls:
            self._users.add(tokens)
        rows = [row for _, of_call in calls for row in of_call]
        new = [
            is_new
            for first in range(0, len(rows), _AT_ONCE)
            for is_new in _new(connection, rows[first : first + _AT_ONCE])
        ]
        ends = accumulate(len(of_call) for _, of_call in calls)
        return [new[end - len(of_call) : end] for end, (_, of_call) in zip(ends, calls, strict=True)]

    def _tokens(self, connection: sqlite3.Connection) -> Iterator[bytes]:
        """Hashes of all users of whom something is stored."""
        for (user,) in connection.execute("select distinct user_id from events"):
            yield tombstone(user, self._salt)
        for (token,) in connection.execute("select token from deleted_users"):
            yield token

    def _beyond_limits(self, connection: sqlite3.Connection, now: int) -> list[tuple[int]]:
        """Sequences of the events to delete, ascending."""
        limits = self._limits
        old = fetch(connection, "select sequence from events where ts < ?", (limits.oldest(now),))
        due = {row[0] for row in old}
        crowded = "select user_id from events group by user_id having count(*) > ?"
        for (user,) in fetch(connection, crowded, (limits.per_user,)):
            due.update(row[0] for row in fetch(connection, _BEYOND, (user, limits.per_user)))
        return self._deletable(connection, due)


def _new(connection: sqlite3.Connection, rows: Sequence[_Row]) -> list[bool]:
    """Insert rows by one statement; returns of each whether it is new.

    The thread lets others run at each statement, and under load it waits long until it may go on.
    """
    before = connection.execute("select max(sequence) from events").fetchone()[0] or 0
    statement = f"{_INSERT} {', '.join([_ROW] * len(rows))} {_KNOWN}"
    if connection.execute(statement, list(chain.from_iterable(rows))).rowcount == len(rows):
        return [True] * len(rows)
    inserted = {row[0] for row in connection.execute("select event_key from events where sequence > ?", (before,))}
    new: list[bool] = []
    for key, *_ in rows:  # of two of one key in the rows, the first was inserted
        new.append(key in inserted)
        inserted.discard(key)
    return new


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MILLISECONDS / 1000)
    connection.execute("pragma synchronous = full")
    connection.execute("pragma cache_size = -4096")
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> bytes:
    """Create what is missing; returns the salt of the file."""
    version = connection.execute("pragma user_version").fetchone()[0]
    if version not in (0, _VERSION):
        raise StoreError(f"{path}: events of version {version}, expected {_VERSION}")
    connection.execute(f"pragma page_size = {_PAGE}")  # of a new file
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma journal_size_limit = 67108864")
    page = connection.execute("pragma page_size").fetchone()[0]
    connection.execute(f"pragma wal_autocheckpoint = {_LOG_BYTES // page}")
    connection.execute("pragma secure_delete = fast")  # what is deleted is gone from the pages that are written anyway
    connection.executescript(_SCHEMA)
    connection.execute(f"pragma user_version = {_VERSION}")
    connection.execute("insert into meta select ? where not exists (select 1 from meta)", (secrets.token_bytes(32),))
    return connection.execute("select salt from meta").fetchone()[0]
