"""The parameters of a day: what is stored of searches, over the defaults."""

from __future__ import annotations

from dataclasses import replace

from recsys_assets.core.models.als import AlsFitParams
from recsys_assets.core.retrieval.params import (
    RetrievalParams,
    SearchResult,
    als_values,
    factors_in_force,
    weights_in_force,
    weights_without,
)
from recsys_assets.core.retrieval.protocol import CandidateParams, GeneratorQuota

BASE = AlsFitParams(factors=8, iterations=3, seed=5)
FOUND = replace(BASE, factors=16, regularization=0.5, alpha=2.0, half_life=7.0)
QUOTAS = {"popular": GeneratorQuota(50, 0.5), "new": GeneratorQuota(10, 1.5)}
STORED = RetrievalParams(
    als=SearchResult(als_values(FOUND)),
    weights=SearchResult({"popular": 3.0, "dropped": 1.0}),
    ensemble=SearchResult({"ials": 2.0}),
)


def test_what_was_searched_replaces_the_defaults():
    assert factors_in_force(STORED, BASE) == FOUND
    params = weights_in_force(STORED, CandidateParams(quotas=QUOTAS, active_days=3, als=BASE))
    assert params.quotas == {"popular": GeneratorQuota(50, 3.0), "new": GeneratorQuota(10, 1.5)}
    assert params.active_days == 3
    assert (params.ensemble_weights, params.als) == ({"ials": 2.0}, FOUND)


def test_without_stored_parameters_the_defaults_apply():
    assert factors_in_force(None, BASE) == BASE
    assert weights_in_force(None, CandidateParams(quotas=QUOTAS)) == CandidateParams(quotas=QUOTAS)


def test_a_window_is_compared_by_weights_that_it_did_not_give():
    weights = replace(STORED.weights, held_out={"2024-01-08": {"popular": 2.0}})
    stored, base = replace(STORED, weights=weights), CandidateParams(quotas=QUOTAS)
    assert weights_without(stored, "2024-01-08", base) == {"popular": 2.0, "new": 1.5}
    assert weights_without(stored, "2024-01-15", base) == {"popular": 3.0, "new": 1.5}, "the search did not read it"
    assert weights_without(None, "2024-01-08", base) == {"popular": 0.5, "new": 1.5}
    assert RetrievalParams.from_json(stored.to_json()) == stored
