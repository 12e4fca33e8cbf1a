"""The lists of the served release as tables in PostgreSQL.

::

    <schema>.loaded_release        one row: the load that is shown, its release and day
    <schema>.<list>                a view of that load: recommendations, similar_items, top_popular
    <schema>.<list>_loads          the table behind it, with a partition for each load

One transaction fills, indexes and attaches new partitions. When no statement is left that was planned before, another
one changes the row of ``loaded_release``. So a query sees the old load or the new one, whatever it joins, and a load
that is cut off leaves what is shown as it was. Neither waits for readers that stay. Partitions that are not shown are
dropped afterwards, in a moment in which nobody reads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import parse_dsn

from recsys_assets.storage.lists import Key, RankedLists
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.scratch import TemporaryFolder
from recsys_assets.storage.table_loads import TABLES, Loaded, Loads, TableError

_ROUNDS = 3
_PATIENCE = 10.0
"""Seconds for which dropping what was loaded before is tried."""
_HOST = re.compile(r"[A-Za-z0-9._:,/-]*")


@dataclass(frozen=True)
class Followed:
    """What following the pointer did.

    Attributes:
        loaded: what the views show now.
        changed: whether this call loaded it.
        rows: in each view.
        bytes: of tables and indexes.
        seconds: that it took.
        old_left: whether a reader kept an old load from being dropped; the next load drops it.
    """

    loaded: Loaded
    changed: bool
    rows: Mapping[str, int]
    bytes: int
    seconds: float
    old_left: bool


class RecommendationsTable:
    """The tables of one schema. Safe for concurrent loads and readers.

    Args:
        url: ``postgresql://…``; secret.
        schema: holds them.
    """

    def __init__(self, url: str, schema: str):
        self._url, self._schema = url, schema
        parts = _parts(url)
        self._password = parts.get("password", "")
        self.address = f"{parts.get('host', 'localhost')}/{parts.get('dbname', '')}, schema {schema}"
        """Where the tables are, for people."""

    def loaded(self) -> Loaded | None:
        """What the views show; None before the first load."""
        with self._transaction() as loads:
            return loads.shown()

    def follow(self, releases: Releases) -> Followed | None:
        """Load the served release if the views show another; None if nothing is served.

        Raises:
            TableError: the database cannot be reached or written to, holds another data set, or an id cannot be stored.
            DamagedRelease: bytes of the release are not those of its manifest.
        """
        began = time.monotonic()
        changed = False
        for _ in range(_ROUNDS):  # the pointer may move meanwhile
            served = releases.current()
            if served is None:
                return None
            changed = self._load(releases) or changed
            loaded, now = self.loaded(), releases.current()
            if loaded and now and loaded.manifest_sha256 == now.manifest_sha256:
                break
        old_left = not self.drop_old(_PATIENCE)
        with self._transaction() as loads:
            loaded = loads.shown()
            if loaded is None:
                raise TableError("what was loaded has been removed by somebody else")
            rows, size = loads.measure(loaded)
        return Followed(loaded, changed, rows, size, time.monotonic() - began, old_left)

    def drop_old(self, patience: float) -> bool:
        """Drop all loads but the one that the views show.

        Args:
            patience: seconds to wait for readers, which are never held up for longer than a moment.

        Returns:
            Whether none is left.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                with self._transaction() as loads:
                    loads.lock()
                    loads.drop_old()
                return True
            except _ReadNow:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.1)

    def rows_of(self, user: Key) -> int:
        """How many recommendations name a user, in old loads too."""
        with self._transaction() as loads:
            return loads.rows_of(user)

    def _load(self, releases: Releases) -> bool:
        """Load what is served, unless it is loaded already; whether it did."""
        with TemporaryFolder("recommendations-") as name, self._transaction() as loads:
            loads.lock()
            served, loaded = releases.current(), loads.shown()
            if served is None or (loaded and loaded.manifest_sha256 == served.manifest_sha256):
                return False
            manifest = releases.manifest(served.release_id)
            dataset = str(manifest.facts.get("dataset", ""))
            if loaded and loaded.dataset != dataset:
                raise TableError(
                    f"holds data set {loaded.dataset!r}, and {dataset!r} is to be loaded: "
                    "state another RECSYS_RECOMMENDATIONS_SCHEMA for it"
                )
            files = releases.fetch(served.release_id, Path(name))
            folder = next(iter(files.values())).parent
            lists = {table.name: RankedLists.open(folder, table.name) for table in TABLES}
            loads.create(lists)
            load = loads.next_load()
            for table in TABLES:
                loads.fill(table, lists[table.name], load)
        self._wait_for_plans()
        with self._transaction() as loads:
            loads.lock()
            if load not in {number for _, number in loads.partitions()}:
                return False  # another load was quicker, and dropped what was not shown yet
            loads.switch(load, dataset, manifest)
        return True

    def _wait_for_plans(self) -> None:
        """Wait for statements that were planned before the new partitions were there.

        Such a statement, begun after the switch, would look for the new load in the old partitions alone and find
        nothing. From plan to execution are milliseconds; transactions that stay are not waited for.
        """
        deadline = time.monotonic() + min(_PATIENCE, 1.0)
        with self._transaction() as loads:
            before = loads.readers()
        while before and time.monotonic() < deadline:
            time.sleep(0.02)
            with self._transaction() as loads:
                before &= loads.readers()

    @contextmanager
    def _transaction(self) -> Generator[Loads]:
        """The tables in a transaction, which is committed at the end, or undone where anything fails."""
        try:
            connection = psycopg2.connect(self._url, connect_timeout=10, application_name="recsys recommendations")
            try:
                with connection, connection.cursor() as cursor:
                    yield Loads(cursor, self._schema)
            finally:
                connection.close()
        except errors.LockNotAvailable:
            raise _ReadNow from None
        except psycopg2.Error as error:
            # Not all of the error: its details quote rows.
            said = (error.diag.message_primary or str(error)).strip()
            raise TableError(f"{self.address}: {_without(said, self._url, self._password)}") from None
        except TableError as error:
            raise TableError(f"{self.address}: {error}") from None


def _without(text: str, *secrets: str) -> str:
    """A text without secrets."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    return text


def _parts(url: str) -> dict[str, str]:
    """The parts of an address. A password with characters that were not encoded would show as a host or a port.

    Raises:
        ValueError: it is not one of PostgreSQL.
    """
    try:
        parts = parse_dsn(url) if url.startswith(("postgresql://", "postgres://")) else {}
    except psycopg2.ProgrammingError:
        parts = {}
    if not parts or not _HOST.fullmatch(parts.get("host", "")) or not parts.get("port", "0").isdecimal():
        raise ValueError(
            "expected the address of a PostgreSQL database, postgresql://user:password@host:port/database, where the "
            "password is percent-encoded (what was found is secret)"
        )
    return parts


class _ReadNow(Exception):  # noqa: N818 - not a fault
    """Somebody reads what is to be dropped."""
