"""Fused models: what is proposed, and which weights are learned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_assets.core.evaluation.metrics import ndcg
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.blend import Pool, hits, learn, pool, standardized, top

USERS, ITEMS = 60, 50


class RetrievalContext:
    """A model whose scores are given."""

    def __init__(self, scores: npt.NDArray[np.floating]):
        self._scores = scores.astype(np.float32)

    def scores(self, users: Ints) -> npt.NDArray[np.float32]:
        return self._scores[users].copy()


RNG = np.random.default_rng(7)
TRUTH = RNG.normal(size=(USERS, ITEMS))
SEEN = csr_matrix(RNG.random((USERS, ITEMS)) < 0.1)
MODELS = {
    "good": RetrievalContext(10 * (TRUTH + RNG.normal(0, 0.5, TRUTH.shape)) + 3),
    "other": RetrievalContext(TRUTH + RNG.normal(0, 0.8, TRUTH.shape)),
    "noise": RetrievalContext(RNG.normal(size=TRUTH.shape)),
}


def ranked(weights: dict[str, float], users: Ints, k: int) -> list[list[int]]:
    """The same by sorting everything."""
    total = np.zeros((len(users), ITEMS))
    for name, weight in weights.items():
        scores = MODELS[name].scores(users).astype(np.float64)
        total += weight * (scores - scores.mean(axis=1)[:, None]) / scores.std(axis=1)[:, None]
    lists = []
    for row, user in zip(total, users, strict=True):
        row[SEEN[user].indices] = -np.inf
        lists.append(np.argsort(-row)[:k].tolist())
    return lists


def test_lists_are_the_best_of_the_weighted_sum_without_what_was_seen() -> None:
    users, weights = np.array([5, 0, 41]), {"good": 1.0, "noise": 0.0, "other": 0.5}
    items, scores = top(MODELS, weights, users, SEEN, 8)
    assert items.tolist() == ranked(weights, users, 8)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert not any(set(items[at]) & set(SEEN[user].indices) for at, user in enumerate(users))


def test_of_equals_the_first_comes_first_and_constant_scores_count_for_nothing() -> None:
    flat = {"flat": RetrievalContext(np.full((USERS, ITEMS), 4.0)), "good": MODELS["good"]}
    assert not standardized(flat["flat"], np.arange(3)).any()
    nothing = csr_matrix((USERS, ITEMS))
    assert top(flat, {"flat": 1.0}, np.array([2]), nothing, 4)[0].tolist() == [[0, 1, 2, 3]]
    assert np.array_equal(
        top(flat, {"flat": 1.0, "good": 1.0}, np.arange(5), nothing, 6)[0],
        top(flat, {"good": 1.0}, np.arange(5), nothing, 6)[0],
    )


def test_what_helps_gets_weight_and_noise_gets_little() -> None:
    targets = csr_matrix((TRUTH > 1.2) & (SEEN.toarray() == 0))
    users = np.flatnonzero(np.diff(targets.indptr))
    proposed = pool(MODELS, users, SEEN, 30)
    weights = learn(list(MODELS), proposed, csr_matrix(targets[users]), 10)
    assert weights["good"] == 1.0
    assert 0.1 < weights["other"] < 2.0
    assert weights["noise"] < 0.3


def test_longer_lists_than_are_proposed_are_as_long_as_they_are() -> None:
    users = np.arange(USERS)
    proposed = pool(MODELS, users, SEEN, 3)
    targets = csr_matrix(TRUTH > 1)
    assert learn(list(MODELS), proposed, targets, 500) == learn(list(MODELS), proposed, targets, 9)


def test_slices_together_keep_what_one_slice_alone_would_throw_away() -> None:
    """One model knows the first half of the items only, another less of all; targets differ in where they lie."""
    first = np.arange(ITEMS) < ITEMS // 2
    rng = np.random.default_rng(11)
    models = {
        "half": RetrievalContext(np.where(first, TRUTH + 1.0, rng.normal(-1.0, 1.0, TRUTH.shape))),
        "whole": RetrievalContext(TRUTH + rng.normal(0, 1.0, TRUTH.shape)),
    }
    slices = np.arange(USERS) % 2
    targets = csr_matrix((TRUTH > 0.8) & (first == (slices == 0)[:, None]))
    assert np.diff(targets.indptr).min() > 0
    proposed = pool(models, np.arange(USERS), csr_matrix((USERS, ITEMS)), ITEMS)

    def reached(weights: dict[str, float]) -> list[float]:
        lists = top(models, weights, np.arange(USERS), csr_matrix((USERS, ITEMS)), 10)[0]
        gains = ndcg(hits(targets, lists), np.diff(targets.indptr), 10)
        return [float(gains[slices == number].mean()) for number in (0, 1)]

    one = Pool(proposed.items[slices == 0], proposed.scores[:, slices == 0])
    alone = learn(list(models), one, csr_matrix(targets[slices == 0]), 10)
    both = learn(list(models), proposed, targets, 10, slices)
    assert reached(alone)[1] < 0.2 < 0.4 < reached(both)[1]
    assert reached(both)[0] > 0.4
    assert np.prod(reached(both)) > 1.5 * np.prod(reached(alone))
    assert learn(list(models), one, csr_matrix(targets[slices == 0]), 10, np.zeros(USERS // 2, np.int64)) == alone


def test_the_pool_has_each_model_s_best_once_with_all_scores() -> None:
    users = np.array([8, 30])
    proposed = pool(MODELS, users, SEEN, 5)
    for at, user in enumerate(users):
        items = proposed.items[at][proposed.items[at] >= 0].tolist()
        expected = {item for name in MODELS for item in ranked({name: 1.0}, np.array([user]), 5)[0]}
        assert sorted(items) == sorted(expected)
        for row, model in zip(proposed.scores[:, at], MODELS.values(), strict=True):
            kept = row[proposed.items[at] >= 0]
            assert np.allclose(kept, standardized(model, np.array([user]))[0, items], atol=1e-5)
