"""One thread that writes to a SQLite file, with group commit: what waits is committed together, by one sync."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, BinaryIO, TypeVar

from recsys_api.events.store import StoreError, StoreFullError, check_room

logger = logging.getLogger("uvicorn.recsys.events")

P = TypeVar("P")
T = TypeVar("T")
_MOST_JOBS = 512
_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR | 19 << 8}
"""The disk has no space for a page, or for the index of the write-ahead log (SQLITE_IOERR_SHMSIZE)."""


@dataclass(frozen=True, slots=True)
class _Job:
    write: Callable[[sqlite3.Connection, Sequence[Any]], Sequence[Any]]
    part: Any
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Writer:
    """Runs jobs in transactions, in the order in which they came.

    Args:
        connection: in autocommit mode, used by the thread alone; closed at the end.
        turn: a file by which processes take turns; closed at the end. SQLite itself would have them look again after
            growing pauses, in which they starve: some calls took a second where they take 50 ms with turns.
    """

    def __init__(self, connection: sqlite3.Connection, turn: BinaryIO) -> None:
        self._connection, self._turn = connection, turn
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._queued = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="events-writer", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Sum of the weights of jobs that are not done."""
        return self._queued

    async def run(self, write: Callable[[sqlite3.Connection], T], weight: int = 0) -> T:
        """Run a job; returns what it returned, once it is durable.

        Args:
            write: changes rows, within a transaction; it may be repeated after a rollback.
            weight: for :attr:`queued`.

        Raises:
            StoreFullError: there is no space.
            StoreBusyError: too many wait.
            StoreError: the file cannot be written.
        """
        return await self.run_together(lambda connection, parts: [write(connection) for _ in parts], None, weight)

    async def run_together(
        self, write: Callable[[sqlite3.Connection, Sequence[P]], Sequence[T]], part: P, weight: int
    ) -> T:
        """Run a job together with others of its kind that wait; returns its own result, once it is durable.

        Args:
            write: as for :meth:`run`; gets the parts of jobs that have come one after the other, and returns a result
                for each.
            part: of this job.
            weight: for :attr:`queued`.

        Raises:
            StoreFullError: there is no space.
            StoreBusyError: too many wait.
            StoreError: the file cannot be written.
        """
        if self._closed:
            raise StoreError("the event store is closed")
        if weight:
            check_room(self._queued, weight)
        loop = asyncio.get_running_loop()
        job = _Job(write, part, loop.create_future(), loop)
        self._queued += weight
        self._jobs.put(job)
        try:
            # A caller that goes away does not take its events back: the thread goes on with its job.
            return await job.future
        finally:
            self._queued -= weight

    async def close(self) -> None:
        """Finish the jobs that wait, and end the thread."""
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        stop = False
        while not stop and (first := self._jobs.get()) is not None:
            fcntl.flock(self._turn, fcntl.LOCK_EX)
            try:
                # Only now: what has come while another process had its turn is committed with the first.
                group, stop = self._waiting(first)
                self._commit(group)
            finally:
                fcntl.flock(self._turn, fcntl.LOCK_UN)
        self._connection.close()
        self._turn.close()

    def _waiting(self, first: _Job) -> tuple[list[_Job], bool]:
        """A job and those that wait behind it, and whether the last one was reached."""
        group = [first]
        while len(group) < _MOST_JOBS:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _commit(self, group: list[_Job]) -> None:
        """Run jobs in one transaction; if that fails, each by itself, so that none fails for another."""
        try:
            results = self._transaction(group)
        except Exception as error:
            if len(group) > 1:
                for job in group:
                    self._commit([job])
                return
            _settle(group, [_as_store_error(error)])
        else:
            _settle(group, results)

    def _transaction(self, group: list[_Job]) -> list[Any]:
        connection = self._connection
        try:
            connection.execute("begin immediate")
            results = [
                result
                for write, jobs in groupby(group, attrgetter("write"))
                for result in write(connection, [job.part for job in jobs])
            ]
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        return results


def _settle(group: list[_Job], results: list[Any]) -> None:
    """Hand out results, with one call to each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for job, result in zip(group, results, strict=True):
        by_loop.setdefault(job.loop, []).append((job.future, result))
    for loop, settled in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_resolve, settled)


def _resolve(settled: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in settled:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)


def _as_store_error(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if code in _FULL:
        return StoreFullError("the disk of the event store is full")
    logger.error("events cannot be written: %s", error)
    return StoreError(f"events cannot be written: {error}")
