"""Looks again at the files of the release that is served: bytes that change after they were verified are noticed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys_api.copies import CHUNK
from recsys_assets.storage.manifest import ReleaseFile

_Stamp = tuple[int, int, int, int] | None
_LONGEST = 60.0
"""Seconds between two looks that count towards what is read; a longer pause is not made up for."""


@dataclass(frozen=True)
class Watched:
    """A file.

    Attributes:
        path: of it.
        file: its entry in the manifest.
        name: for messages.
        served: whether answers are read from it; else it is the one in the store.
    """

    path: Path
    file: ReleaseFile
    name: str
    served: bool


class Watch:
    """Watches files that were just verified.

    A file whose time, size or place changes is read at the next look. Of the others, so many bytes a second are read
    that the disk is not busy with it, round and round: bytes may go bad without a trace.

    Args:
        files: all of them.
        bytes_per_second: 0 reads only files that have changed.
    """

    def __init__(self, files: Sequence[Watched], bytes_per_second: int) -> None:
        self._files, self._rate = files, bytes_per_second
        self._stamps: dict[Watched, _Stamp] = {file: _stamp(file.path) for file in files}
        self._damaged: dict[Watched, str] = {}
        self._replaced: dict[Watched, str] = {}
        self._round = self._read_round()
        self._looked = time.monotonic()

    def look(self) -> dict[Watched, str]:
        """Look at the files; returns those that are damaged now, each with what is wrong."""
        for file in self._files:
            stamp, before = _stamp(file.path), self._stamps[file]
            if stamp == before:
                continue
            self._stamps[file] = stamp
            for _ in self._read(file):
                pass
            if file.served and stamp and before and stamp[0] != before[0]:
                # Another worker has made a damaged copy anew, and the damaged one is still mapped here.
                self._replaced[file] = f"{file.name}: it was replaced"
        now = time.monotonic()
        budget = self._rate * min(_LONGEST, now - self._looked)
        self._looked = now
        while budget > 0:
            budget -= next(self._round)
        return self._replaced | self._damaged

    def _read_round(self) -> Generator[int, None, None]:
        """Read the files one after the other, again and again; yields the bytes of each step."""
        while True:
            for file in self._files:
                yield from self._read(file)
            yield CHUNK  # also where there is nothing to read

    def _read(self, file: Watched) -> Generator[int, None, None]:
        """Read a file and note whether it is damaged; yields the bytes of each step."""
        digest = hashlib.sha256()
        try:
            with file.path.open("rb") as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    yield len(chunk)
        except OSError as error:
            self._damaged[file] = f"{file.name}: {error.strerror or type(error).__name__}"
            return
        if digest.hexdigest() == file.file.sha256:
            self._damaged.pop(file, None)
        else:
            self._damaged[file] = (
                f"{file.name}: the manifest says sha256 {file.file.sha256}, found {digest.hexdigest()}"
            )


def _stamp(path: Path) -> _Stamp:
    """What changes with the bytes of a file; who sets its times back leaves that of the change. None: it is missing."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
