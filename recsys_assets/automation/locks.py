"""Files that a process keeps locked while it lives.

The system releases such a lock when its process ends, however it ends. So a lock says more than a process id, which a
restarted container or a rebooted machine gives to another process.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from types import TracebackType

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        about: what it does.
        pid: of its process.
        host: name of its machine.
        since: UTC, ISO 8601.
    """

    about: str
    pid: int
    host: str
    since: str

    def __str__(self) -> str:
        return f"{self.about} (process {self.pid} on {self.host}, since {self.since})"


class HeldLock:
    """A lock of this process. It ends with :meth:`release` or with the process."""

    def __init__(self, descriptor: int, path: Path):
        self._descriptor, self._path = descriptor, path

    def __enter__(self) -> HeldLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self, *, delete: bool = False) -> None:
        """Let others have it; ``delete`` where nobody else can want it."""
        if delete:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def hold(path: Path, about: str, *, wait: bool = False) -> HeldLock | None:
    """Lock a file, which is created; None if another process or thread holds it.

    Args:
        path: of the file.
        about: for others, what the holder does.
        wait: whether to wait until it is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not inherited by programs that this process starts: they may outlive it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    holder = Holder(about, os.getpid(), gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)
    return HeldLock(descriptor, path)


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Let one process at a time set up a folder."""
    with hold(folder / ".setup.lock", "setting it up", wait=True) or nullcontext():
        yield


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock; false for a file that does not exist."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder_of(path: Path) -> str:
    """Who holds or held a lock, in words."""
    try:
        return str(TypeAdapter(Holder).validate_json(path.read_bytes()))
    except (OSError, ValidationError):
        return "an unknown process"
