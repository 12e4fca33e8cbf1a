"""Search for the ranker's parameters with Optuna."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recsys_assets.core.ranking.model import RankerParams, train

if TYPE_CHECKING:
    import optuna

VARIED = ("learning_rate", "depth", "l2")
"""The parameters that a search varies."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tuning:
    """What a search found.

    Attributes:
        best: the parameters with the best NDCG@10 on held-out users; of equals, those tried first.
        trials: per trial its number, the parameters that were varied, ``ndcg`` and ``best_iteration``.
    """

    best: RankerParams
    trials: list[dict[str, Any]]

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
            return Tuning(RankerParams(**found["best"]), found["trials"])
        except (TypeError, KeyError) as error:
            raise ValueError(f"ranker_params: not the JSON of a tuning: {error}") from error


def tune(
    examples: pa.Table,
    trials: int = 6,
    seed: int = 0,
    base: RankerParams | None = None,
    on_trial: Callable[[str], None] = _log.info,
) -> Tuning:
    """Try parameters and keep those that order held-out users of the training windows best.

    The rows on which the ranker is judged later must not be among the examples.

    Args:
        examples: as for :func:`recsys_assets.core.ranking.model.train`.
        trials: how many parameter sets to try, the first being ``base``.
        seed: of the sampler.
        base: where to start, and all that is not varied; None for the defaults.
        on_trial: takes a line of progress per trial.

    Raises:
        NotEnoughExamples: as for ``train``.
        ValueError: fewer than one trial.
    """
    import optuna  # here, not above: a search is rare, loading the graph is not

    if trials < 1:
        raise ValueError(f"ranker_params: trials is {trials}, expected at least 1")
    start = base or RankerParams()
    records: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        params = _suggest(trial, start) if trial.number else start
        trained = train(examples, params)
        varied = {name: getattr(params, name) for name in VARIED}
        found = {"ndcg": trained.validation_ndcg, "best_iteration": trained.best_iteration}
        records.append({"trial": trial.number, **varied, **found})
        on_trial(f"trial {trial.number + 1} of {trials}: NDCG@10 {trained.validation_ndcg:.4f} with {varied}")
        return trained.validation_ndcg

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it reports too few examples as a failure; they are not
    try:
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, trials // 2))
        optuna.create_study(direction="maximize", sampler=sampler).optimize(objective, n_trials=trials)
    finally:
        optuna.logging.set_verbosity(verbosity)
    best = max(records, key=lambda record: (record["ndcg"], -record["trial"]))
    return Tuning(replace(start, **{name: best[name] for name in VARIED}), records)


def _suggest(trial: optuna.Trial, base: RankerParams) -> RankerParams:
    return replace(
        base,
        learning_rate=trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        depth=trial.suggest_int("depth", 4, 8),
        l2=trial.suggest_float("l2", 1.0, 30.0, log=True),
    )
