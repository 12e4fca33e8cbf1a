"""Progress on a terminal: what is being done, how far it is, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

Advance = Callable[[int, int], None]
"""Takes how much is done, and of how much."""


class Progress:
    """Prints lines that start with the seconds since the beginning; on a terminal, steps have a bar besides."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Print one line."""
        line = f"[{time.monotonic() - self._start:6.1f} s] {text}"
        self._console.print(line, markup=False, emoji=False, soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Generator[Advance]:
        """Say what begins, and at its end how long it took; what is yielded says how far it is."""
        start = time.monotonic()
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Bar(*columns, console=self._console, transient=True) as bar:
                task = bar.add_task(text, total=None)
                yield lambda done, total: bar.update(task, completed=done, total=total)
        else:
            self.note(f"{text} ...")
            yield lambda done, total: None
        self.note(f"{text}: {time.monotonic() - start:.1f} s")
