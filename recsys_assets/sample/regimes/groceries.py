"""Groceries: weekly baskets of mostly the same items.

A household has its staples, each with an interval of one to three weeks, and a day of the week on which it shops. A
basket holds the staples that are due, some out of turn, and few items from the rest of the shelves. So what was bought
before is most of what will be bought.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.sample.regimes.world import Ints, World, choose, visit_times, zipf

DAYS, HOUSEHOLDS, PRODUCTS, DEPARTMENTS = 70, 240, 500, 12
STAPLES, TRIP, IN_TURN, OUT_OF_TURN, FURTHER = 18, 0.85, 0.8, 0.08, 1.0


def make(seed: int) -> World:
    """The events of the regime.

    Args:
        seed: equal seeds give equal events.

    Returns:
        Purchases, those of a basket with one order. Truth: ``staple`` [households, products], ``interval`` likewise, in
        weeks (0: no staple).
    """
    rng = np.random.default_rng([seed, 3])
    department = rng.integers(0, DEPARTMENTS, PRODUCTS)
    likes = rng.normal(0, 1, (HOUSEHOLDS, DEPARTMENTS))
    appeal = rng.permutation(zipf(PRODUCTS, 0.8)) + likes[:, department]
    owner, product = choose(rng, appeal, np.full(HOUSEHOLDS, STAPLES))
    staple = np.zeros((HOUSEHOLDS, PRODUCTS), np.bool_)
    staple[owner, product] = True
    interval = staple * rng.choice([1, 2, 3], staple.shape, p=[0.5, 0.3, 0.2])
    last = -rng.integers(1, 4, staple.shape)
    weekday = rng.integers(0, 7, HOUSEHOLDS)
    rows: dict[str, list[Ints]] = {"user": [], "item": [], "ms": [], "order": []}
    orders = 0
    for day in range(DAYS):
        week = day // 7
        shopping = np.flatnonzero((weekday == day % 7) & (rng.random(HOUSEHOLDS) < TRIP))
        due = week - last[shopping] >= interval[shopping]
        chance = staple[shopping] * np.where(due, IN_TURN, OUT_OF_TURN)
        bought = rng.random(chance.shape) < chance
        row, other = choose(rng, appeal[shopping], rng.poisson(FURTHER, len(shopping)))
        bought[row, other] = True
        row, product = np.nonzero(bought)
        last[shopping[row], product] = week
        rows["user"].append(shopping[row])
        rows["item"].append(product)
        rows["ms"].append(visit_times(rng, day, len(shopping))[row])
        rows["order"].append(orders + row)
        orders += len(shopping)
    return World.of(DAYS, rows, {"staple": staple, "interval": interval})
