"""News: articles are born through the day and live for hours.

An article draws readers by its quality, by its topic as far as a reader cares, and less with each hour of its age;
after its lifetime nobody reads it, and nobody reads one twice. So what was popular last week is of no use, and only
what is alive at the end of a day can be recommended for the next one.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.sample.regimes.world import HOUR_MS, HOURS, Ints, World, choose

DAYS, USERS, TOPICS, PER_DAY = 30, 800, 6, 60
FADES_HOURS = 8.0


def make(seed: int) -> World:
    """The events of the regime.

    Args:
        seed: equal seeds give equal events.

    Returns:
        Reads. Truth: ``born_ms`` and ``dies_ms`` of each article, ``topic`` of each, ``interest`` [users, topics].
    """
    rng = np.random.default_rng([seed, 1])
    articles = DAYS * PER_DAY
    born = np.sort(np.repeat(np.arange(DAYS), PER_DAY) * 24 + rng.choice(24, articles, p=HOURS))
    dies = born + np.clip(rng.lognormal(np.log(22), 0.4, articles), 6, 60).astype(np.int64)
    quality, topic = rng.normal(0, 1.0, articles), rng.integers(0, TOPICS, articles)
    interest = rng.dirichlet(np.full(TOPICS, 0.4), USERS)
    pace = np.minimum(rng.lognormal(np.log(0.35), 0.6, USERS), 2.0)
    read = np.zeros((USERS, articles), np.bool_)
    rows: dict[str, list[Ints]] = {"user": [], "item": [], "ms": []}
    for hour in range(DAYS * 24):
        alive = np.flatnonzero((born <= hour) & (hour < dies))
        visitors = np.flatnonzero(rng.random(USERS) < pace * HOURS[hour % 24])
        if not len(alive) or not len(visitors):
            continue
        appeal = quality[alive] - (hour - born[alive]) / FADES_HOURS
        logits = appeal + np.log(0.05 + interest[visitors][:, topic[alive]])
        logits[read[visitors][:, alive]] = -np.inf
        row, at = choose(rng, logits, 1 + rng.poisson(1.2, len(visitors)))
        user, item = visitors[row], alive[at]
        read[user, item] = True
        rows["user"].append(user)
        rows["item"].append(item)
        rows["ms"].append(hour * HOUR_MS + rng.integers(0, HOUR_MS, len(row)))
    truth = {"born_ms": born * HOUR_MS, "dies_ms": dies * HOUR_MS, "topic": topic, "interest": interest}
    return World.of(DAYS, rows, truth)
