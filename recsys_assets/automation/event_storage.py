"""Dagster's event log on SQLite, for the local instance, with its connections kept open.

Dagster's own storage opens a connection for each statement. Some 350 events of a daily refresh make 1,900 connections:
nearly all of what Dagster costs there, as ``python -m benchmarks.overhead`` shows. Files, tables and behaviour stay
Dagster's, so either storage reads what the other has written. A shared instance uses PostgreSQL, which has a pool.

This module can go when Dagster's ``SqliteEventLogStorage`` reuses its connections: then ``dagster.yaml`` needs no
``event_log_storage``. It also avoids a deadlock of Dagster's (https://github.com/dagster-io/dagster/issues/32217): with
``root`` among ``managed_python_loggers``, what Alembic or SQLAlchemy log while the storage holds its lock becomes an
event. The same thread stores it at once, and Dagster's lock is not re-entrant.
"""

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.event import listen
from sqlalchemy.pool import StaticPool

_OPEN_FILES = 16
"""Each run has a file, and a webserver sees thousands; the least recently used ones are closed."""
_BUSY_SECONDS = 60
"""How long a statement waits for another process that writes."""


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """For ``event_log_storage`` of a ``dagster.yaml``; takes the same configuration."""

    def __init__(self, base_dir: str, inst_data: Any = None):
        self._open: OrderedDict[str, Engine] = OrderedDict()
        self._in_use: dict[str, Connection] = {}
        super().__init__(base_dir, inst_data)
        self._db_lock = threading.RLock()

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptSqliteEventLogStorage":
        """Create the storage from the configuration of an instance."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events that belong together in one transaction for each file, all of them or none.

        Dagster asks for it where ``DAGSTER_EVENT_BATCH_SIZE`` is set: a run over a range of days plans and records each
        day of each asset, and commits were most of what that took.
        """
        with ExitStack() as transactions:
            for shard in (INDEX_SHARD_NAME, *sorted({event.run_id for event in events})):
                transactions.enter_context(self._connect(shard))
            for event in events:
                self.store_event(event)

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        # One thread at a time, as in Dagster's storage: one connection per file is then enough for all threads.
        with self._db_lock:
            outer = self._in_use.get(shard)
            if outer is not None and outer.in_transaction():
                # This thread logged something within a transaction. A second transaction on the same file would
                # wait for the first one, so the event becomes part of that.
                yield outer
                return
            with self._engine(shard).connect() as connection:
                self._in_use[shard] = connection
                try:
                    with connection.begin():
                        yield connection
                finally:
                    self._in_use.pop(shard, None)

    def _engine(self, shard: str) -> Engine:
        if shard not in self._open:
            self._open[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            )
            listen(self._open[shard], "connect", _wait_for_checkpoints_only)
        engine = self._open[shard]
        self._open.move_to_end(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        while len(self._open) > _OPEN_FILES:
            _, least_recent = self._open.popitem(last=False)
            least_recent.dispose()
        return engine

    def dispose(self) -> None:
        """Close the open files."""
        super().dispose()
        with self._db_lock:
            while self._open:
                self._open.popitem()[1].dispose()


def _wait_for_checkpoints_only(connection: Any, _: object) -> None:
    """Let a commit return before the disk has it, which SQLite's write-ahead log allows without harm to the file.

    A power failure may take the last events with it. What was built is not among them: partitions are synced when they
    are written, and what is outdated is read from their records.
    """
    connection.execute("PRAGMA synchronous = NORMAL")
