"""Independent parts of a computation, side by side on the cores of a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from os import sched_getaffinity
from typing import TypeVar

from threadpoolctl import threadpool_limits

Part = TypeVar("Part")
Result = TypeVar("Result")

FEW = 4
"""Threads whose parts take much memory each."""


def in_threads(
    compute: Callable[[Part], Result], parts: Iterable[Part], most_threads: int | None = None
) -> list[Result]:
    """What a function of numpy and scipy, which let other threads run, gives for each part, in the order of the parts.

    There is a thread per core, with one BLAS thread each, so that threads do not wait for each other and results have
    the same bits on any number of cores. A single part is computed in the calling thread, with its BLAS as it is: an
    answer to one visitor should not wait for threads.

    Args:
        compute: must not depend on the other parts.
        parts: taken at once.
        most_threads: where a part takes much memory; None: a thread for each core.

    Raises:
        Exception: that of the first part, in order, that failed; no further part is begun.
    """
    parts = list(parts)
    if len(parts) < 2:
        return [compute(part) for part in parts]
    cores = len(sched_getaffinity(0))
    threads = min(len(parts), cores, most_threads or cores)
    # Leaving the pool after a failure or a signal drops the parts that no thread has begun.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(compute, parts))
