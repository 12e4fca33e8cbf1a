"""Objects as files in a folder."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from recsys_assets.storage.objects import AlreadyExists, Conflict, NotFound, ObjectMeta, check_key, hidden
from recsys_assets.storage.scratch import Scratch, sweep

SCRATCH = ".scratch"
"""The folder of unfinished writes at the root of a store."""
_LEFT_BY_EARLIER_VERSIONS = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
"""Temporary files that versions without a scratch folder wrote beside their targets."""
_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class LocalStore:
    """An ``ObjectStore`` over a folder of a local or network file system.

    A write goes to a file in the scratch folder of its process, ``.scratch/…``, which is synced and then renamed (or
    linked, for create-only writes, since a link refuses an existing name); then the folder is synced. A crash leaves at
    most a file there, which the next process to write removes.

    Args:
        root: absolute; created by the first write.
    """

    storage_options: dict[str, str] | None = None

    def __init__(self, root: Path):
        self._root = root
        self._scratch = Scratch(root / SCRATCH)

    def __repr__(self) -> str:
        return f"LocalStore({str(self._root)!r})"

    def get(self, key: str) -> bytes:
        """The whole object; see :class:`ObjectStore`."""
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object with its etag; see :class:`ObjectStore`."""
        with self.open(key) as file:
            return file.read(), _etag(os.fstat(file.fileno()))

    def put(self, key: str, data: bytes | Path) -> None:
        """Write or overwrite; see :class:`ObjectStore`."""
        target = self._path(key)
        with self._temporary(target, data) as temporary:
            temporary.replace(target)
        _sync(target.parent)

    def create(self, key: str, data: bytes | Path) -> None:
        """Write a new object; see :class:`ObjectStore`."""
        target = self._path(key)
        if target.exists():
            raise AlreadyExists(f"{target} exists already")
        with self._temporary(target, data) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                raise AlreadyExists(f"{target} exists already") from None
        _sync(target.parent)

    def replace(self, key: str, data: bytes, etag: str | None) -> None:
        """Compare and swap; see :class:`ObjectStore`."""
        target = self._path(key)
        if etag is None:
            try:
                self.create(key, data)
            except AlreadyExists:
                raise Conflict(f"{target}: expected no object, found one") from None
            return
        with _locked(target):
            try:
                found = target.stat()
            except _MISSING:
                raise Conflict(f"{target}: expected etag {etag}, found no object") from None
            if _etag(found) != etag:
                raise Conflict(f"{target}: expected etag {etag}, found {_etag(found)}")
            with self._temporary(target, data) as temporary:
                # File system clocks tick in milliseconds and inodes are reused: without setting the time here, two
                # writes of equal length could get the same etag.
                stamp = max(time.time_ns(), found.st_mtime_ns + 1)
                os.utime(temporary, ns=(stamp, stamp))
                temporary.replace(target)
        _sync(target.parent)

    def exists(self, key: str) -> bool:
        """Whether there is an object; see :class:`ObjectStore`."""
        return self._path(key).is_file()

    def head(self, key: str) -> ObjectMeta:
        """Size, etag and time; see :class:`ObjectStore`."""
        path = self._path(key)
        if not path.is_file():
            raise NotFound(f"{path} does not exist")
        return _meta(key, path.stat())

    def list(self, prefix: str = "") -> list[ObjectMeta]:
        """All objects under a folder; see :class:`ObjectStore`."""
        objects: list[ObjectMeta] = []
        for folder, folders, files in os.walk(self._path(prefix) if prefix else self._root):
            folders[:] = [name for name in folders if not hidden(name)]
            for name in files:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # deleted since the folder was read
                    if not hidden(name):
                        objects.append(_meta(path.relative_to(self._root).as_posix(), path.stat()))
        return sorted(objects, key=lambda meta: meta.key)

    def delete(self, key: str) -> None:
        """Remove an object; see :class:`ObjectStore`."""
        with suppress(*_MISSING):
            self._path(key).unlink()

    def open(self, key: str) -> BinaryIO:
        """A seekable binary file; see :class:`ObjectStore`."""
        path = self._path(key)
        try:
            # Without O_NONBLOCK, opening a FIFO would wait for somebody to write.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except _MISSING:
            raise NotFound(f"{path} does not exist") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise NotFound(f"{path} does not exist as a regular file")
        return os.fdopen(descriptor, "rb")

    def uri(self, key: str = "") -> str:
        """The path; see :class:`ObjectStore`."""
        return str(self._path(key.rstrip("/")) if key else self._root)

    def local_path(self, key: str) -> Path | None:
        """The object's own file; see :class:`ObjectStore`."""
        return self._path(key)

    def sweep(self, prefix: str = "", hours: float = 0, *, history: bool = False) -> list[str]:
        """Remove what killed writes have left; see :class:`ObjectStore`. What is being written is known by its lock."""
        removed = [str(path) for path in sweep(self._root / SCRATCH)]
        for path in self._hidden(prefix):
            if _LEFT_BY_EARLIER_VERSIONS.fullmatch(path.name):
                path.unlink(missing_ok=True)
                removed.append(str(path))
        return removed

    def unlisted(self, prefix: str = "") -> list[str]:
        """Hidden files with content; see :class:`ObjectStore`."""
        found: list[str] = []
        for path in self._hidden(prefix):
            with suppress(FileNotFoundError):  # finished meanwhile
                if path.stat().st_size:
                    found.append(str(path))
        return found

    def _hidden(self, prefix: str) -> Iterator[Path]:
        """Every file of which some part of the path below the root begins with a dot."""
        roots = [self._path(prefix), self._root / SCRATCH] if prefix else [self._root]
        for folder, _, files in itertools.chain.from_iterable(map(os.walk, roots)):
            for name in files:
                path = Path(folder, name)
                # Locks say which process holds them.
                if hidden(path.relative_to(self._root).as_posix()) and path.suffix != ".lock":
                    yield path

    @contextmanager
    def _temporary(self, target: Path, data: bytes | Path) -> Generator[Path]:
        """A synced file with the data, on the file system of the target; deleted afterwards unless it was renamed."""
        _make_folder(target.parent)
        path = self._scratch.folder() / uuid.uuid4().hex
        try:
            with path.open("xb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file, 1 << 20)
                file.flush()
                os.fsync(file.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _meta(key: str, found: os.stat_result) -> ObjectMeta:
    return ObjectMeta(key, found.st_size, _etag(found), datetime.fromtimestamp(found.st_mtime, UTC))


@contextmanager
def _locked(target: Path) -> Generator[None]:
    """Hold the lock of a key against threads and processes; the system releases it when its holder dies."""
    _make_folder(target.parent)
    with target.with_name(f".{target.name}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_folder(folder: Path) -> None:
    """Create a folder, and sync the folders that hold the new names."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
