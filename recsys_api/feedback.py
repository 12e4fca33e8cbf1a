"""What follows from what is shown, while it happens: live precision and recall by placement.

The rule is that of the asset ``attribution``: an event follows from the last impression of its user and item that is
not later and less than a window older; of the answer that the event names, where it names one. Each worker reads the
events of all workers from the store, so all come to the same figures.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from recsys_api.events.event import DISLIKE, IMPRESSION, Event
from recsys_assets.storage.lists import Key

WINDOW = 24 * 3_600_000_000
"""Microseconds that figures look back, and after which nothing follows from an impression any more."""
_MOST = 50_000
"""Newest impressions, and newest targets, that count."""


@dataclass(slots=True, eq=False)
class _Shown:
    """An impression."""

    ts: int
    user_id: Key
    item_id: Key
    answer: str | None
    placement: str
    clicked: bool = False


@dataclass(slots=True)
class _User:
    """What was shown to a user: times in order, and the impressions of each item in order of time."""

    times: list[int] = field(default_factory=list[int])
    items: dict[Key, list[_Shown]] = field(default_factory=dict[Key, list[_Shown]])


@dataclass(slots=True)
class _Sums:
    """Counts of a placement within the window."""

    shown: int = 0
    clicked: int = 0
    targets: int = 0


@dataclass(frozen=True)
class LiveFigures:
    """The figures of a placement; NaN where there is nothing to divide by.

    Attributes:
        impressions: within the window.
        precision: share of them from which an event followed.
        recall: targets that followed from them, as a share of all targets by users to whom anything was shown.
    """

    impressions: int
    precision: float
    recall: float


class LiveFeedback:
    """Attributes events as they arrive, and forgets what is older than the window. One for each worker.

    Args:
        window: microseconds.
        most: newest impressions, and newest targets, that count.
    """

    def __init__(self, window: int = WINDOW, most: int = _MOST) -> None:
        self._window, self._most = window, most
        self._users: dict[Key, _User] = {}
        self._sums: defaultdict[str, _Sums] = defaultdict(_Sums)
        self._impressions: list[tuple[int, int, _Shown]] = []
        self._targets: list[tuple[int, int, str | None]] = []
        self._added = 0

    @property
    def targets(self) -> int:
        """Targets within the window, by users to whom anything was shown."""
        return len(self._targets)

    def refresh(
        self, news: Iterable[Event], now: int, label: Callable[[str | None], str], target_types: Collection[str]
    ) -> dict[str, LiveFigures]:
        """Add events that have arrived; returns the figures of each placement that was ever among them.

        Args:
            news: in any order; an impression that arrives later than what followed from it is too late.
            now: microseconds since 1970, UTC.
            label: the label of a placement, of which there are few.
            target_types: types of events that recommendations should cause.
        """
        # At one instant, what was shown comes before what followed.
        for event in sorted(news, key=lambda event: (event.ts, event.event_type != IMPRESSION)):
            if event.ts <= now - 2 * self._window or event.event_type == DISLIKE:
                continue
            # After a start, what has arrived goes back further than the window of the oldest event in it.
            self._forget(event.ts - self._window)
            if event.event_type == IMPRESSION:
                self._show(event, label(event.placement))
            else:
                self._follow(event, event.event_type in target_types)
        self._forget(now - self._window)
        wanted = len(self._targets)
        return {
            placement: LiveFigures(sums.shown, _ratio(sums.clicked, sums.shown), _ratio(sums.targets, wanted))
            for placement, sums in self._sums.items()
        }

    def _show(self, event: Event, placement: str) -> None:
        shown = _Shown(event.ts, event.user_id, event.item_id, event.recommendation_id, placement)
        user = self._users.setdefault(event.user_id, _User())
        insort(user.times, shown.ts)
        insort(user.items.setdefault(event.item_id, []), shown, key=_time)
        self._sums[placement].shown += 1
        self._added += 1
        heappush(self._impressions, (shown.ts, self._added, shown))

    def _follow(self, event: Event, target: bool) -> None:
        user = self._users.get(event.user_id)
        before = bisect_right(user.times, event.ts) if user else 0
        if user is None or not before or event.ts - user.times[before - 1] >= self._window:
            return  # nothing was shown to them
        shown = self._last(user.items.get(event.item_id, []), event)
        if shown is not None and not shown.clicked:
            shown.clicked = True
            self._sums[shown.placement].clicked += 1
        if target:
            if shown is not None:
                self._sums[shown.placement].targets += 1
            self._added += 1
            heappush(self._targets, (event.ts, self._added, shown.placement if shown else None))

    def _last(self, impressions: list[_Shown], event: Event) -> _Shown | None:
        """The impression that an event follows from."""
        for shown in reversed(impressions[: bisect_right(impressions, event.ts, key=_time)]):
            if event.ts - shown.ts >= self._window:
                return None
            if event.recommendation_id in (None, shown.answer):
                return shown
        return None

    def _forget(self, until: int) -> None:
        """Drop what is not later than an instant, and the oldest of what is too much."""
        while self._impressions and (self._impressions[0][0] <= until or len(self._impressions) > self._most):
            _, _, shown = heappop(self._impressions)
            sums, user = self._sums[shown.placement], self._users[shown.user_id]
            sums.shown -= 1
            sums.clicked -= shown.clicked
            del user.times[0]
            user.items[shown.item_id].remove(shown)
            if not user.items[shown.item_id]:
                del user.items[shown.item_id]
            if not user.items:
                del self._users[shown.user_id]
        while self._targets and (self._targets[0][0] <= until or len(self._targets) > self._most):
            _, _, placement = heappop(self._targets)
            if placement is not None:
                self._sums[placement].targets -= 1


def _time(shown: _Shown) -> int:
    return shown.ts


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
