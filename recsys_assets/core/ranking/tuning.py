"""Search for the ranker's parameters with Optuna."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_assets.core.evaluation.bootstrap import paired_difference
from recsys_assets.core.evaluation.metrics import Floats
from recsys_assets.core.gate.rule import CONFIDENCE, beats
from recsys_assets.core.ranking.formats import TransformedLinear, transform_feature
from recsys_assets.core.ranking.linear import fit_linear, fit_to_all
from recsys_assets.core.ranking.model import CUTOFF, Fit, Kind, RankerParams
from recsys_assets.core.ranking.split import Split, held_out, split_by_time, split_by_users
from recsys_assets.core.tuning.study import Outcome, Record, Search, Tpe, Trial, best_of

_TREES = ("learning_rate", "depth", "l2")
VARIED: Mapping[Kind, tuple[str, ...]] = {
    "boosted_linear": ("penalty", *_TREES),
    "linear": ("penalty",),
    "trees": _TREES,
}
"""The parameters that a search varies, by kind of ranker, which it varies too. The first trials are the base parameters
with each kind, in this order; a trial's ``kind`` is the index of its kind here."""

BY_TIME, BY_USERS = "newest window", "held-out users"
"""What a search evaluated its trials on."""

EVERY = 10
"""Trees between two checks whether to prune a trial."""

PRIOR_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Weights of the fused prior, tried with the best ranker: the less it has learned, the larger the best weight."""


@dataclass(frozen=True)
class RankerSearchResult:
    """The result of a search for the ranker's parameters.

    Attributes:
        best: the parameters of the best ranker on the held-out lists; see :func:`tune`.
        trials: all trials; none where there were too few examples to search on.
        tuned_on: the day of the search, or None; an earlier day where its result is reused.
        evaluated_by: 'newest window' of the training windows, 'held-out users' where there is one window, or None.
        study: name of the search; None where there was none.
        gain: NDCG@10 of the best ranker with trees minus that of the best linear one, on lists that stopped neither,
            and the bounds of its confidence interval; None where it was not measured.
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
    def from_json(text: str) -> RankerSearchResult:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: a part is missing or unknown.
        """
        values = json.loads(text)
        try:
            values["best"] = RankerParams(**values["best"])
            values["trials"] = tuple(Record(**trial) for trial in values["trials"])
            values["gain"] = tuple(values["gain"]) if values["gain"] else None
            return RankerSearchResult(**values)
        except (TypeError, KeyError) as error:
            raise ValueError(f"ranker_params: not the JSON of a search result: {error}") from error


def tune(examples: pa.Table, day: str, search: Search, base: RankerParams) -> RankerSearchResult:
    """Search for the parameters that order best what the ranker was not trained on.

    Trials are evaluated on the newest of the training windows, by a ranker trained on the older ones, as the gate will
    do later; where there is only one window, or too few users in it, on held-out users of all windows. The rows on
    which the ranker is evaluated later must not be among the examples. A trial below the median of the earlier trials
    after the same number of trees is pruned. The best linear ranker is preferred to the best one with trees unless the
    whole confidence interval of the latter's gain is above zero; see :func:`cross_scores`. Last comes the weight of the
    fused prior.

    Args:
        examples: as for :func:`recsys_assets.core.ranking.model.train`.
        day: of the search.
        search: its budget, sampler and storage.
        base: the parameters to start from, and the values of all that is not varied.

    Raises:
        NotEnoughExamples: as for ``train``.
    """
    by_time = split_by_time(examples, base.min_users, base.validation_share)
    data = by_time or split_by_users(examples, base.min_users, base.validation_share, base.seed)

    @cache
    def base_model(penalty: float) -> TransformedLinear:
        return fit_linear(data, penalty, ~data.held_out)

    records = _run_trials(data, search, base, base_model)
    best, scores, gain = _linear_unless_trees_gain(data, records, base, base_model)
    if scores:
        best = replace(best, prior_weight=max(PRIOR_WEIGHTS, key=lambda weight: _ndcg(scores, weight).mean()))
    return RankerSearchResult(
        best=best,
        trials=tuple(records),
        tuned_on=day,
        evaluated_by=BY_TIME if by_time else BY_USERS,
        study=search.study,
        gain=gain,
    )


BaseModel = Callable[[float], TransformedLinear]
"""Gives the linear model of a penalty, fitted without the held-out lists."""

HalfScores = Sequence[tuple[Split, Floats]]
"""Halves of the held-out lists, each with the scores [rows] of a ranker that was stopped on the other half."""


def _run_trials(data: Split, search: Search, base: RankerParams, base_model: BaseModel) -> Sequence[Record]:
    import optuna  # here, not above: a search is rare, loading the graph is not

    def objective(trial: Trial) -> Outcome:
        params = _suggest(trial, base)
        progress = _Progress(trial, last=params.iterations)
        fit = Fit(data, params, base_model, progress.on_tree)
        trees_kept = fit.evaluated.tree_count
        facts = {"trees": float(progress.trees), "trees_kept": float(trees_kept)}
        return Outcome(fit.validation_ndcg, facts, progress.pruned)

    startup = max(3, search.budget.trials // 2)
    return search.run(
        objective,
        Tpe([_values(replace(base, kind=kind)) for kind in VARIED], startup),
        optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=EVERY),
    )


def _linear_unless_trees_gain(
    data: Split, records: Sequence[Record], base: RankerParams, base_model: BaseModel
) -> tuple[RankerParams, HalfScores, tuple[float, float, float] | None]:
    """The chosen parameters, the scores of their ranker, and the gain of trees over linear with its interval."""
    halves = list(halves_of(data, base.seed))
    with_trees, linear = _best_params(records, base, linear=False), _best_params(records, base, linear=True)
    if with_trees is None or linear is None:
        only = with_trees or linear or base
        return only, cross_scores(halves, only, base_model), None
    tree_scores, linear_scores = (cross_scores(halves, params, base_model) for params in (with_trees, linear))
    if not tree_scores:
        return linear, linear_scores, None
    difference = paired_difference(_ndcg(tree_scores), _ndcg(linear_scores), seed=base.seed, level=CONFIDENCE)
    gain = (difference.mean, difference.low, difference.high)
    return (with_trees, tree_scores, gain) if beats(difference) else (linear, linear_scores, gain)


def _best_params(records: Sequence[Record], base: RankerParams, *, linear: bool) -> RankerParams | None:
    """The parameters of the best trial among the linear rankers or those with trees; None where there is none."""
    part = [record for record in records if (kind_of(record.params) == "linear") is linear]
    return _with(base, best_of(part).params) if part else None


@dataclass(frozen=True)
class Half:
    """Half of the held-out lists, which are scored, and all other lists, on which rankers are trained and stopped."""

    evaluated: Split
    others: Split

    @cached_property
    def full_model(self) -> BaseModel:
        """Gives the linear model of a penalty, fitted to all other lists, once for all rankers."""
        return cache(lambda penalty: fit_to_all(self.others, penalty))


def halves_of(data: Split, seed: int) -> Iterator[Half]:
    """Both halves of the held-out lists; none where there is only one list."""
    lists = np.unique(data.group[data.held_out])
    first = np.isin(data.group, lists[held_out(lists.tolist(), 0.5, seed)])
    halves = [data.held_out & half for half in (first, ~first)]
    if all(half.any() for half in halves):
        for half in halves:
            yield Half(data.of(half), data.of(~half))


def cross_scores(halves: Sequence[Half], params: RankerParams, base_model: BaseModel) -> HalfScores:
    """Each half of the held-out lists with scores of a ranker trained and stopped without that half.

    Evaluated on the lists that stopped them, trees look better than they are. So each half of the held-out lists is
    scored by a ranker that was stopped on the other half.

    Args:
        halves: see :func:`halves_of`.
        params: of the ranker.
        base_model: see :data:`BaseModel`; both rankers start from it.
    """
    fits = [Fit(half.others, params, base_model, None, half.full_model) for half in halves]
    return [(half.evaluated, fit.stored.score(half.evaluated.matrix)) for half, fit in zip(halves, fits, strict=True)]


def _ndcg(halves: HalfScores, prior_weight: float = 0.0) -> Floats:
    """NDCG@10 [lists] of the scores of :func:`cross_scores` with the fused prior added."""
    parts: list[Floats] = []
    for half, scores in halves:
        fused = transform_feature("fused_score", half.matrix[:, half.columns.index("fused_score")])
        parts.append(half.ndcg(scores + prior_weight * fused, CUTOFF))
    return np.concatenate(parts)


class _Progress:
    """Reports a trial's best NDCG so far, and stops it if the pruner decides so."""

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
    kind = {"kind": trial.suggest_int("kind", 0, len(VARIED) - 1)}
    suggestions: Mapping[str, Callable[[str], float]] = {
        "penalty": lambda name: trial.suggest_float(name, 25.0, 2_500.0, log=True),
        "learning_rate": lambda name: trial.suggest_float(name, 0.03, 0.3, log=True),
        "depth": lambda name: trial.suggest_int(name, 4, 8),
        "l2": lambda name: trial.suggest_float(name, 1.0, 30.0, log=True),
    }
    return _with(base, {**kind, **{name: suggestions[name](name) for name in VARIED[kind_of(kind)]}})


def kind_of(values: Mapping[str, float]) -> Kind:
    """The kind of ranker of a trial."""
    return tuple(VARIED)[int(values["kind"])]


def _values(params: RankerParams) -> dict[str, float]:
    """The values of all parameters that a search varies for this kind of ranker."""
    kind = tuple(VARIED).index(params.kind)
    return {"kind": float(kind), **{name: float(getattr(params, name)) for name in VARIED[params.kind]}}


def _with(base: RankerParams, values: Mapping[str, float]) -> RankerParams:
    varied: dict[str, Any] = {name: float(values[name]) for name in VARIED[kind_of(values)]}
    if "depth" in varied:
        varied["depth"] = int(varied["depth"])
    return replace(base, kind=kind_of(values), **varied)
