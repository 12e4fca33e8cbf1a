"""Configuration of a sample: sizes, seed and parameters of behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

REAL_EVENTS = 2_756_101
REAL_CATEGORIES = 1_669
DAY_START_HOUR = 3
DAY_MS = 86_400_000
_MISSING_SNAPSHOT = 6
"""Index of the Sunday without a snapshot (2015-06-21 of the real data)."""


@dataclass(frozen=True)
class SampleConfig:
    """Size, seed and shape of a sample.

    The defaults follow the RetailRocket data at every size (counts per user, per item and per event do not change
    with ``events``), with two differences that make a small sample measurable:

    * ``first_visit_conversion``: carts and purchases come mostly from returning users. In the real data
      most buyers are new, and 200,000 events would leave some twenty users a week with both a history and a target.
      1.0 makes first visits equal to later ones.
    * ``taste_strength``: tastes are cleaner than in the real shop, so that measuring them needs few users. With
      0.0 every session has a random taste.

    Attributes:
        events: rows of ``events.csv``, exact.
        days: length of the range in days of 24 hours from 03:00 UTC.
        seed: equal configurations give equal bytes.
        start: first day of the range.
        items_per_event: size of the catalogue; about half of the items are ever viewed.
        popularity_sigma: sigma of the log-normal popularity of items; a larger value has a heavier tail.
        returning_share: share of new users who return; a larger value gives fewer users and more events for each.
        heavy_share: share of new users who are B2B buyers or bots (half each).
        taste_strength: probability that a session stays within its user's tastes.
        revisit_share: probability that a view of a returning user goes to an item of an earlier session.
        first_visit_conversion: carts per view in a first session, relative to a fresh view of a later one.
        duplicate_share: share of rows that are exact copies of another.
        properties_per_item: further properties of an item beside the six frequent ones.
    """

    events: int = 200_000
    days: int = 60
    seed: int = 0
    start: date = date(2015, 5, 3)
    items_per_event: float = 0.18
    popularity_sigma: float = 2.1
    returning_share: float = 0.09
    heavy_share: float = 0.0002
    taste_strength: float = 0.95
    revisit_share: float = 0.35
    first_visit_conversion: float = 0.04
    duplicate_share: float = 0.0002
    properties_per_item: int = 16

    def __post_init__(self) -> None:
        for name, low in (("events", 500), ("days", 1), ("seed", 0), ("properties_per_item", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"SampleConfig.{name}: expected at least {low}, found {getattr(self, name)}")
        if self.items_per_event <= 0 or self.popularity_sigma < 0:
            raise ValueError("SampleConfig: items_per_event must be positive and popularity_sigma not negative")
        for name in (
            *("returning_share", "heavy_share", "taste_strength", "revisit_share"),
            *("first_visit_conversion", "duplicate_share"),
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"SampleConfig.{name}: expected a share in 0..1, found {getattr(self, name)}")
        if self.returning_share + self.heavy_share > 1:
            raise ValueError("SampleConfig: returning_share and heavy_share together exceed 1")

    @property
    def start_ms(self) -> int:
        """First millisecond of the range."""
        begin = datetime(self.start.year, self.start.month, self.start.day, DAY_START_HOUR, tzinfo=UTC)
        return int(begin.timestamp()) * 1000

    @property
    def end_ms(self) -> int:
        """First millisecond after the range."""
        return self.start_ms + self.days * DAY_MS

    @property
    def categories(self) -> int:
        """Nodes of the category tree: 1,669 at the real size, fewer for less data."""
        return min(REAL_CATEGORIES, max(45, round(REAL_CATEGORIES * (self.events / REAL_EVENTS) ** 0.5)))

    @property
    def snapshots_ms(self) -> tuple[int, ...]:
        """Times of the property snapshots: Sundays 03:00 UTC, none in the first week, and one Sunday left out."""
        first = self.start + timedelta(days=7 + (6 - self.start.weekday()) % 7)
        begin = self.start_ms + (first - self.start).days * DAY_MS
        sundays = list(range(begin, self.end_ms, 7 * DAY_MS))
        if len(sundays) > _MISSING_SNAPSHOT + 1:
            del sundays[_MISSING_SNAPSHOT]
        return tuple(sundays) or (begin,)
