"""Search for the ranker's parameters with Optuna."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_assets.core.evaluation.bootstrap import paired_difference
from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.gate.rule import CONFIDENCE, beats
from recsys_assets.core.ranking.formats import FeatureTransform, transform
from recsys_assets.core.ranking.linear import fit_linear
from recsys_assets.core.ranking.model import CUTOFF, Fit, Kind, RankerParams
from recsys_assets.core.ranking.split import Split, held_out, split_by_time, split_by_users
from recsys_assets.core.tuning.study import Outcome, Record, Search, Tpe, Trial, best_of

_TREES = ("learning_rate", "depth", "l2")
VARIED: Mapping[Kind, tuple[str, ...]] = {"corrected": ("penalty", *_TREES), "linear": ("penalty",), "trees": _TREES}
"""The parameters that a search varies, by kind of ranker; which kind is better it finds as well. Each is tried once as
the base says, in this order; a trial's ``kind`` is the place of its kind here, from 0."""

BY_TIME, BY_USERS = "newest window", "held-out users"
"""What a search judged by."""

EVERY = 10
"""Trees between two looks at whether a trial is still worth its time."""


LEANINGS = (0.0, 1.0, 2.0, 4.0, 8.0)
"""How much the fused order is mixed in, tried with the best ranker: the less it has learned, the more is good."""


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        best: the parameters of the best ranker on what was held out; see :func:`tune`.
        trials: what was tried; none where there was too little to search on.
        tuned_on: the day of the search, or None; an earlier day where its parameters are carried forward.
        evaluated_by: 'newest window' of the training windows, 'held-out users' where there is one window, or None.
        study: name of the search; None where there was none.
        gain: NDCG@10 of the best ranker with trees over the best linear one, on lists that stopped neither, and the
            bounds of its interval; None where it is unknown.
    """

    best: RankerParams
    trials: tuple[Record, ...] = ()
    tuned_on: str | None = None
    evaluated_by: str | None = None
    study: str | None = None
    gain: tuple[float, float, float] | None = None

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
            found["gain"] = tuple(found["gain"]) if found["gain"] else None
            return Tuning(**found)
        except (TypeError, KeyError) as error:
            raise ValueError(f"ranker_params: not the JSON of a tuning: {error}") from error


def tune(examples: pa.Table, day: str, search: Search, base: RankerParams) -> Tuning:
    """Try parameters and keep those that order best what they were not trained on.

    That is the newest of the training windows, by a ranker that learned from the older ones, as it will be judged
    later; where there is one window or its users are few, held-out users of all windows. The rows on which the ranker
    is judged later must not be among the examples. A trial that after so many trees is below the median of the trials
    before is given up. Of the best linear ranker and the best one with trees, the linear one is taken unless the
    other beats it by the rule of the gate; see :func:`crossed`. At last the fused order is mixed
    in, as far as that orders better.

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

    @cache
    def alone(penalty: float) -> FeatureTransform:
        return fit_linear(data, penalty, ~data.apart)

    def objective(trial: Trial) -> Outcome:
        params = _suggest(trial, base)
        progress = _Progress(trial, last=params.iterations)
        fit = Fit(data, params, alone, progress.on_tree)
        kept = fit.evaluated.tree_count
        facts = {"trees": float(progress.trees), "trees_kept": float(kept)}
        return Outcome(fit.validation_ndcg, facts, progress.pruned)

    startup = max(3, search.budget.trials // 2)
    records = search.run(
        objective,
        Tpe([_values(replace(base, kind=kind)) for kind in VARIED], startup),
        optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=EVERY),
    )
    best, *linear = (_with(base, best_of(one).params) for one in _with_trees_or_without(records))
    ours, *theirs = ([*crossed(data, params, alone)] for params in (best, *linear))
    gain = None
    if linear:
        found = paired_difference(_ndcg(ours), _ndcg(theirs[0]), seed=base.seed, level=CONFIDENCE) if ours else None
        gain = (found.mean, found.low, found.high) if found else None
        if found is None or not beats(found):
            best, ours = linear[0], theirs[0]
    if ours:
        best = replace(best, prior_weight=max(LEANINGS, key=lambda prior_weight: _ndcg(ours, prior_weight).mean()))
    return Tuning(
        best=best,
        trials=tuple(records),
        tuned_on=day,
        evaluated_by=BY_TIME if by_time else BY_USERS,
        study=search.study,
        gain=gain,
    )


def crossed(
    data: Split, params: RankerParams, alone: Callable[[float], FeatureTransform]
) -> Iterator[tuple[Split, Floats]]:
    """Both halves of the lists held out, with scores by a ranker that learned and was stopped without that half.

    Trees that are stopped where they judge best look better than they are. So each half of the lists held out is
    ordered by a ranker that was stopped by the other half. Nothing where there is one list only.

    Args:
        data: what to learn from, and the lists held out.
        params: of the ranker.
        alone: gives the linear ranker of a penalty that learned without any of the lists held out: both start from it.
    """
    lists = np.unique(data.group[data.apart])
    first = np.isin(data.group, lists[held_out(lists.tolist(), 0.5, params.seed)])
    halves = [data.apart & half for half in (first, ~first)]
    if all(half.any() for half in halves):
        for half in halves:
            evaluator = data.of(half)
            yield evaluator, Fit(data.of(~half), params, alone).stored.score(evaluator.matrix)


def _ndcg(parts: Sequence[tuple[Split, Floats]], prior_weight: float = 0.0) -> Floats:
    """NDCG@10 [lists] of what :func:`crossed` gives, with the fused order mixed in."""
    found: list[Floats] = []
    for evaluator, scores in parts:
        fused = transform("fused_score", evaluator.matrix[:, evaluator.columns.index("fused_score")])
        found.append(evaluator.ndcg(scores + prior_weight * fused, CUTOFF))
    return np.concatenate(found)


def _with_trees_or_without(records: Sequence[Record]) -> list[list[Record]]:
    """The trials with trees, then those of linear rankers if there are any."""
    parts = ([one for one in records if (kind_of(one.params) == "linear") is linear] for linear in (False, True))
    return [part for part in parts if part]


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
    found = {"kind": trial.suggest_int("kind", 0, len(VARIED) - 1)}
    suggestions: Mapping[str, Callable[[str], float]] = {
        "penalty": lambda name: trial.suggest_float(name, 25.0, 2_500.0, log=True),
        "learning_rate": lambda name: trial.suggest_float(name, 0.03, 0.3, log=True),
        "depth": lambda name: trial.suggest_int(name, 4, 8),
        "l2": lambda name: trial.suggest_float(name, 1.0, 30.0, log=True),
    }
    return _with(base, {**found, **{name: suggestions[name](name) for name in VARIED[kind_of(found)]}})


def kind_of(values: Mapping[str, float]) -> Kind:
    """The kind of ranker that a trial tried."""
    return tuple(VARIED)[int(values["kind"])]


def _values(params: RankerParams) -> dict[str, float]:
    """What a search would vary of a ranker of this kind."""
    kind = tuple(VARIED).index(params.kind)
    return {"kind": float(kind), **{name: float(getattr(params, name)) for name in VARIED[params.kind]}}


def _with(base: RankerParams, values: Mapping[str, float]) -> RankerParams:
    varied: dict[str, Any] = {name: float(values[name]) for name in VARIED[kind_of(values)]}
    if "depth" in varied:
        varied["depth"] = int(varied["depth"])
    return replace(base, kind=kind_of(values), **varied)
