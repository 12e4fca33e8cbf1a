"""Folders for unfinished files, one per process, which other processes remove when theirs is dead.

::

    <root>/<pid>-<random>.lock    held by the process for as long as it lives; the system releases it, however it dies
    <root>/<pid>-<random>/        its files

Whoever makes a folder removes those whose lock nobody holds. So a write that was killed leaves its rows behind until
the next one begins, and an erasure can tell what is left from what is being written. No process is known by its number,
which systems use again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import uuid
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path

_LOCK = ".lock"


class Scratch:
    """The folder of this process below a root; made when it is first asked for, removed at the end.

    Args:
        root: shared by all processes; on the file system that finished files are renamed to.
        private: whether it is of one user; others' folder of that name is a ``PermissionError``.
    """

    def __init__(self, root: Path, *, private: bool = False):
        self.root, self._private = root, private
        self._folder: Path | None = None
        self._process = 0
        self._making = threading.Lock()

    def folder(self) -> Path:
        """The folder; a forked child gets one of its own."""
        with self._making:
            if self._folder is None or self._process != os.getpid():
                sweep(self.root)
                self._folder, lock = _make(self.root, private=self._private)
                self._process = os.getpid()
                weakref.finalize(self, _discard, self._folder, lock, self._process)
            return self._folder


def sweep(root: Path) -> list[Path]:
    """Remove the folders of dead processes; returns the files that were in them."""
    removed: list[Path] = []
    for lock in sorted(root.glob(f"*{_LOCK}")):
        # Another process removes it as well, or another user's does.
        with suppress(FileNotFoundError, PermissionError):
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            else:
                folder = lock.with_suffix("")
                removed += [path for path in folder.rglob("*") if path.is_file()]
                shutil.rmtree(folder, ignore_errors=True)
                lock.unlink()
            finally:
                os.close(descriptor)
    return removed


def temporary_folder(prefix: str, parent: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed when it is closed, or else after its process is dead.

    Args:
        prefix: of its name.
        parent: has a folder of this user for the folders of processes; None is the system's one for temporary files.

    Raises:
        PermissionError: somebody else made the folder of this user.
    """
    return tempfile.TemporaryDirectory(prefix=prefix, dir=_of(temporary_root(parent)).folder())


def temporary_root(parent: Path | None = None) -> Path:
    """Where the folders of this user's processes are for what is not written to a store."""
    return (parent or Path(tempfile.gettempdir())) / f"recsys-{os.getuid()}"


@cache
def _of(root: Path) -> Scratch:
    return Scratch(root, private=True)


def _make(root: Path, *, private: bool) -> tuple[Path, int]:
    """A folder and the descriptor of its lock, which is held."""
    mode = 0o700 if private else 0o777
    while True:
        root.mkdir(mode=mode, parents=True, exist_ok=True)
        if private and root.stat().st_uid != os.getuid():
            raise PermissionError(f"{root} is of another user: rows are not written there")
        folder = root / f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        try:
            lock = os.open(folder.with_name(f"{folder.name}{_LOCK}"), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode & 0o666)
        except FileNotFoundError:  # the last one to leave removed the root
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:  # else a sweep took it for that of a dead process, before it was held
            folder.mkdir(mode=mode)
            return folder, lock
        os.close(lock)


def _discard(folder: Path, lock: int, process: int) -> None:
    """Remove a folder at the end of its process; a forked child leaves it alone."""
    if os.getpid() != process:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}{_LOCK}").unlink(missing_ok=True)
    os.close(lock)
    with suppress(OSError):  # others are at work
        folder.parent.rmdir()
