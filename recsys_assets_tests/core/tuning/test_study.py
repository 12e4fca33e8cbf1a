"""Searches that are cut off, ended, pruned and limited, on a bowl whose deepest point is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pyarrow as pa
import pytest

from recsys_assets.core.tuning.study import (
    MEMORY,
    Budget,
    Outcome,
    Record,
    Search,
    Tpe,
    best_of,
    content_of,
    study_name,
)

START = {"x": 4.0, "y": 4}


class Killed(BaseException):
    """No exception that a search could see to: the process is gone."""


def bowl(trial: optuna.Trial) -> Outcome:
    x, y = trial.suggest_float("x", 0.1, 10, log=True), trial.suggest_int("y", 1, 9)
    return Outcome(-((x - 2) ** 2) - (y - 7) ** 2, {"x_twice": 2 * x})


def killed_at(number: int, objective: Callable[[optuna.Trial], Outcome] = bowl) -> Callable[[optuna.Trial], Outcome]:
    calls = itertools.count()

    def evaluator(trial: optuna.Trial) -> Outcome:
        found = objective(trial)
        if next(calls) == number:
            raise Killed
        return found

    return evaluator


def run(search: Search, objective: Callable[[optuna.Trial], Outcome] = bowl) -> list[Record]:
    return search.run(objective, Tpe((START,), 3))


def never(_: optuna.Trial) -> Outcome:
    raise AssertionError("the search was ended")


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_search_that_was_killed_finds_what_an_undisturbed_one_finds(kind: str, tmp_path: Path) -> None:
    storage = str(tmp_path / "studies") if kind == "journal" else f"sqlite:///{tmp_path / 'studies.db'}"
    undisturbed = run(Search("bowl 1", Budget(8)))
    search = Search("bowl 1", Budget(8), storage=storage)
    # In the first trial, while drawing at random, and when the sampler has learned; a database is slow to open.
    for attempt in (0, 1, 4) if kind == "journal" else (4,):
        with pytest.raises(Killed):
            run(search, killed_at(attempt))
    with pytest.raises(OSError, match="no memory"):
        run(search, lambda _: (_ for _ in ()).throw(OSError("no memory")))
    assert run(search) == undisturbed
    assert run(search, never) == undisturbed
    assert undisturbed[0].params == START
    assert len({record.params["x"] for record in undisturbed}) == 8
    assert best_of(undisturbed).value > undisturbed[0].value
    assert [record.facts["x_twice"] for record in undisturbed] == [2 * record.params["x"] for record in undisturbed]
    assert run(Search("bowl 1", Budget(8), seed=1))[1:] != undisturbed[1:]


def test_a_journal_whose_last_line_was_cut_off_is_read(tmp_path: Path) -> None:
    search = Search("bowl 1", Budget(5), storage=str(tmp_path))
    with pytest.raises(Killed):
        run(search, killed_at(3))
    (journal,) = tmp_path.glob("*.journal")
    journal.write_bytes(journal.read_bytes()[:-9])
    assert run(search) == run(Search("bowl 1", Budget(5)))
    assert [path.suffix for path in tmp_path.iterdir()] == [".journal"]


def test_a_storage_that_fails_costs_only_the_memory_of_it(tmp_path: Path) -> None:
    told: list[str] = []
    address = "postgresql://me:hidden@127.0.0.1:9/studies"
    assert run(Search("bowl 1", Budget(3), storage=address, on_trial=told.append)) == run(Search("b", Budget(3)))
    assert "memory only" in told[0]
    assert "hidden" not in "".join(told)
    assert len(told) == 4


def test_budgets_are_respected_and_an_ended_search_stays_ended(tmp_path: Path) -> None:
    ticks = itertools.count(step=10)
    search = Search("bowl 1", Budget(100, seconds=35), storage=str(tmp_path), clock=lambda: float(next(ticks)))
    with pytest.raises(Killed):
        run(search, killed_at(2))
    found = run(search)
    assert len(found) == 4, "10 seconds each, those before the interruption included"
    assert run(search, never) == found == run(Search("bowl 1", Budget(4)))
    assert len(run(Search("short", Budget(3, seconds=0.001), clock=lambda: float(next(ticks))))) == 1
    with pytest.raises(ValueError, match="trials is 0"):
        run(Search("bowl 1", Budget(0)))
    with pytest.raises(ValueError, match="value of trial 0 is nan"):
        run(Search("bowl 1", Budget(2)), lambda _: Outcome(float("nan")))


def test_names_differ_where_anything_does() -> None:
    names = {study_name("ranker", *parts) for parts in [("a", 1), ("a", 2), ("b", 1), ("a1",), (("a", 1),)]}
    assert len(names) == 5
    assert study_name("ranker", "a", 1.0) == study_name("ranker", "a", 1.0)
    assert MEMORY == "memory"


def test_content_is_that_of_the_rows_and_of_nothing_else() -> None:
    days = pa.array([1, 2, 3], pa.int32()).cast(pa.date32())
    numbers = pa.Array.from_buffers(
        pa.int32(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(np.array([7, 99, 9], np.int32).tobytes())]
    )
    assert numbers.to_pylist() == [7, None, 9], "99 lies beneath the null"
    texts = pa.array(["x", None, "z"])
    hashes = [
        content_of(pa.table({"d": days, "n": n, "t": t}))
        for n, t in [
            (numbers, texts),
            (pa.array([7, None, 9], pa.int32()), pa.chunked_array([["x"], [None, "z"]])),
            (pa.array([7, 0, 9], pa.int32()), texts),
            (pa.array([7, None, 9], pa.int32()), pa.array(["x", "", "z"])),
            (pa.array([7, None, 8], pa.int32()), texts),
        ]
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4
