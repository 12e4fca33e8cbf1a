"""Percentile bootstrap over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_assets.core.evaluation.metrics import Floats

_CELLS = 2_000_000
"""Weights held at a time: 16 MB, whatever the number of users."""


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its interval; all NaN where there is nothing to average."""

    mean: float
    low: float
    high: float


def intervals(
    values: Floats, divisors: Floats | None = None, resamples: int = 1000, seed: int = 0, *, level: float
) -> list[Interval]:
    """The mean of each column with its interval, all columns on the same resamples of users.

    A resample draws as many users as there are, with replacement (multinomial weights).

    Args:
        values: [users, columns]; NaN leaves a user out of that column.
        divisors: [users, columns] what the sum of the values is divided by where that is no plain mean (targets, for
            a share of all targets); None divides by the number of users.
        resamples: how many.
        seed: of the resamples.
        level: of the intervals, such as 0.95.

    Returns:
        One interval per column.
    """
    users, columns = values.shape
    defined = ~np.isnan(values)
    top = np.where(defined, values, 0.0)
    bottom = np.where(defined, 1.0 if divisors is None else divisors, 0.0)
    if users == 0:
        return [Interval(np.nan, np.nan, np.nan)] * columns
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    chunk = max(1, _CELLS // users)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        weights = np.empty((size, users))
        for row in range(size):
            weights[row] = np.bincount(rng.integers(0, users, users), minlength=users)
        means[start : start + size] = _ratio(weights @ top, weights @ bottom)
    low, high = np.percentile(means, [50 - 50 * level, 50 + 50 * level], axis=0)
    mean = _ratio(top.sum(axis=0), bottom.sum(axis=0))
    return [
        Interval(*(float(x[at]) for x in (mean, low, high)))
        if defined[:, at].any()
        else Interval(np.nan, np.nan, np.nan)
        for at in range(columns)
    ]


def paired_difference(ours: Floats, theirs: Floats, resamples: int = 1000, seed: int = 0, *, level: float) -> Interval:
    """The mean of ours minus theirs over the same users, [users] each, with its interval."""
    return intervals((ours - theirs)[:, None], resamples=resamples, seed=seed, level=level)[0]


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
