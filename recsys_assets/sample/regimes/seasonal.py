"""Seasonal: the demand for an item rises and falls over a season.

Each item has its peak at some time of a season of 90 days, and about ten times the demand then that it has half a
season later. Tastes are weak. So the popularity of all time misleads, that of a day is noise, and that of a week or two
is best.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.sample.regimes.world import MINUTE_MS, Ints, World, choose, places, visit_times, zipf

DAYS, USERS, ITEMS, SEASON, GROUPS = 120, 800, 250, 90, 8
SWING = 1.2


def make(seed: int) -> World:
    """The events of the regime.

    Args:
        seed: equal seeds give equal events.

    Returns:
        Purchases. Truth: ``peak`` of each item, in days of the season.
    """
    rng = np.random.default_rng([seed, 5])
    peak = rng.integers(0, SEASON, ITEMS)
    group = rng.integers(0, GROUPS, ITEMS)
    base = rng.permutation(zipf(ITEMS, 0.7)) + rng.normal(0, 0.5, (USERS, GROUPS))[:, group]
    pace = np.minimum(rng.lognormal(np.log(0.06), 0.5, USERS), 0.5)
    rows: dict[str, list[Ints]] = {"user": [], "item": [], "ms": []}
    for day in range(DAYS):
        present = np.flatnonzero(rng.random(USERS) < pace)
        swing = SWING * np.cos(2 * np.pi * (day - peak) / SEASON)
        row, item = choose(rng, base[present] + swing, rng.geometric(0.45, len(present)))
        begin = visit_times(rng, day, len(present))
        rows["user"].append(present[row])
        rows["item"].append(item)
        rows["ms"].append(begin[row] + places(row) * 2 * MINUTE_MS)
    return World.of(DAYS, rows, {"peak": peak})
