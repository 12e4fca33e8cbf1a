"""Films: ratings with tastes and lasting popularity; each user rates a film once.

A user signs up some day, rates a shelf of films at once, and a part of them return now and then for a few more. The
choice follows the popularity of all time and the user's taste, the rating the taste alone. So popularity hardly moves,
a window of a few days only adds noise, and tastes are worth learning.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.sample.regimes.world import MINUTE_MS, Ints, World, choose, places, visit_times, zipf

DAYS, USERS, FILMS, FACTORS = 120, 1200, 500, 6
RETURNING, RETURNS_A_DAY = 0.4, 0.06


def make(seed: int) -> World:
    """The events of the regime.

    Args:
        seed: equal seeds give equal events.

    Returns:
        Ratings; the kind is the rating less 1. Truth: ``affinity`` [users, films] of tastes, ``popularity`` (logarithm)
        of the films.
    """
    rng = np.random.default_rng([seed, 2])
    joined = rng.integers(0, DAYS, USERS)
    comes_back = np.where(rng.random(USERS) < RETURNING, RETURNS_A_DAY, 0.0)
    tastes, films = rng.normal(0, 1, (USERS, FACTORS)), rng.normal(0, 1, (FILMS, FACTORS))
    affinity = tastes @ films.T / np.sqrt(FACTORS)
    popularity = rng.permutation(zipf(FILMS, 0.8))
    appeal = popularity + affinity
    rows: dict[str, list[Ints]] = {"user": [], "item": [], "ms": [], "kind": []}
    for day in range(DAYS):
        new = joined == day
        present = np.flatnonzero(new | ((joined < day) & (rng.random(USERS) < comes_back)))
        counts = np.where(new[present], 10 + rng.geometric(0.1, len(present)), rng.geometric(0.2, len(present)))
        row, film = choose(rng, appeal[present], np.minimum(counts, 60))
        user = present[row]
        appeal[user, film] = -np.inf
        stars = np.clip(np.rint(3.6 + 0.8 * affinity[user, film] + rng.normal(0, 0.7, len(row))), 1, 5)
        begin = visit_times(rng, day, len(present))
        rows["user"].append(user)
        rows["item"].append(film)
        rows["ms"].append(begin[row] + places(row) * MINUTE_MS + rng.integers(0, MINUTE_MS, len(row)))
        rows["kind"].append(stars.astype(np.int64) - 1)
    return World.of(DAYS, rows, {"affinity": affinity, "popularity": popularity})
