"""Parameters of retrieval: what is stored of their searches, and what applies on a day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from recsys_assets.core.models.als import AlsFitParams
from recsys_assets.core.retrieval.protocol import CandidateParams, GeneratorQuota
from recsys_assets.core.tuning.study import Record


@dataclass(frozen=True)
class SearchResult:
    """The result of one search, or the defaults where nothing was searched.

    Attributes:
        values: the parameters that apply.
        trials: what was tried; empty where nothing was searched.
        tuned_on: the day of the search, or None; an earlier day where its result is reused.
        study: name of the search; None where there was none.
        facts: figures on how good the values are.
        held_out: per day of a window that was searched on, what the other windows gave: how good a search like this one
            is on a window can only be told by values that it did not give.
    """

    values: dict[str, float]
    trials: tuple[Record, ...] = ()
    tuned_on: str | None = None
    study: str | None = None
    facts: dict[str, float] = field(default_factory=dict[str, float])
    held_out: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])


@dataclass(frozen=True)
class RetrievalParams:
    """Parameters of the retrieval of a day.

    Attributes:
        als: factors, regularization, alpha and half_life of matrix factorization.
        weights: of the generators in the fusion.
        ensemble: weights of the models of 'cf_ensemble'.
    """

    als: SearchResult
    weights: SearchResult
    ensemble: SearchResult

    def to_json(self) -> str:
        """Readable JSON; equal results give equal text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> RetrievalParams:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: a part is missing or unknown.
        """
        parts: dict[str, Any] = json.loads(text)
        try:
            return RetrievalParams(**{name: _search_result(part) for name, part in parts.items()})
        except (TypeError, KeyError) as error:
            raise ValueError(f"retrieval_params: not the JSON of these: {error}") from error


def als_values(params: AlsFitParams) -> dict[str, float]:
    """The parameters of matrix factorization that a search varies."""
    return {
        "factors": params.factors,
        "regularization": params.regularization,
        "alpha": params.alpha,
        "half_life": params.half_life,
    }


def with_values(base: AlsFitParams, values: Mapping[str, float]) -> AlsFitParams:
    """The base with the values of a search."""
    return replace(
        base,
        factors=int(values["factors"]),
        regularization=float(values["regularization"]),
        alpha=float(values["alpha"]),
        half_life=float(values["half_life"]),
    )


def factors_in_force(stored: RetrievalParams | None, base: AlsFitParams) -> AlsFitParams:
    """The parameters of matrix factorization of a day.

    Args:
        stored: of the day; None where the day was built before there were any.
        base: applies where nothing is stored, and gives all that a search does not vary.
    """
    return with_values(base, stored.als.values) if stored else base


def weights_in_force(stored: RetrievalParams | None, base: CandidateParams) -> CandidateParams:
    """The parameters of candidates of a day, with the weights and those of matrix factorization that were found.

    Args:
        stored: as for :func:`factors_in_force`.
        base: applies where nothing is stored. A generator that the search did not know keeps its weight of the base.
    """
    weights = stored.weights.values if stored else {}
    quotas = {name: GeneratorQuota(quota.k, weights.get(name, quota.weight)) for name, quota in base.quotas.items()}
    ensemble = stored.ensemble.values if stored else base.ensemble_weights
    return replace(base, quotas=quotas, ensemble_weights=ensemble, als=factors_in_force(stored, base.als))


def weights_without(stored: RetrievalParams | None, window: str, base: CandidateParams) -> dict[str, float]:
    """The weights of the generators that are in force on a day, but for what a window told of them.

    Args:
        stored: as for :func:`factors_in_force`.
        window: the day with which it ends; a window that the search did not read told nothing.
        base: as for :func:`weights_in_force`.
    """
    in_force = {name: quota.weight for name, quota in weights_in_force(stored, base).quotas.items()}
    found = stored.weights.held_out.get(window, {}) if stored else {}
    return {name: found.get(name, weight) for name, weight in in_force.items()}


def _search_result(part: dict[str, Any]) -> SearchResult:
    fields: dict[str, Any] = {**part, "trials": tuple(Record(**trial) for trial in part["trials"])}
    return SearchResult(**fields)
