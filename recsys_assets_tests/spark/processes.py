"""Processes by a mark in their environment, which all that they start inherit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

MARK = "SPARK_TEST_MARK"


def marked(mark: str) -> dict[int, str]:
    """Number and command line of the living processes that bear a mark."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # a process that ended and was not collected yet has none
                    found[int(folder.name)] = command
        except OSError:
            continue  # it ended while we looked, or is not ours
    found.pop(os.getpid(), None)
    return found


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: naming what did not come about.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)
