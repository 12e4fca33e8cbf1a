"""What rankers gained on several windows, as one figure: with few users, no gain on a single one is beyond chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

DECISIVE_K = 10
"""The length of the list whose NDCG decides."""


@dataclass(frozen=True)
class Gain:
    """A mean paired difference of NDCG@10, the bounds of its 95 % interval, and the users that it is of."""

    value: float
    low: float
    high: float
    users: int


def gain_of(evaluation: pa.Table, model: str) -> Gain | None:
    """What a model gained over whatever stood on a window; None where it was not judged.

    Args:
        evaluation: table of contract RANKER_EVALUATION.
        model: 'ranker' or 'champion'.
    """
    for row in evaluation.to_pylist():
        if (row["model"], row["metric"], row["k"]) == (model, "ndcg_gain", DECISIVE_K) and row["low"] is not None:
            return Gain(row["value"], row["low"], row["high"], row["users"])
    return None


def together(gains: Sequence[Gain]) -> Gain:
    """The mean over the users of all windows, with its interval: a fixed-effect meta-analysis, weighed by users.

    The windows must share no target, so that chance on one says nothing of chance on another.

    Args:
        gains: one of each window, at least one.
    """
    users = sum(one.users for one in gains)
    mean = sum(one.users * one.value for one in gains) / users
    below, above = (
        math.sqrt(sum((one.users * bound) ** 2 for one, bound in zip(gains, bounds, strict=True))) / users
        for bounds in ([one.value - one.low for one in gains], [one.high - one.value for one in gains])
    )
    return Gain(mean, mean - below, mean + above, users)
