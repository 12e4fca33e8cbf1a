"""AUC and F-beta against scikit-learn, their intervals against a bootstrap, and figures against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import fbeta_score, roc_auc_score

from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.evaluation.threshold import auc, auc_interval, best_threshold, f_beta
from recsys_assets.core.experiments.metrics import GAIN, EvaluatedLists, figures


def drawn(seed: int, users: int = 60, per_user: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores with ties, and users whose rows hang together."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(users), per_user)
    shift = np.repeat(rng.normal(0, 1, users), per_user)
    labels = rng.random(len(group)) < 0.15
    return labels, np.round(labels + shift + rng.normal(0, 1, len(group)), 1), group


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_scikit_learn(seed: int) -> None:
    labels, scores, _ = drawn(seed)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    for threshold in np.unique(scores):
        predicted = scores >= threshold
        assert f_beta(labels, predicted) == pytest.approx(fbeta_score(labels, predicted, beta=1.5), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_the_best_of_all(seed: int) -> None:
    labels, scores, _ = drawn(seed, users=15)
    figures_at = {value: fbeta_score(labels, scores >= value, beta=1.5) for value in np.unique(scores)}
    best = max(figures_at.values())
    assert best_threshold(labels, scores) == max(value for value, one in figures_at.items() if one > best - 1e-12)


def test_what_is_not_defined() -> None:
    none, some = np.zeros(4, dtype=np.bool_), np.arange(4.0)
    assert np.isnan(auc(none, some))
    assert np.isnan(auc(~none, some))
    assert f_beta(none, none) == 0
    assert best_threshold(none, some) == np.inf
    assert np.isnan(auc_interval(none, some, np.arange(4), level=0.95).low)


def test_the_interval_of_the_auc_is_about_that_of_a_bootstrap_over_users() -> None:
    """Rows of a user hang together here: an interval over rows would be too narrow."""
    labels, scores, group = drawn(1, users=150)
    found = auc_interval(labels, scores, group, level=0.95)
    rng = np.random.default_rng(0)
    rows = np.arange(len(group)).reshape(150, -1)
    means = [
        auc(labels[picked], scores[picked]) for picked in (rows[rng.integers(0, 150, 150)].ravel() for _ in range(500))
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)


def test_figures_are_what_plain_loops_find() -> None:
    labels, scores, group = drawn(2, users=20)
    labels[group == 3] = False
    fused = np.random.default_rng(5).random(len(group))
    targets = np.bincount(group, weights=labels).astype(np.int64) + 1  # each acted on something that was no candidate
    evaluated = EvaluatedLists(group, labels, targets, fused)
    found = {
        one.metric: one for one in figures(evaluated, scores, 0.8, ["ndcg_at_5", "hit_at_3", "auc", "f_beta"], 300)
    }

    def by_loop(of: np.ndarray, metric: str, k: int) -> np.ndarray:
        values = []
        for user in range(20):
            mine = np.flatnonzero(group == user)
            ordered = sorted(mine, key=lambda row: (-of[row], row))
            hits = np.array([[labels[row] for row in ordered[:k]]])
            values.append(per_user(hits, targets[[user]], k)[metric][0])
        return np.array(values)

    assert found["ndcg_at_5"].value == pytest.approx(by_loop(scores, "ndcg", 5).mean())
    assert found["hit_at_3"].value == pytest.approx(by_loop(scores, "hit", 3).mean())
    gain = by_loop(scores, "ndcg", 10) - by_loop(fused, "ndcg", 10)
    assert found[GAIN].value == pytest.approx(gain.mean())
    assert found[GAIN].low < gain.mean() < found[GAIN].high
    assert found["f_beta"].value == pytest.approx(fbeta_score(labels, scores >= 0.8, beta=1.5))
    assert found["auc"].value == pytest.approx(roc_auc_score(labels, scores))
    assert all(one.low < one.value < one.high for one in found.values())
