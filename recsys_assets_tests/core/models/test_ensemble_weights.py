"""The weights of an ensemble that are learned."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix

from benchmarks.ensemble_weights import Pool, hits, learn, pool
from recsys_assets.core.evaluation.metrics import ndcg
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.cf_ensemble import CfEnsemble, best_of, candidates, weighted
from recsys_assets.core.models.interactions import Bools

USERS, ITEMS = 60, 50


class Given:
    """A model whose scores are given, standardized."""

    def __init__(self, scores: npt.NDArray[np.floating]):
        self._scores = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        return {"scores": self._scores}

    def scores(self, histories: csr_matrix) -> Given:
        assert len(histories.indptr) == len(self._scores) + 1, "all users at once"
        return self

    def best(self, k: int, histories: csr_matrix, available: Bools) -> tuple[Ints, Ints]:
        barred = (histories.toarray() > 0) | ~available
        columns = np.argsort(np.where(barred, np.inf, -self._scores), axis=1, kind="stable")[:, :k]
        return np.repeat(np.arange(len(columns)), columns.shape[1]), columns.ravel()

    def standardized(self, rows: Ints, columns: Ints) -> npt.NDArray[np.float32]:
        return self._scores[rows, columns].astype(np.float32)


RNG = np.random.default_rng(7)
TRUTH = RNG.normal(size=(USERS, ITEMS))
SEEN = csr_matrix(RNG.random((USERS, ITEMS)) < 0.1)
MODELS = {
    "good": Given(10 * (TRUTH + RNG.normal(0, 0.5, TRUTH.shape)) + 3),
    "other": Given(TRUTH + RNG.normal(0, 0.8, TRUTH.shape)),
    "noise": Given(RNG.normal(size=TRUTH.shape)),
}


def of(models: Mapping[str, Given]) -> CfEnsemble:
    return CfEnsemble(pa.array(range(ITEMS)), models)


def lists_of(models: Mapping[str, Given], weights: dict[str, float], seen: csr_matrix, k: int) -> Ints:
    found = candidates(of(models), seen, ITEMS)
    return found.columns[best_of(found, weighted(found, weights, of(models)), k)].reshape(-1, k)


def test_what_helps_gets_weight_and_noise_gets_little() -> None:
    targets = csr_matrix((TRUTH > 1.2) & (SEEN.toarray() == 0))
    assert np.diff(targets.indptr).min() > 0
    proposed = pool(candidates(of(MODELS), SEEN, 30), USERS)
    weights = learn(list(MODELS), proposed, targets, 10)
    assert weights["good"] == 1.0
    assert 0.1 < weights["other"] < 2.0
    assert weights["noise"] < 0.3


def test_longer_lists_than_are_proposed_are_as_long_as_they_are() -> None:
    proposed = pool(candidates(of(MODELS), SEEN, 3), USERS)
    targets = csr_matrix(TRUTH > 1)
    assert learn(list(MODELS), proposed, targets, 500) == learn(list(MODELS), proposed, targets, 9)


def test_slices_together_keep_what_one_slice_alone_would_throw_away() -> None:
    """One model knows the first half of the items only, another less of all; targets differ in where they lie."""
    first = np.arange(ITEMS) < ITEMS // 2
    rng = np.random.default_rng(11)
    models = {
        "half": Given(np.where(first, TRUTH + 1.0, rng.normal(-1.0, 1.0, TRUTH.shape))),
        "whole": Given(TRUTH + rng.normal(0, 1.0, TRUTH.shape)),
    }
    slices = np.arange(USERS) % 2
    targets = csr_matrix((TRUTH > 0.8) & (first == (slices == 0)[:, None]))
    assert np.diff(targets.indptr).min() > 0
    nothing = csr_matrix((USERS, ITEMS))
    proposed = pool(candidates(of(models), nothing, ITEMS), USERS)

    def reached(weights: dict[str, float]) -> list[float]:
        gains = ndcg(hits(targets, lists_of(models, weights, nothing, 10)), np.diff(targets.indptr), 10)
        return [float(gains[slices == number].mean()) for number in (0, 1)]

    one = Pool(proposed.items[slices == 0], proposed.scores[:, slices == 0])
    alone = learn(list(models), one, csr_matrix(targets[slices == 0]), 10)
    both = learn(list(models), proposed, targets, 10, slices)
    assert reached(alone)[1] < 0.2 < 0.4 < reached(both)[1]
    assert reached(both)[0] > 0.4
    assert np.prod(reached(both)) > 1.5 * np.prod(reached(alone))
    assert learn(list(models), one, csr_matrix(targets[slices == 0]), 10, np.zeros(USERS // 2, np.int64)) == alone


def test_the_pool_has_the_candidates_of_each_user() -> None:
    found = candidates(of(MODELS), SEEN, 5)
    proposed = pool(found, USERS)
    for user in (8, 30, 59):
        there = proposed.items[user] >= 0
        mine = found.rows == user
        assert proposed.items[user, there].tolist() == found.columns[mine].tolist()
        assert np.array_equal(proposed.scores[:, user, there], found.scores[:, mine])
        assert not proposed.scores[:, user, ~there].any()
