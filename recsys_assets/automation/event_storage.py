"""Dagster's event log on SQLite, for the local instance: its connections are kept open, and it knows which runs live.

Dagster's own storage opens a connection for each statement. Some 350 events of a daily refresh make 1,900 connections:
nearly all of what Dagster costs there, as ``python -m benchmarks.overhead`` shows. Files, tables and behaviour stay
Dagster's, so either storage reads what the other has written. A shared instance uses PostgreSQL, which has a pool.

Who stores the start of a run executes it, whatever started it, and holds a lock from then on. A step that waits for
its pool says for which run, ends a dead one, and stops on a signal. Dagster's own waits for a dead run forever, deaf to
signals.

Kept connections can go when Dagster's ``SqliteEventLogStorage`` reuses its own. They also avoid a deadlock of Dagster's
(https://github.com/dagster-io/dagster/issues/32217): with ``root`` among ``managed_python_loggers``, what Alembic or
SQLAlchemy log while the storage holds its lock becomes an event. The same thread stores it at once, and Dagster's lock
is not re-entrant.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import DagsterEventType
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME
from dagster._utils.concurrency import ConcurrencyClaimStatus
from dagster._utils.interrupts import check_captured_interrupt
from sqlalchemy import Connection, Engine, create_engine, inspect
from sqlalchemy.event import listen
from sqlalchemy.pool import StaticPool

from recsys_assets.automation.dead_runs import RUN_ENDS, RunLocks, end_dead_runs
from recsys_assets.automation.locks import alone

_OPEN_FILES = 16
"""Each run has a file, and a webserver sees thousands; the least recently used ones are closed."""
_BUSY_SECONDS = 60
"""How long a statement waits for another process that writes."""
_CLAIM_SECONDS = 0.5
"""How long a step waits between two attempts to get a slot of its pool."""
_LOG = logging.getLogger(__name__)


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """For ``event_log_storage`` of a ``dagster.yaml``; takes the same configuration."""

    def __init__(self, base_dir: str, inst_data: Any = None):
        self._open: OrderedDict[str, Engine] = OrderedDict()
        self._in_use: dict[str, Connection] = {}
        self._told: dict[tuple[str, str], str] = {}
        self._overwritten: set[int] = set()
        self._tables = self._asset_columns = frozenset[str]()
        self.locks = RunLocks(Path(base_dir).absolute() / "running")
        # Two first commands at once would create the same tables.
        with alone(Path(base_dir).absolute()):
            super().__init__(base_dir, inst_data)
        self._db_lock = threading.RLock()

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptSqliteEventLogStorage":
        """Create the storage from the configuration of an instance."""
        return cls(inst_data=inst_data, **config_value)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event; a run that it starts is held by this process until it ends."""
        starts_or_ends = event.dagster_event if event.is_dagster_event else None
        if starts_or_ends is not None and starts_or_ends.event_type is DagsterEventType.RUN_START:
            self.locks.start(event.run_id, event.job_name or "a job")
        super().store_event(event)
        if starts_or_ends is not None and starts_or_ends.event_type in RUN_ENDS:
            self.locks.end(event.run_id)

    def size_of_logs(self, run_id: str) -> int:
        """Bytes of the file with the log of a run."""
        return sum(path.stat().st_size for path in self._files_of(run_id))

    def forget_logs(self, run_id: str) -> None:
        """Delete the log of a run; which partitions it wrote stays in the index."""
        with self._db_lock:
            if engine := self._open.pop(run_id, None):
                engine.dispose()
            self._initialized_dbs.discard(run_id)
            for path in self._files_of(run_id):
                path.unlink()

    def _files_of(self, run_id: str) -> list[Path]:
        path = self.path_for_shard(run_id)
        return [file for end in ("", "-wal", "-shm") if (file := Path(path + end)).exists()]

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """Claim a slot of a pool, or wait a moment for it; raises where a signal came meanwhile.

        Raises:
            DagsterExecutionInterruptedError: on SIGINT or SIGTERM.
        """
        claim = super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        if claim.is_claimed:
            return claim
        instance = self._instance
        holders = sorted(self._holders(concurrency_key) - {run_id})
        if end_dead_runs(instance, self.locks, holders):
            return super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)
        self._tell(instance, concurrency_key, run_id, step_key, holders)
        # Dagster would ask again and again at full speed, and look for signals only within a step.
        until = time.monotonic() + _CLAIM_SECONDS
        while time.monotonic() < until:
            if check_captured_interrupt():
                raise DagsterExecutionInterruptedError
            time.sleep(0.05)
        return claim.with_sleep_interval(0.0)

    def _holders(self, pool: str) -> set[str]:
        """The runs that hold a slot of a pool, or that the next one is meant for."""
        info = self.get_concurrency_info(pool)
        return info.active_run_ids | {step.run_id for step in info.pending_steps if step.assigned_timestamp}

    def _tell(
        self, instance: dg.DagsterInstance, pool: str, run_id: str, step_key: str, holders: Sequence[str]
    ) -> None:
        """Say once, in the log of the run and to who looks on, which runs a step waits for."""
        names = "; ".join(f"run {holder} of {self.locks.process_of(holder)}" for holder in holders)
        if not names or self._told.get((run_id, step_key)) == names:
            return
        self._told[run_id, step_key] = names
        text = f"{step_key} waits for pool {pool!r}, which is held by {names}"
        _LOG.warning(text)
        if run := instance.get_run_by_id(run_id):
            instance.report_engine_event(text, run, step_key=step_key)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events that belong together in one transaction for each file, all of them or none.

        Dagster asks for it where ``DAGSTER_EVENT_BATCH_SIZE`` is set: a run over a range of days plans and records each
        day of each asset, and commits were most of what that took.
        """
        with ExitStack() as transactions:
            for shard in (INDEX_SHARD_NAME, *sorted({event.run_id for event in events})):
                transactions.enter_context(self._connect(shard))
            self._overwritten = _overwritten(events)
            transactions.callback(self._overwritten.clear)
            for event in events:
                self.store_event(event)

    def _store_asset_event(self, conn: Connection, event: dg.EventLogEntry, event_id: int) -> None:
        """Update the row of an asset in the index, unless a later event of the batch writes the same columns."""
        if id(event) not in self._overwritten:
            super()._store_asset_event(conn, event, event_id)

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; asked once, since Dagster asks at each materialization."""
        if table_name not in self._tables:
            with self.index_connection() as connection:
                self._tables = frozenset(inspect(connection).get_table_names())
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        """Whether the index's table of assets has a column; asked once, like :meth:`has_table`."""
        if column_name not in self._asset_columns:
            self._asset_columns = frozenset(column["name"] for column in inspect(conn).get_columns("asset_keys"))
        return column_name in self._asset_columns

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


def end_runs_of_dead_processes(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """End the runs whose process is dead; none where Dagster's own run monitoring has to find them.

    Returns:
        The runs that were ended.
    """
    storage = instance.event_log_storage
    return end_dead_runs(instance, storage.locks) if isinstance(storage, KeptSqliteEventLogStorage) else []


def _overwritten(events: Sequence[dg.EventLogEntry]) -> set[int]:
    """The ids, as of ``id``, of all events of an asset but the last one of each type.

    Each event of a type writes the same columns of the row that Dagster's index has for its asset.
    """
    last = {(found.event_type, found.asset_key): id(event) for event in events if (found := event.dagster_event)}
    return {id(event) for event in events} - set(last.values())


def _wait_for_checkpoints_only(connection: Any, _: object) -> None:
    """Let a commit return before the disk has it, which SQLite's write-ahead log allows without harm to the file.

    A power failure may take the last events with it. What was built is not among them: partitions are synced when they
    are written, and what is outdated is read from their records.
    """
    connection.execute("PRAGMA synchronous = NORMAL")
