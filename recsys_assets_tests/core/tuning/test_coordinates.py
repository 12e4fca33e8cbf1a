"""Coordinate ascent: every improvement is one, a weight can come back from zero, and the budget holds."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_assets.core.tuning.coordinates import MOST, Weights, coordinate_ascent


def distance(weights: Weights) -> float:
    """Best at (8, 2, 0)."""
    return -float(np.abs(weights - [8.0, 2.0, 0.0]).sum())


def test_each_weight_reaches_its_best_step() -> None:
    path = coordinate_ascent(distance, np.array([1.0, 0.0, 3.0], np.float32))
    assert path[0].weights.tolist() == [1.0, 0.0, 3.0]
    assert path[-1].weights == pytest.approx([8.0, 2.0, 0.0], rel=0.05)
    values = [step.value for step in path]
    assert values == sorted(set(values)), "each step is better than the one before"
    assert all(distance(step.weights) == step.value for step in path)


def test_a_weight_that_was_set_to_zero_comes_back() -> None:
    """The first weight is harmful only as long as the second is at its start."""

    def objective(weights: Weights) -> float:
        first, second = weights.tolist()
        return second - (first if second < 4 else abs(first - 2))

    path = coordinate_ascent(objective, np.array([2.0, 1.0], np.float32), 200)
    assert path[1].weights.tolist() == [0.0, 1.0]
    assert path[-1].weights[0] == pytest.approx(2.0, rel=0.05)
    assert path[-1].weights[1] == MOST


def test_the_budget_counts_evaluations() -> None:
    calls: list[float] = []

    def objective(weights: Weights) -> float:
        calls.append(distance(weights))
        return calls[-1]

    path = coordinate_ascent(objective, np.ones(3, np.float32), 12)
    assert len(calls) == 12
    assert path[-1].value == max(calls)
    assert coordinate_ascent(objective, np.ones(3, np.float32), 1)[-1].value == distance(np.ones(3, np.float32))
