"""Follows the release pointer: loads what it names in the background and swaps one reference."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import shutil
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from recsys_api.settings import Settings
from recsys_api.snapshot import LoadStoppedError, Snapshot, load_snapshot
from recsys_assets.storage.manifest import Pointer
from recsys_assets.storage.objects import NotFound, ObjectStore
from recsys_assets.storage.releases import POINTER, Releases
from recsys_assets.storage.uri import open_store

# A child of uvicorn's logger, so that its handlers and level apply without any set-up here.
logger = logging.getLogger("uvicorn.recsys")

_LONGEST_RETRY = 60.0


class Reloader:
    """Holds the snapshot being served and keeps it current.

    ``current`` is replaced as a whole by one assignment; whoever took it keeps a consistent release, and its mapped
    files are let go with the last request that uses them. ``problem`` says why there is none, or no newer one.
    """

    def __init__(self, settings: Settings) -> None:
        self.current: Snapshot | None = None
        self.problem: str | None = "the release pointer has not been read yet"
        self.poll_seconds = settings.api_poll_seconds
        self._uri = settings.storage_uri
        # Stores do not share a folder, so that each can clear out its own.
        self._cache = settings.api_cache_dir / hashlib.sha256(self._uri.encode()).hexdigest()[:16]
        self._store: ObjectStore | None = None
        self._settled: str | None = None
        self._failing: str | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._stopping = threading.Event()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Poll in the background for as long as the context lasts."""
        self._stopping.clear()
        task = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._stopping.set()  # ends a load that is under way, which cancelling a task cannot
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _poll(self) -> None:
        while True:
            await asyncio.to_thread(self.refresh)
            # Jitter keeps many workers from asking at the same moment.
            await asyncio.sleep(self.poll_seconds * random.uniform(0.8, 1.2))

    def refresh(self) -> None:
        """Look at the pointer once and load what it names if that is new; never raises.

        A release that could not be loaded is tried again after a growing pause, at once when the pointer moves.
        """
        try:
            self._report(self._follow())
        except LoadStoppedError:
            return
        except Exception as error:  # whatever it is, the old release stays and a later look may succeed
            self._report(str(error) or type(error).__name__)

    def _follow(self) -> str | None:
        """Serve what the pointer names. Returns what is wrong, if it is nothing to raise."""
        if self._store is None:
            self._store = open_store(self._uri)
        try:
            etag = self._store.head(POINTER).etag  # cheap: the pointer is read only when it has changed
        except NotFound:
            return f"nothing has been published at {self._uri}"
        if etag == self._settled:
            return None
        if etag == self._failing and time.monotonic() < self._retry_at:
            return self.problem
        pointer, etag = Releases(self._store).current_with_etag()
        if pointer is None:
            return f"nothing has been published at {self._uri}"
        try:
            self._serve(self._store, pointer)
        except Exception:
            self._failures = self._failures + 1 if etag == self._failing else 1
            self._failing = etag
            self._retry_at = time.monotonic() + min(_LONGEST_RETRY, self.poll_seconds * 2**self._failures)
            raise
        self._settled, self._failing = etag, None
        return None

    def _serve(self, store: ObjectStore, pointer: Pointer) -> None:
        served = self.current
        if served and served.pointer.manifest_sha256 == pointer.manifest_sha256:
            self.current = replace(served, pointer=pointer)
        else:
            self.current = load_snapshot(store, pointer, self._cache, lambda: not self._stopping.is_set())
            logger.info("serving release %s as of %s", pointer.release_id, pointer.as_of)
        # Also for a pointer that merely forgot its previous release, as after an erasure.
        self._clear_cache({pointer.release_id, pointer.previous})

    def _clear_cache(self, keep: set[str | None]) -> None:
        """Remove downloads of older releases; what another process still has mapped lives on until it lets go."""
        if self._cache.is_dir():
            for folder in self._cache.iterdir():
                if folder.name not in keep:
                    shutil.rmtree(folder, ignore_errors=True)

    def _report(self, problem: str | None) -> None:
        """Remember what is wrong and log it once."""
        if problem == self.problem:
            return
        self.problem = problem
        if problem is not None:
            serving = f"release {self.current.release_id} stays" if self.current else "nothing is served"
            logger.warning("%s: %s", serving, problem)
