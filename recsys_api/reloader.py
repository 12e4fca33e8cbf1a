"""Follow the release pointer: load the release that it names in the background and swap one reference."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace

import pyarrow as pa

from recsys_api.copies import Copies, LoadStoppedError
from recsys_api.events.item_change import ItemChange
from recsys_api.items.newest import ItemChanges
from recsys_api.items.serving import with_changes
from recsys_api.settings import Settings
from recsys_api.snapshot import Snapshot, load_snapshot
from recsys_api.watching import Watch, Watched
from recsys_assets.storage.manifest import Pointer
from recsys_assets.storage.objects import NotFound, ObjectStore
from recsys_assets.storage.releases import POINTER, ROOT, Releases
from recsys_assets.storage.retries import BRIEF
from recsys_assets.storage.uri import open_store

# A child of uvicorn's logger, so that its handlers and level apply without any set-up here.
logger = logging.getLogger("uvicorn.recsys")

_LONGEST_RETRY = 60.0
_FIRST_LOOK_SECONDS = 10.0
_NICE = 10


class Reloader:
    """Holds the snapshot being served and keeps it current.

    ``current`` is replaced as a whole by one assignment: a request that has read it keeps a consistent release, whose
    mapped files are closed after the last request that uses them. It is the release with the ``changes`` of items that
    are newer, all of those up to the sequence ``followed``. ``problem`` says why there is no release, or no newer one.

    Args:
        settings: where releases are.
        on_outcome: called with whether a release could be loaded, at every attempt.
        on_damage: called for each file of the release that is found damaged after it was loaded.
    """

    def __init__(
        self,
        settings: Settings,
        on_outcome: Callable[[bool], None] = lambda loaded: None,
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        self.current: Snapshot | None = None
        self.changes = ItemChanges()
        self.followed = 0
        self.problem: str | None = "the release pointer has not been read yet"
        self.poll_seconds = settings.api_poll_seconds
        self._on_outcome, self._on_damage = on_outcome, on_damage
        self._bytes_per_second = settings.api_verify_bytes_per_second
        self._uri = settings.storage_uri
        # Each store has its own folder, which can be cleared without affecting others.
        self._copies = Copies(settings.api_cache_dir / hashlib.sha256(self._uri.encode()).hexdigest()[:16])
        self._watch = Watch([], 0)
        self._damaged: dict[Watched, str] = {}
        self._store: ObjectStore | None = None
        self._settled: str | None = None
        self._failing: str | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._stopping = threading.Event()
        self._released: Snapshot | None = None
        self._swapping = threading.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Poll in the background while the context lasts; it begins after the first look, or when that is slow."""
        self._stopping.clear()
        # Without a release nobody is answered, so the first is loaded at full speed.
        first, later = ThreadPoolExecutor(1, "reloader"), ThreadPoolExecutor(1, "reloader", initializer=_prefer_others)
        first_look = asyncio.get_running_loop().run_in_executor(first, self.refresh)
        task = asyncio.create_task(self._poll(first_look, later))
        try:
            # Workers share a port: while one of them begins, the others answer.
            await asyncio.wait([first_look], timeout=_FIRST_LOOK_SECONDS)
            yield
        finally:
            self._stopping.set()  # stops a load in progress, which cancelling the task does not
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # A look that still goes on would take the removal of the copies for damage.
            for threads in (first, later):
                await asyncio.to_thread(threads.shutdown)
            # A local store is soon copied again, and who is erased while the API is down is erased here too.
            await asyncio.to_thread(self._copies.close, remove=self._uri.startswith("file://"))

    async def _poll(self, first_look: asyncio.Future[None], later: Executor) -> None:
        loop = asyncio.get_running_loop()
        await first_look
        while True:
            # Jitter keeps many workers from reading at the same moment.
            await asyncio.sleep(self.poll_seconds * random.uniform(0.8, 1.2))
            await loop.run_in_executor(later, self.refresh)

    def change_items(self, arrived: Iterable[tuple[int, ItemChange]]) -> None:
        """Serve with changes of items, now and after each reload; thread-safe, and it may be repeated.

        Args:
            arrived: ascending by sequence, none left out after ``followed``.
        """
        with self._swapping:
            news = self.changes.take(arrived)
            if self.current is not None:
                self.current = with_changes(self.current, news)
            self.followed = self.changes.cursor  # last: who sees it relies on what is served

    def forget_items(self, oldest: int, most: int) -> int:
        """Forget changes of items as :meth:`ItemChanges.forget`, and serve without them; returns how many."""
        with self._swapping:
            forgotten = self.changes.forget(oldest, most)
            if forgotten and self._released is not None:
                self.current = with_changes(self._released, self.changes.all())
        return forgotten

    def refresh(self) -> None:
        """Read the pointer once and load the release that it names, if that is new; never raises.

        Loading a release that failed is retried after a growing pause, and at once when the pointer moves.
        """
        try:
            self._report(self._follow() or self._look())
        except LoadStoppedError:
            return
        except Exception as error:  # the old release stays, and a later attempt may succeed
            self._on_outcome(False)
            self._report(str(error) or type(error).__name__)

    def _follow(self) -> str | None:
        """Serve the release that the pointer names. Returns the problem, if it is no error."""
        if self._store is None:
            self._store = open_store(self._uri, retries=BRIEF)
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
        except LoadStoppedError:
            raise
        except Exception:
            if self._released is None:
                self._serve_instead(self._store, pointer)
            self._failures = self._failures + 1 if etag == self._failing else 1
            self._failing = etag
            self._retry_at = time.monotonic() + min(_LONGEST_RETRY, self.poll_seconds * 2**self._failures)
            raise
        self._settled, self._failing = etag, None
        return None

    def _serve(self, store: ObjectStore, pointer: Pointer) -> None:
        released = self._released
        if released and released.pointer.manifest_sha256 == pointer.manifest_sha256:
            self._swap(replace(released, pointer=pointer, instead_of=None))
        else:
            released = self._load(store, pointer)
            self._swap(released)
            pa.default_memory_pool().release_unused()  # loading takes memory for a moment that Arrow would keep
            self._on_outcome(True)
            lacks = "" if released.catalogue.released else ", which has no catalogue: no item of it is known"
            logger.info("serving release %s as of %s%s", pointer.release_id, pointer.as_of, lacks)
        # Also if only the previous release of the pointer changed, as after an erasure.
        self._copies.clear({pointer.release_id, pointer.previous})

    def _swap(self, released: Snapshot) -> None:
        with self._swapping:
            self._released = released
            self.current = with_changes(released, self.changes.all())

    def _load(self, store: ObjectStore, pointer: Pointer) -> Snapshot:
        """Load a release, and watch its files from now on."""
        released = load_snapshot(store, pointer, self._copies, lambda: not self._stopping.is_set())
        files = {file.name: file for file in released.manifest.files}
        watched = [Watched(path, files[name], f"{name} as served", True) for name, path in released.copies.items()]
        for name in released.copies:
            key = f"{ROOT}/{pointer.release_id}/{name}"
            if (path := store.local_path(key)) is not None:
                watched.append(Watched(path, files[name], f"{store.uri(key)}, of which a copy is served", False))
        self._watch, self._damaged = Watch(watched, self._bytes_per_second), {}
        return released

    def _serve_instead(self, store: ObjectStore, pointer: Pointer) -> None:
        """Serve the release before the one that a pointer names, which cannot be loaded; if that cannot be, nothing."""
        previous = pointer.previous
        if previous is None or previous in pointer.withdrawn:
            return
        try:
            manifest = Releases(store).manifest(previous)
            stated = replace(pointer, release_id=previous, as_of=manifest.as_of, manifest_sha256=manifest.sha256)
            self._swap(replace(self._load(store, stated), instead_of=pointer.release_id))
        except LoadStoppedError:
            raise
        except Exception as error:
            logger.warning("release %s cannot be served instead of %s: %s", previous, pointer.release_id, error)
            return
        logger.warning("serving release %s instead of %s, which cannot be loaded", previous, pointer.release_id)

    def _look(self) -> str | None:
        """Look again at the files of the release that is served. Returns the problem, if any is damaged."""
        damaged = self._watch.look()
        for _ in damaged.keys() - self._damaged.keys():
            self._on_damage()
        self._damaged = damaged
        if not damaged:
            return None
        told = f"release {self._released.release_id if self._released else ''}: {'; '.join(damaged.values())}"
        if any(file.served for file in damaged):
            logger.warning("%s: loading it again", told)
            self._settled, self._released = None, None  # what is mapped now is served until then
            return self._follow() or self._look()
        return told

    def _report(self, problem: str | None) -> None:
        """Store the problem and log it once."""
        if problem == self.problem:
            return
        self.problem = problem
        if problem is not None:
            serving = f"release {self.current.release_id} stays" if self.current else "nothing is served"
            logger.warning("%s: %s", serving, problem)


def _prefer_others() -> None:
    """Have the system run other threads first: reading and hashing a release takes seconds of a core.

    On one core, 99 % of the answers came within 4.2 times the usual while releases were swapped, and now within 0.8.
    """
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
