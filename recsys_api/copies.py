"""The API's own copies of released files: who shortens a mapped file ends the processes that read it (SIGBUS).

The files of a store belong to others, so none of them is mapped. Copies lie in a folder of this user alone, are
read-only and never change; the workers of a machine share them. Where the file system can share blocks of files, a copy
takes no space of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recsys_assets.storage.manifest import ReleaseFile
from recsys_assets.storage.objects import ObjectStore

CHUNK = 1 << 18
"""Bytes that are read at once: they stay in the cache of the processor while they are hashed and written."""
KeepGoing = Callable[[], bool]
_AT_ONCE = 1 << 20
"""Bytes that the system copies at once. They are hashed before the next ones are copied: meanwhile the system reads
those from the disk, and what was copied is still in the cache of the processor."""


class SnapshotError(Exception):
    """A release cannot be served; the message says which and why."""


class LoadStoppedError(Exception):
    """Loading was cancelled because the application stops."""


class Copies:
    """Copies of the files of one store.

    Args:
        folder: of the copies; created when needed, for this user alone. Locks lie beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._users: BinaryIO | None = None

    def fetch(self, store: ObjectStore, key: str, file: ReleaseFile, release_id: str, keep_going: KeepGoing) -> Path:
        """A verified copy of a released file; made where there is none, or none that is good.

        Args:
            store: has the file.
            key: of the file.
            file: its entry in the manifest.
            release_id: of its release.
            keep_going: called before every chunk that is read; False cancels.

        Raises:
            SnapshotError: the file in the store is not what the manifest says, or the folder is another user's.
            FileNotFoundError: the file is missing.
            LoadStoppedError: ``keep_going`` returned False.
        """
        self._use()
        copy = self.folder / release_id / file.name
        if _is_good(copy, file, keep_going):
            return copy
        # One worker copies and the others wait for it: each with a copy of its own, they would not share its memory.
        with self._turn():
            if not _is_good(copy, file, keep_going):
                copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _copy(store, key, file, copy, keep_going)
        return copy

    def clear(self, keep: set[str | None]) -> None:
        """Delete copies of other releases; what another worker has mapped stays until it lets go of it."""
        if self.folder.is_dir():
            for release in self.folder.iterdir():
                if release.name not in keep:
                    shutil.rmtree(release, ignore_errors=True)

    def close(self, *, remove: bool) -> None:
        """Let go of the copies.

        Args:
            remove: whether they are deleted if no other worker uses them.
        """
        if self._users is None:
            return
        with self._users as users:
            self._users = None
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # others use them
                return
            if remove:
                shutil.rmtree(self.folder, ignore_errors=True)
                for lock in (self._lock("users"), self._lock("turn")):
                    lock.unlink(missing_ok=True)

    def _use(self) -> None:
        """Count as one who uses the copies."""
        if self._users is None:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            about = self.folder.lstat()
            if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid() or about.st_mode & 0o022:
                what = f"{self.folder}: others may write here; set RECSYS_API_CACHE_DIR to a folder where they may not"
                raise SnapshotError(what)
            self._users = self._lock("users").open("ab")
            fcntl.flock(self._users, fcntl.LOCK_SH)

    def _lock(self, what: str) -> Path:
        return self.folder.with_suffix(f".{what}")

    @contextmanager
    def _turn(self) -> Generator[None]:
        with self._lock("turn").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            yield


def digest_of(source: BinaryIO, keep_going: KeepGoing, copy_to: BinaryIO | None = None) -> str:
    """Hex SHA-256 of a file, read in chunks and, if ``copy_to`` is given, copied."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        if not keep_going():
            raise LoadStoppedError
        digest.update(chunk)
        if copy_to is not None:
            copy_to.write(chunk)
    return digest.hexdigest()


def _is_good(copy: Path, file: ReleaseFile, keep_going: KeepGoing) -> bool:
    try:
        if copy.stat().st_size != file.bytes:
            return False
        with copy.open("rb") as source:
            return digest_of(source, keep_going) == file.sha256
    except FileNotFoundError:
        return False


def _copy(store: ObjectStore, key: str, file: ReleaseFile, copy: Path, keep_going: KeepGoing) -> None:
    handle, temporary = tempfile.mkstemp(dir=copy.parent, prefix=f".{copy.name}.")
    try:
        with os.fdopen(handle, "w+b") as sink, store.open(key) as source:
            digest = _copied_by_system(store.local_path(key), sink, keep_going)
            if digest is None:
                digest = digest_of(source, keep_going, sink)
        if digest != file.sha256:
            raise SnapshotError(f"{store.uri(key)}: the manifest says sha256 {file.sha256}, found {digest}")
        Path(temporary).chmod(0o400)
        Path(temporary).replace(copy)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _copied_by_system(path: Path | None, sink: BinaryIO, keep_going: KeepGoing) -> str | None:
    """Have the system copy a local file, so that it shares blocks where it can; hex SHA-256 of what is in the copy.

    None where the system cannot: nothing is in the new file then, and the place in it is the beginning.
    """
    if path is None or sys.platform != "linux":
        return None
    digest, copied = hashlib.sha256(), 0
    with path.open("rb") as source:
        try:
            while count := os.copy_file_range(source.fileno(), sink.fileno(), _AT_ONCE):
                for first in range(copied, copied + count, CHUNK):
                    if not keep_going():
                        raise LoadStoppedError
                    digest.update(os.pread(sink.fileno(), min(CHUNK, copied + count - first), first))
                copied += count
        except OSError:  # not every pair of file systems can
            sink.seek(0)
            sink.truncate()
            return None
    return digest.hexdigest()
