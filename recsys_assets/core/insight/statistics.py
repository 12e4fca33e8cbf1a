"""Figures of distributions: tails, concentration, drift. Plain numbers in, plain numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, log, sqrt

MODERATE, MAJOR = 0.1, 0.25
"""Usual thresholds of the population stability index (Siddiqi, Credit Risk Scorecards, 2006)."""


@dataclass(frozen=True)
class Tail:
    """How events spread over users or items; ``counts`` maps events of one to how many have so many."""

    counts: Mapping[int, int]

    @property
    def ones(self) -> int:
        """How many users or items."""
        return sum(self.counts.values())

    @property
    def events(self) -> int:
        """How many events."""
        return sum(events * ones for events, ones in self.counts.items())

    def quantile(self, share: float) -> int:
        """The least number of events that at least this share does not exceed; 0 where there is nobody."""
        needed = ceil(share * self.ones)
        ascending = sorted(self.counts.items())
        sums = accumulate(ones for _, ones in ascending)
        return next((events for (events, _), upto in zip(ascending, sums, strict=True) if upto >= needed), 0)

    def top_share(self, share: float) -> float:
        """The share of events that the busiest ``share`` hold (at least one of them); 0 where there is nobody."""
        left = max(1, round(share * self.ones))
        held = 0
        for events, ones in sorted(self.counts.items(), reverse=True):
            held += events * min(ones, left)
            left -= min(ones, left)
        return held / self.events if self.events else 0.0

    def gini(self) -> float:
        """Gini coefficient: 0 where all have the same, near 1 where one has everything."""
        area, before = 0.0, 0
        for events, ones in sorted(self.counts.items()):
            area += ones * (2 * before + events * ones)
            before += events * ones
        return 1 - area / (self.ones * self.events) if self.events else 0.0

    def curve(self, points: int = 60) -> list[tuple[float, float]]:
        """The busiest share (x) and the share of events that it holds (y), from (0, 0) to (1, 1)."""
        # More points where the curve bends, at the busiest.
        shares = [(n / points) ** 3 for n in range(1, points)]
        inner = [(share, self.top_share(share)) for share in shares if share * self.ones >= 1]
        return [(0.0, 0.0), *inner, (1.0, 1.0)]

    def doubling(self) -> list[tuple[int, int, int]]:
        """How many have 1, 2, 3 to 4, 5 to 8, … events: from, to, count; without gaps up to the largest."""
        buckets: list[tuple[int, int, int]] = []
        low, high = 1, 1
        while low <= max(self.counts, default=0):
            buckets.append((low, high, sum(n for events, n in self.counts.items() if low <= events <= high)))
            low, high = high + 1, high * 2
        return buckets


@dataclass(frozen=True)
class Drift:
    """How a day's mix differs from that of the days before it.

    Args:
        names: the kinds that are mixed.
        day: rows of each on the day.
        before: rows of each before.
    """

    names: tuple[str, ...]
    day: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def comparable(self) -> bool:
        """Whether both sides hold anything."""
        return sum(self.day) > 0 and sum(self.before) > 0

    @property
    def psi(self) -> float:
        """Population stability index; half a row is added to each count, so that an empty kind is not infinite."""
        if not self.comparable:
            return 0.0
        now, then = smoothed_shares(self.day), smoothed_shares(self.before)
        return sum((a - b) * log(a / b) for a, b in zip(now, then, strict=True))

    @property
    def chance(self) -> float:
        """What the index exceeds by chance alone once in a hundred: few rows differ from many without any drift.

        Under no drift it is about chi-squared times (1/n + 1/m) (Yurdakul, 2018).
        """
        if not self.comparable or len(self.names) < 2:
            return 0.0
        freedom = len(self.names) - 1
        # Wilson and Hilferty (1931): the 99 % point of chi-squared.
        point = freedom * (1 - 2 / (9 * freedom) + 2.3263 * sqrt(2 / (9 * freedom))) ** 3
        return point * (1 / sum(self.day) + 1 / sum(self.before))

    @property
    def verdict(self) -> str:
        """``major``, ``moderate`` or ``stable``; never more than stable within what chance does."""
        if self.psi <= self.chance:
            return "stable"
        return "major" if self.psi >= MAJOR else "moderate" if self.psi >= MODERATE else "stable"


def smoothed_shares(counts: Sequence[int]) -> list[float]:
    """Shares after half a row is added to each count."""
    whole = sum(counts) + len(counts) / 2
    return [(count + 0.5) / whole for count in counts]
