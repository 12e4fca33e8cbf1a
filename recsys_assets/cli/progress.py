"""Progress on a terminal: what is being done, and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager


class Progress:
    """Prints lines that start with the seconds since the beginning."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def note(self, text: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)  # noqa: T201

    @contextmanager
    def step(self, text: str) -> Generator[None]:
        """Say what begins, and at its end how long it took."""
        self.note(f"{text} ...")
        start = time.monotonic()
        yield
        self.note(f"{text}: {time.monotonic() - start:.1f} s")
