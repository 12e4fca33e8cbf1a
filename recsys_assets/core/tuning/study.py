"""A search with Optuna that gives the same result however often it was cut off.

Optuna's samplers draw from one stream of random numbers, which a search that goes on after an interruption has lost.
Here every trial has a sampler of its own, seeded by its number, and what a sampler proposes follows from the finished
trials alone. So a search that was killed goes on as if it never was, and one that is ended is not made again.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_assets.core.tuning.storage import open_storage, without_password

if TYPE_CHECKING:
    from collections.abc import Generator

    import optuna
    from optuna import Trial
    from optuna.pruners import BasePruner as Pruner
    from optuna.samplers import BaseSampler as Sampler
else:  # Optuna takes a second to import, and loading the graph needs none of it
    Pruner = Sampler = Trial = Any

MEMORY = "memory"
"""The storage that keeps nothing: a search that is cut off begins anew, with the same result."""

COMPLETE, PRUNED = "complete", "pruned"

_ENDED, _FACTS, _SECONDS = "ended", "facts", "seconds"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """When a search ends.

    Attributes:
        trials: most parameter sets to try.
        seconds: after so many seconds of trials, in all attempts together, none is begun any more; 0 for no limit. With
            one, what is found depends on how fast the machine is.
    """

    trials: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Record:
    """A finished trial.

    Attributes:
        trial: its number, from 0.
        state: 'complete', or 'pruned' where it was cut off as worse than most.
        params: what was tried.
        value: what is to be raised; of a pruned trial, where it stood.
        facts: whatever else the objective tells.
    """

    trial: int
    state: str
    params: dict[str, float]
    value: float
    facts: dict[str, float]


@dataclass(frozen=True)
class Outcome:
    """What an objective found; ``pruned`` where it gave the trial up, after ``trial.report``."""

    value: float
    facts: Mapping[str, float] = field(default_factory=dict[str, float])
    pruned: bool = False


@dataclass(frozen=True)
class Tpe:
    """Tree-structured Parzen estimators.

    Attributes:
        starts: what is tried first.
        startup: trials before the estimators are asked; those after the first ones are drawn at random.
    """

    starts: Sequence[Mapping[str, float]]
    startup: int

    def next_params(self, done: Sequence[Record]) -> Mapping[str, float] | None:
        """The parameters to try; None leaves them to the sampler."""
        return self.starts[len(done)] if len(done) < len(self.starts) else None

    def sampler(self, seed: int) -> Sampler:
        """A sampler for one trial."""
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, n_startup_trials=self.startup)


@dataclass(frozen=True)
class Search:
    """How a search runs, whatever it looks for.

    Attributes:
        study: its name, under which it is stored; equal names must mean equal objectives (see :func:`study_name`).
        budget: when it ends.
        seed: of the samplers.
        storage: a folder (one journal per study), an address of a database (``postgresql://…``), or 'memory'.
        on_trial: takes a line of progress per trial, and warnings.
        clock: tells seconds.
    """

    study: str
    budget: Budget
    seed: int = 0
    storage: str = MEMORY
    on_trial: Callable[[str], None] = _log.info
    clock: Callable[[], float] = time.monotonic

    def run(
        self,
        objective: Callable[[Trial], Outcome],
        plan: Tpe,
        pruner: Pruner | None = None,
    ) -> list[Record]:
        """Try parameters until the budget is spent.

        Args:
            objective: judges what it asks a trial for. If it raises, the search stops and can be gone on with.
            plan: what to try.
            pruner: says which trials are to be given up; None for none.

        Returns:
            The finished trials in order; the same ones, whether or not the search was cut off in between.

        Raises:
            ValueError: a budget of no trial.
        """
        if self.budget.trials < 1:
            raise ValueError(f"{self.study}: trials is {self.budget.trials}, expected at least 1")
        with _quiet():
            study = self._open(pruner)
            _fail_abandoned(study)
            while _ENDED not in study.user_attrs:
                done = _finished(study)
                spent = sum(trial.user_attrs[_SECONDS] for trial in done)
                if len(done) >= self.budget.trials or (done and 0 < self.budget.seconds <= spent):
                    study.set_user_attr(_ENDED, "trials" if len(done) >= self.budget.trials else "seconds")
                    break
                self._try(study, _records(done), objective, plan)
            return _records(_finished(study))

    def _try(self, study: optuna.Study, done: list[Record], objective: Callable[[Trial], Outcome], plan: Tpe) -> None:
        """One trial, from being asked for to being stored."""
        from optuna.trial import TrialState

        number, given = len(done), plan.next_params(done)
        # One may be waiting from an attempt that was cut off right here.
        if given is not None and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(dict(given))
        study.sampler = plan.sampler(_seed_of(self.seed, number))
        trial, began = study.ask(), self.clock()
        try:
            found = objective(trial)
        except Exception:
            study.tell(trial, state=TrialState.FAIL)
            raise
        if not math.isfinite(found.value):
            raise ValueError(f"{self.study}: the value of trial {number} is {found.value}")
        trial.set_user_attr(_FACTS, dict(found.facts))
        trial.set_user_attr(_SECONDS, self.clock() - began)
        if found.pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, found.value)
        state = ", given up" if found.pruned else ""
        self.on_trial(f"trial {number + 1} of {self.budget.trials}: {found.value:.4f}{state} with {dict(trial.params)}")

    def _open(self, pruner: Pruner | None) -> optuna.Study:
        """The study, as far as it has got."""
        import optuna

        def study(storage: optuna.storages.BaseStorage | None) -> optuna.Study:
            return optuna.create_study(
                study_name=self.study,
                storage=storage,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner or optuna.pruners.NopPruner(),
            )

        if self.storage == MEMORY:
            return study(None)
        try:
            return study(open_storage(self.storage, self.study))
        except Exception as error:  # clients of databases fail in more ways than they declare
            # Nothing but an interruption would miss it: the result is the same without.
            told = without_password(f"{type(error).__name__}: {error}", self.storage)
            self.on_trial(f"{self.study} is kept in memory only, its storage fails: {told}")
            return study(None)


def best_of(records: Sequence[Record]) -> Record:
    """The best complete trial, of equals the first; the first trial is always complete."""
    complete = [record for record in records if record.state == COMPLETE]
    return max(complete, key=lambda record: (record.value, -record.trial))


def study_name(prefix: str, *parts: object) -> str:
    """A name that is the same only where all that a result depends on is.

    Args:
        prefix: for people: what is searched for, and the day.
        parts: content hashes, versions, parameters; equal parts have an equal ``repr``.
    """
    return f"{prefix} {hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def content_of(table: pa.Table) -> str:
    """Hex SHA-256 of the rows of a table in their order, whatever its chunks and whatever lies beneath its nulls.

    Args:
        table: columns of numbers, days and strings; nulls in numbers and strings alone.
    """
    found = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        parts = [column]
        found.update(f"{name} {column.type} {column.null_count}".encode())
        if column.null_count:
            nothing = "" if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) else 0
            parts = [column.is_null().cast(pa.uint8()), column.fill_null(nothing)]
        for part in parts:
            for some in _bytes(part):
                found.update(some)
    return found.hexdigest()


def _bytes(column: pa.ChunkedArray) -> Iterator[memoryview]:
    whole = pa.table({"": column}).combine_chunks()
    yield from (memoryview(batch.serialize()) for batch in whole.to_batches())


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def _fail_abandoned(study: optuna.Study) -> None:
    """Trials that nobody runs any more: samplers would take them for running ones."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _records(trials: Sequence[optuna.trial.FrozenTrial]) -> list[Record]:
    from optuna.trial import TrialState

    return [
        Record(
            number,
            COMPLETE if trial.state is TrialState.COMPLETE else PRUNED,
            dict(sorted(trial.params.items())),
            float(trial.value or 0.0),
            trial.user_attrs[_FACTS],
        )
        for number, trial in enumerate(trials)
    ]


def _seed_of(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=4).digest())


@contextmanager
def _quiet() -> Generator[None]:
    """Without Optuna's own log, which reports too few examples as a failure; they are not."""
    import optuna  # here, not above: a search is rare, loading the graph is not

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
