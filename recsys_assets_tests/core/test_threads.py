"""Parts of a computation on several threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from recsys_assets.core import threads
from recsys_assets.core.threads import in_threads


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "sched_getaffinity", lambda _: {0, 1, 2})


def test_results_come_in_the_order_of_the_parts_and_three_are_computed_at_a_time() -> None:
    together = threading.Barrier(3, timeout=60)

    def compute(part: int) -> tuple[int, str]:
        if part < 3:
            together.wait()  # nobody passes unless three are here
        return part, threading.current_thread().name

    found = in_threads(compute, range(20))
    assert [part for part, _ in found] == list(range(20))
    assert len({name for _, name in found}) <= 3


def test_no_more_threads_than_asked_for() -> None:
    second, most = threading.Event(), 2

    def compute(part: int) -> bool:
        if part == 1:
            second.set()
        return part == 0 and second.wait(60 if most > 1 else 0.2)

    assert in_threads(compute, range(3), most) == [True, False, False]
    second, most = threading.Event(), 1
    assert in_threads(compute, range(3), most) == [False, False, False]


def test_blas_has_one_thread_in_each_and_its_own_again_afterwards() -> None:
    def blas() -> set[int]:
        # Another package's BLAS with threads of OpenMP has a number for each thread; numpy's and scipy's have one.
        ours = [one for one in threadpool_info() if one["user_api"] == "blas" and one["threading_layer"] != "openmp"]
        return {library["num_threads"] for library in ours}

    np.dot(np.ones(2), np.ones(2))  # loads one
    before = blas()
    assert in_threads(lambda _: blas(), range(4)) == [{1}] * 4
    assert blas() == before


def test_a_failure_is_told_and_ends_the_work() -> None:
    begun: list[int] = []

    def compute(part: int) -> int:
        begun.append(part)
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part 0"):
        in_threads(compute, range(10_000))
    assert len(begun) < 10_000


def test_a_single_part_is_computed_here() -> None:
    assert in_threads(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]
    assert in_threads(lambda _: threading.current_thread(), []) == []
