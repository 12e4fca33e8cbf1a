"""The folder in which all worker processes of a server write what they count."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
BASELINE = "baseline.json"
"""File of the folder with the counts at the last reset of ``/stats``."""


def forget_dead_workers(folder: Path) -> None:
    """Drop the gauges of workers that were killed; their counts stay."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was quicker
                mark_process_dead(pid, str(folder))
        except PermissionError:  # another user's: alive
            continue


def begun_files(folder: Path) -> Iterator[str]:
    """The files that workers count in, without those that are still empty.

    A worker makes its file before it gives it a size, and one that is killed in between leaves it empty for ever;
    the library cannot read such a file (https://github.com/prometheus/client_python/issues/1199).
    """
    for path in folder.glob("*.db"):
        with suppress(FileNotFoundError):  # of a dead worker, dropped by another one
            if path.stat().st_size:
                yield str(path)


def empty_folder(folder: Path) -> None:
    """Make the folder of shared counts, without what earlier workers left in it; nothing else in it is touched."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("*.db"), folder / BASELINE):
        path.unlink(missing_ok=True)
