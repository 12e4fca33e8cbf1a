"""Coordinate ascent: weights are improved one at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST = 1_000.0
"""No weight is larger."""

_FACTORS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.2, 1.5, 2.0, 4.0)
_LEAST_GAIN = 1e-5
"""A round that raises the value by no more than this is the last one."""

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Improvement:
    """Weights that were better than all before them.

    Attributes:
        evaluation: number of the evaluation that found them, from 0.
        weights: [weights].
        value: of the objective.
    """

    evaluation: int
    weights: Weights
    value: float


def coordinate_ascent(
    objective: Callable[[Weights], float], start: Weights, evaluations: int | None = None
) -> list[Improvement]:
    """Raise the objective by one weight at a time until a round over all weights gains nothing.

    Weights of a fusion act nearly on their own, and whether one is zero matters: a few hundred evaluations find what
    samplers of continuous spaces need far more for.

    Args:
        objective: the value to raise; cheap, as it is evaluated nine times per weight and round.
        start: [weights] the first ones; a weight that was set to 0 may come back at the scale of its start.
        evaluations: most evaluations; None: no limit.

    Returns:
        The start, then each improvement; the last one is the result.
    """
    path = [Improvement(0, start.copy(), objective(start))]
    evaluated, before = 1, -np.inf
    while path[-1].value > before + _LEAST_GAIN:
        before = path[-1].value
        for at in range(len(start)):
            origin = path[-1].weights[at] or start[at] or np.float32(1.0)
            for factor in _FACTORS:
                if evaluations is not None and evaluated >= evaluations:
                    return path
                weights = path[-1].weights.copy()
                weights[at] = min(MOST, origin * factor)
                value = objective(weights)
                if value > path[-1].value:
                    path.append(Improvement(evaluated, weights, value))
                evaluated += 1
    return path
