"""Search for the ranker's parameters with Optuna."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from recsys_assets.core.evaluation.bootstrap import paired_difference
from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.ranking.model import RankerParams, fit
from recsys_assets.core.ranking.split import split_by_time, split_by_users
from recsys_assets.core.tuning.study import Outcome, Record, Search, Tpe, Trial, best_of

TREES, LINEAR = ("learning_rate", "depth", "l2"), ("strength",)
"""The parameters that a search varies, by kind of ranker; which kind is better it finds as well."""

BY_TIME, BY_USERS = "newest window", "held-out users"
"""What a search judged by."""

EVERY = 10
"""Trees between two looks at whether a trial is still worth its time."""


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        best: the parameters with the best NDCG@10 on what was held out, of trees or linear; see :func:`tune`.
        trials: what was tried; none where there was too little to search on.
        tuned_on: the day of the search, or None; an earlier day where its parameters are carried forward.
        judged_by: 'newest window' of the training windows, 'held-out users' where there is one window, or None.
        study: name of the search; None where there was none.
    """

    best: RankerParams
    trials: tuple[Record, ...] = ()
    tuned_on: str | None = None
    judged_by: str | None = None
    study: str | None = None

    def to_json(self) -> str:
        """Readable JSON; equal results give equal text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Tuning:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: a part is missing or unknown.
        """
        found = json.loads(text)
        try:
            found["best"] = RankerParams(**found["best"])
            found["trials"] = tuple(Record(**trial) for trial in found["trials"])
            return Tuning(**found)
        except (TypeError, KeyError) as error:
            raise ValueError(f"ranker_params: not the JSON of a tuning: {error}") from error


def tune(examples: pa.Table, day: str, search: Search, base: RankerParams) -> Tuning:
    """Try parameters and keep those that order best what they were not trained on.

    That is the newest of the training windows, by a ranker that learned from the older ones, as it will be judged
    later; where there is one window or its users are few, held-out users of all windows. The rows on which the ranker
    is judged later must not be among the examples. A trial that after so many trees is below the median of the trials
    before is given up. First the base is tried, then a linear ranker, and the best trees are taken if the whole 95 %
    interval of what they gain over the best linear ranker is above zero.

    Args:
        examples: as for :func:`recsys_assets.core.ranking.model.train`.
        day: of the search.
        search: how it runs.
        base: where to start, and all that is not varied.

    Raises:
        NotEnoughExamples: as for ``train``.
    """
    import optuna  # here, not above: a search is rare, loading the graph is not

    by_time = split_by_time(examples, base.min_users, base.validation_share)
    data = by_time or split_by_users(examples, base.min_users, base.validation_share, base.seed)
    lists: dict[RankerParams, Floats] = {}

    def judged(params: RankerParams) -> Floats:
        """NDCG of each list; of a trial that an earlier attempt made, by training once more."""
        if params not in lists:
            lists[params] = np.asarray(fit(data, params).validation_lists)
        return lists[params]

    def objective(trial: Trial) -> Outcome:
        params = _suggest(trial, base)
        progress = _Progress(trial, last=params.iterations)
        trained = fit(data, params, progress.on_tree)
        if not progress.pruned:
            lists[params] = np.asarray(trained.validation_lists)
        facts = {"best_iteration": float(trained.best_iteration), "trees": float(progress.trees)}
        return Outcome(trained.validation_ndcg, facts, progress.pruned)

    startup = max(3, search.budget.trials // 2)
    records = search.run(
        objective,
        Tpe((_values(replace(base, kind="trees")), _values(replace(base, kind="linear"))), startup),
        optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=EVERY),
    )
    trees, *linear = (_with(base, best_of(one).params) for one in _by_kind(records))
    # Trees were stopped where they judge best, and a linear ranker was not: a mean alone would be for the trees.
    beaten = linear and paired_difference(judged(trees), judged(linear[0]), seed=base.seed).low <= 0
    return Tuning(
        best=linear[0] if beaten else trees,
        trials=tuple(records),
        tuned_on=day,
        judged_by=BY_TIME if by_time else BY_USERS,
        study=search.study,
    )


def _by_kind(records: Sequence[Record]) -> list[list[Record]]:
    """The trials of trees, then those of linear rankers if there are any."""
    kinds = ([one for one in records if bool(one.params["linear"]) is linear] for linear in (False, True))
    return [kind for kind in kinds if kind]


class _Progress:
    """Reports a trial's best NDCG so far, and stops it where the pruner says so."""

    def __init__(self, trial: Trial, last: int):
        self._trial, self._last = trial, last
        self.trees = 0
        self.pruned = False

    def on_tree(self, trees: int, best: float) -> bool:
        """See :data:`recsys_assets.core.ranking.model.OnTree`."""
        self.trees = trees
        if trees % EVERY == 0 and trees < self._last:
            self._trial.report(best, trees)
            self.pruned = self._trial.should_prune()
        return not self.pruned


def _suggest(trial: Trial, base: RankerParams) -> RankerParams:
    if trial.suggest_int("linear", 0, 1):
        return _with(base, {"linear": 1, "strength": trial.suggest_float("strength", 0.001, 10.0, log=True)})
    found = {
        "linear": 0,
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        "depth": trial.suggest_int("depth", 4, 8),
        "l2": trial.suggest_float("l2", 1.0, 30.0, log=True),
    }
    return _with(base, found)


def _values(params: RankerParams) -> dict[str, float]:
    """What a search would vary of a ranker of this kind."""
    linear = params.kind == "linear"
    return {"linear": float(linear), **{name: getattr(params, name) for name in (LINEAR if linear else TREES)}}


def _with(base: RankerParams, values: Mapping[str, float]) -> RankerParams:
    if values["linear"]:
        return replace(base, kind="linear", strength=float(values["strength"]))
    return replace(
        base,
        kind="trees",
        learning_rate=float(values["learning_rate"]),
        depth=int(values["depth"]),
        l2=float(values["l2"]),
    )
