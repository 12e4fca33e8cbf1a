"""What a benchmark takes with all processes that it starts: those of a cluster are in no figure of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_MARK = f"RECSYS_BENCHMARK_{os.getpid()}"
_TICK, _SECONDS_APART = os.sysconf("SC_CLK_TCK"), 1.0


def mark() -> None:
    """Mark all that is started from now on: environments are inherited."""
    os.environ[_MARK] = "1"


def _ours() -> Iterator[Path]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) == os.getpid() or _MARK in (folder / "environ").read_text(errors="replace"):
                yield folder
        except OSError:
            continue  # it ended, or is not ours


def memory_of(pid: int, kind: str) -> float:
    """MiB of memory that a process holds, of a kind such as ``Anonymous``, or ``Pss`` (shared pages are split fairly).

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def memory() -> float:
    """Resident MiB of this process and of all that are marked; shared pages are split fairly."""
    total = 0.0
    for folder in _ours():
        with suppress(psutil.NoSuchProcess):
            total += memory_of(int(folder.name), "Pss")
    return total


def cpu() -> float:
    """CPU seconds of this process and of all that are marked, with those of their children that have ended."""
    total = 0
    for folder in _ours():
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, words[11:15]))
    return total / _TICK


def cpu_of(roots: Sequence[int]) -> float:
    """CPU seconds of processes, with their children, also those that have ended."""
    total = 0.0
    for root in map(psutil.Process, roots):
        for child in root.children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # then it is among those of the root that have ended
                total += sum(child.cpu_times()[:2])
        total += sum(root.cpu_times()[:4])
    return total


class Watch:
    """Samples CPU seconds and memory of all processes, once a second, until it is closed."""

    def __init__(self) -> None:
        mark()
        self.samples: list[tuple[float, float, float]] = []
        """Time, CPU seconds so far, resident MiB."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._closing.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """CPU seconds taken between two instants, to a second or so, and the most memory meanwhile."""
        before = [took for at, took, _ in self.samples if at <= begin]
        until = [took for at, took, _ in self.samples if at <= end]
        held = [held for at, _, held in self.samples if begin <= at <= end]
        return max(until, default=0.0) - max(before, default=0.0), max(held, default=0.0)

    def _sample(self) -> None:
        while True:
            self.samples.append((time.time(), cpu(), memory()))
            if self._closing.wait(_SECONDS_APART):
                return
