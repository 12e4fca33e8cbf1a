"""Which users a store of events may know something of: most visitors have done nothing yet, and need no read.

A Bloom filter of one hash in a file that all workers of a machine map. A bit is set before the event that it stands for
is committed and never taken back, so a bit that is not set is certain; one that is set costs a read.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path

_BITS = 1 << 25
"""Of 1,000,000 known users, 3 % of the others are read for nothing; the file takes 4 MiB."""


class KnownUsers:
    """The filter. Who opens it, and who adds to it, must hold the turn of the store's writers.

    The first one who opens it fills it anew: what a crash of the machine left of the file may lack bits.

    Args:
        path: of the file; created where it is missing.
        tokens: hashes of all users of whom the store knows something.
    """

    def __init__(self, path: Path, tokens: Callable[[], Iterable[bytes]]) -> None:
        self._file = path.open("a+b")
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # others have it open, and keep it true
                fcntl.flock(self._file, fcntl.LOCK_SH)
                self._bits = mmap.mmap(self._file.fileno(), _BITS // 8)
            else:
                self._file.truncate(0)
                # All of it is on the disk before it is mapped: to fill a gap on a full disk would end the process.
                self._file.write(bytes(_BITS // 8))
                self._file.flush()
                os.fsync(self._file.fileno())
                self._bits = mmap.mmap(self._file.fileno(), _BITS // 8)
                self.add(tokens())
                fcntl.flock(self._file, fcntl.LOCK_SH)
        except BaseException:
            self._file.close()
            raise

    def add(self, tokens: Iterable[bytes]) -> None:
        """Note users by their hashes."""
        bits = self._bits
        for token in tokens:
            place = int.from_bytes(token[:4]) % _BITS
            bits[place >> 3] |= 1 << (place & 7)

    def may_have(self, token: bytes) -> bool:
        """Whether a user may have been noted; False is certain."""
        place = int.from_bytes(token[:4]) % _BITS
        return bool(self._bits[place >> 3] & 1 << (place & 7))

    def close(self) -> None:
        """Let go of the file."""
        self._bits.close()
        self._file.close()
