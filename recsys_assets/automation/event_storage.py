"""Dagster's event log on SQLite, for the local instance, with its connections kept open.

Dagster's own storage opens a connection for each statement. Some 350 events of a daily refresh make 1,900 connections:
nearly all of what Dagster costs there, as ``python -m benchmarks.overhead`` shows. Files, tables and behaviour stay
Dagster's, so either storage reads what the other has written. A shared instance uses PostgreSQL, which has a pool.
"""

from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.pool import StaticPool

_OPEN_FILES = 16
"""Each run has a file, and a webserver sees thousands; those that were not used for longest are closed."""
_BUSY_SECONDS = 60
"""How long a statement waits for another process that writes."""


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """For ``event_log_storage`` of a ``dagster.yaml``; takes the same configuration."""

    def __init__(self, base_dir: str, inst_data: Any = None):
        self._open: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptSqliteEventLogStorage":
        """Dagster's way to make one."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Generator[Connection]:
        # One at a time, as Dagster has it: a connection per file is enough, whichever thread asks.
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._open:
            self._open[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            )
        self._open.move_to_end(shard)
        if shard not in self._initialized_dbs:
            self._initdb(self._open[shard])
            self._initialized_dbs.add(shard)
        while len(self._open) > _OPEN_FILES:
            _, longest_unused = self._open.popitem(last=False)
            longest_unused.dispose()
        return self._open[shard]

    def dispose(self) -> None:
        """Close what is open."""
        super().dispose()
        with self._db_lock:
            while self._open:
                self._open.popitem()[1].dispose()
