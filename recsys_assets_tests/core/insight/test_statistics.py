"""Tails, concentration and drift by hand, by brute force and by simulation."""

from __future__ import annotations

import random
from collections import Counter
from math import log

import pytest

from recsys_assets.core.insight.statistics import Drift, Tail


def brute_gini(values: list[int]) -> float:
    """Half the mean absolute difference relative to the mean."""
    mean = sum(values) / len(values)
    return sum(abs(a - b) for a in values for b in values) / (2 * len(values) ** 2 * mean)


@pytest.mark.parametrize("seed", range(5))
def test_tail_against_every_single_one(seed: int):
    rng = random.Random(seed)
    values = sorted((int(rng.paretovariate(0.8)) for _ in range(rng.randrange(1, 400))), reverse=True)
    tail = Tail(Counter(values))
    assert (tail.entities, tail.events) == (len(values), sum(values))
    assert tail.gini() == pytest.approx(brute_gini(values))
    top = max(1, round(0.01 * len(values)))
    assert tail.top_share(0.01) == pytest.approx(sum(values[:top]) / sum(values))
    median = tail.quantile(0.5)
    assert sum(value <= median for value in values) >= len(values) / 2 > sum(value < median for value in values)
    buckets = tail.doubling()
    assert [sum(low <= value <= high for value in values) for low, high, _ in buckets] == [n for *_, n in buckets]
    assert sum(n for *_, n in buckets) == len(values)
    xs, ys = zip(*tail.curve(), strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)
    assert all(y >= x - 1e-9 or x < 1 / len(values) for x, y in tail.curve())


def test_extremes():
    assert Tail({3: 10}).gini() == pytest.approx(0)
    assert Tail({1: 1, 10**6: 1}).gini() == pytest.approx(0.5, abs=1e-5)
    empty = Tail({})
    assert (empty.gini(), empty.top_share(0.01), empty.quantile(0.5), empty.doubling()) == (0, 0, 0, [])


def test_psi_by_hand():
    """(70, 30) against (50, 50) of 1,000 rows: (.7 - .5) ln(.7 / .5) + (.3 - .5) ln(.3 / .5), but for the half rows."""
    by_hand = 0.2 * log(1.4) - 0.2 * log(0.6)
    assert Drift(("a", "b"), (700, 300), (500, 500)).psi == pytest.approx(by_hand, rel=0.01)


@pytest.mark.parametrize(
    ("day", "before", "verdict"),
    [
        ((980, 20), (980, 20), "stable"),
        ((650, 350), (500, 500), "stable"),
        ((680, 320), (500, 500), "moderate"),
        ((900, 100), (500, 500), "major"),
        ((0, 1000), (1000, 0), "major"),
        ((3, 1), (500, 500), "stable"),
        ((0, 0), (500, 500), "stable"),
        ((5, 5), (0, 0), "stable"),
    ],
)
def test_verdicts(day: tuple[int, ...], before: tuple[int, ...], verdict: str):
    assert Drift(("a", "b"), day, before).verdict == verdict


def test_small_days_do_not_drift_by_chance():
    """Days of 60 events over 24 hours, all drawn alike: an index of .25 is common, a verdict is not."""
    rng = random.Random(0)
    names = tuple(str(hour) for hour in range(24))

    def draw(rows: int) -> tuple[int, ...]:
        counts = Counter(rng.choices(names, k=rows))
        return tuple(counts[name] for name in names)

    drawn = [Drift(names, draw(60), draw(1600)) for _ in range(300)]
    assert sum(one.psi > 0.25 for one in drawn) > 100
    assert sum(one.verdict != "stable" for one in drawn) < 12
