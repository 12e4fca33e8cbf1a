"""Gains of rankers, of one window and pooled over several: with few users, one window alone shows no gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

DECISIVE_K = 10
"""The length of the list whose NDCG decides."""


@dataclass(frozen=True)
class Gain:
    """A mean paired difference of NDCG@10, the bounds of its interval, and the number of users."""

    value: float
    low: float
    high: float
    users: int


def gain_of(evaluation: pa.Table, model: str) -> Gain | None:
    """The gain of a model over the baseline of its window; None if it was not evaluated.

    Args:
        evaluation: table of contract RANKER_EVALUATION.
        model: 'ranker' or 'champion'.
    """
    for row in evaluation.to_pylist():
        if (row["model"], row["metric"], row["k"]) == (model, "ndcg_gain", DECISIVE_K) and row["low"] is not None:
            return Gain(row["value"], row["low"], row["high"], row["users"])
    return None


def pooled_gain(gains: Sequence[Gain]) -> Gain:
    """The mean over the users of all windows, with its interval: a fixed-effect meta-analysis, weighted by users.

    The windows must share no target, so that their errors are independent.

    Args:
        gains: one per window, at least one.
    """
    users = sum(gain.users for gain in gains)
    mean = sum(gain.users * gain.value for gain in gains) / users
    below, above = (
        math.sqrt(sum((gain.users * error) ** 2 for gain, error in zip(gains, errors, strict=True))) / users
        for errors in ([gain.value - gain.low for gain in gains], [gain.high - gain.value for gain in gains])
    )
    return Gain(mean, mean - below, mean + above, users)
