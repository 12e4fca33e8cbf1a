"""Tiny: a young shop with 300 users, whose evidence is thin.

Users belong to a few groups with tastes of their own; they view items of their group and purchase one of four. There is
something to learn, and hardly enough to be sure of it.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.sample.regimes.world import MINUTE_MS, Ints, World, choose, places, visit_times, zipf

DAYS, USERS, ITEMS, GROUPS = 60, 300, 120, 4
VIEW, PURCHASE = range(2)
TASTE, CONVERSION = 1.5, 0.25


def make(seed: int) -> World:
    """The events of the regime.

    Args:
        seed: equal seeds give equal events.

    Returns:
        Views and purchases. Truth: ``user_group``, ``item_group``.
    """
    rng = np.random.default_rng([seed, 6])
    user_group, item_group = rng.integers(0, GROUPS, USERS), rng.integers(0, GROUPS, ITEMS)
    appeal = rng.permutation(zipf(ITEMS, 0.8)) + TASTE * (user_group[:, None] == item_group)
    pace = np.minimum(rng.lognormal(np.log(0.12), 0.6, USERS), 0.7)
    rows: dict[str, list[Ints]] = {"user": [], "item": [], "ms": [], "kind": []}
    for day in range(DAYS):
        present = np.flatnonzero(rng.random(USERS) < pace)
        row, item = choose(rng, appeal[present], rng.geometric(0.35, len(present)))
        ms = visit_times(rng, day, len(present))[row] + places(row) * 2 * MINUTE_MS
        bought = rng.random(len(row)) < CONVERSION
        for kind, some, wait in ((VIEW, slice(None), 0), (PURCHASE, bought, MINUTE_MS)):
            rows["user"].append(present[row][some])
            rows["item"].append(item[some])
            rows["ms"].append(ms[some] + wait)
            rows["kind"].append(np.full(len(ms[some]), kind))
    return World.of(DAYS, rows, {"user_group": user_group, "item_group": item_group})
