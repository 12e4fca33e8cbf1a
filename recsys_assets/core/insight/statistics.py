"""Statistics of distributions: tails, concentration, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, log, sqrt

MODERATE, MAJOR = 0.1, 0.25
"""Usual thresholds of the population stability index (Siddiqi, Credit Risk Scorecards, 2006)."""


@dataclass(frozen=True)
class Tail:
    """The distribution of events over users or items; ``counts`` maps a number of events to how many have it."""

    counts: Mapping[int, int]

    @property
    def entities(self) -> int:
        """The number of users or items."""
        return sum(self.counts.values())

    @property
    def events(self) -> int:
        """The number of events."""
        return sum(events * count for events, count in self.counts.items())

    def quantile(self, share: float) -> int:
        """The least number of events that at least this share does not exceed; 0 if the distribution is empty."""
        needed = ceil(share * self.entities)
        ascending = sorted(self.counts.items())
        sums = accumulate(count for _, count in ascending)
        return next((events for (events, _), upto in zip(ascending, sums, strict=True) if upto >= needed), 0)

    def top_share(self, share: float) -> float:
        """The share of events of the busiest ``share`` (at least one user or item); 0 if the distribution is empty."""
        left = max(1, round(share * self.entities))
        held = 0
        for events, count in sorted(self.counts.items(), reverse=True):
            held += events * min(count, left)
            left -= min(count, left)
        return held / self.events if self.events else 0.0

    def gini(self) -> float:
        """Gini coefficient: 0 if all have the same, near 1 if one has everything."""
        area, before = 0.0, 0
        for events, count in sorted(self.counts.items()):
            area += count * (2 * before + events * count)
            before += events * count
        return 1 - area / (self.entities * self.events) if self.events else 0.0

    def curve(self, points: int = 60) -> list[tuple[float, float]]:
        """The busiest share (x) and the share of events that it holds (y), from (0, 0) to (1, 1)."""
        # More points where the curve bends, at the busiest.
        shares = [(n / points) ** 3 for n in range(1, points)]
        inner = [(share, self.top_share(share)) for share in shares if share * self.entities >= 1]
        return [(0.0, 0.0), *inner, (1.0, 1.0)]

    def doubling(self) -> list[tuple[int, int, int]]:
        """A histogram over 1, 2, 3 to 4, 5 to 8, … events: from, to, count; without gaps up to the largest."""
        buckets: list[tuple[int, int, int]] = []
        low, high = 1, 1
        while low <= max(self.counts, default=0):
            buckets.append((low, high, sum(n for events, n in self.counts.items() if low <= events <= high)))
            low, high = high + 1, high * 2
        return buckets


@dataclass(frozen=True)
class Drift:
    """The change of a day's mix against that of the days before it.

    Args:
        names: the categories.
        day: rows of each category on the day.
        before: rows of each category before it.
    """

    names: tuple[str, ...]
    day: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def comparable(self) -> bool:
        """Whether both sides have rows."""
        return sum(self.day) > 0 and sum(self.before) > 0

    @property
    def psi(self) -> float:
        """Population stability index; half a row is added to each count, so that an empty category is not infinite."""
        if not self.comparable:
            return 0.0
        now, then = smoothed_shares(self.day), smoothed_shares(self.before)
        return sum((a - b) * log(a / b) for a, b in zip(now, then, strict=True))

    @property
    def chance(self) -> float:
        """The 99 % quantile of the index without drift: few rows differ from many by chance.

        Without drift, the index follows approximately chi-squared times (1/n + 1/m) (Yurdakul, 2018).
        """
        if not self.comparable or len(self.names) < 2:
            return 0.0
        freedom = len(self.names) - 1
        # Wilson and Hilferty (1931): the 99 % point of chi-squared.
        point = freedom * (1 - 2 / (9 * freedom) + 2.3263 * sqrt(2 / (9 * freedom))) ** 3
        return point * (1 / sum(self.day) + 1 / sum(self.before))

    @property
    def verdict(self) -> str:
        """``major``, ``moderate`` or ``stable``; ``stable`` whenever the index is within chance."""
        if self.psi <= self.chance:
            return "stable"
        return "major" if self.psi >= MAJOR else "moderate" if self.psi >= MODERATE else "stable"


def smoothed_shares(counts: Sequence[int]) -> list[float]:
    """Shares after half a row is added to each count."""
    whole = sum(counts) + len(counts) / 2
    return [(count + 0.5) / whole for count in counts]
