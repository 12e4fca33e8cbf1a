"""What is popular right now: the trending items of the release, continued with the events since its day.

The score of an item is that of ``trending`` in the graph, the sum of event weights that halve with the half-life of the
release. Each worker reads the events of all workers from the store and adds them up for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, NamedTuple

from recsys_api.events.event import SIGNALS, Event
from recsys_api.rules import Candidate
from recsys_assets.storage.lists import Key
from recsys_assets.storage.served_lists import TRENDING, TRENDING_FACT

if TYPE_CHECKING:
    from recsys_api.events.store import EventStore
    from recsys_api.snapshot import Snapshot

_MOST_EVENTS = 200_000
"""Newest events that count."""
_BATCH = 10_000
_LENGTH = 500
_LEAST_USERS = 3
"""Fewest users of an item by whose events it gets a place; fewer say too little, and one alone could push an item."""
_DAY = 86_400_000_000


def half_life_of(snapshot: Snapshot) -> float:
    """Days in which the weight of an event halves for what trends; one where the release states none."""
    facts: Mapping[str, Any] = snapshot.manifest.facts
    return float(facts.get(TRENDING_FACT) or 1.0)


def follows_live(fallback: str, half_life: float) -> bool:
    """Whether users who are not known get what trends right now.

    They do where the release would give them its trending items; and where an event counts half within hours, whichever
    list the last nights spoke for: by the next night, neither is of any use (docs/benchmarks.md, "Live popularity").

    Args:
        fallback: the segment that the release states for them.
        half_life: of trending items, days.
    """
    return fallback == TRENDING or lives_hours(half_life)


def lives_hours(half_life: float) -> bool:
    """Whether what is popular changes within the day: an event counts half after less than one.

    Args:
        half_life: of trending items, days.
    """
    return half_life < 1


class Now(NamedTuple):
    """What trends right now.

    Attributes:
        items: best first; none where the list of the release stands.
        for_known: whether they have their places in the answers of known users too.
    """

    items: Sequence[Candidate] = ()
    for_known: bool = False


class Arrivals:
    """Reads what has arrived in a store, each event once, beginning with the newest ones that count."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._cursor = 0

    async def read(self, store: EventStore) -> tuple[list[Event], bool]:
        """The next events after those of the last call, of all workers, and whether more may have arrived.

        They are few enough to be held in memory, however fast events arrive.
        """
        if self._first is None:
            self._first = self._cursor = max(0, await store.last() - _MOST_EVENTS)
        arrived = await store.since(self._cursor, _BATCH)
        if arrived:
            self._cursor = arrived[-1][0]
        return [event for _, event in arrived], len(arrived) == _BATCH

    async def again(self, store: EventStore) -> AsyncGenerator[list[Event]]:
        """The newest of the events that were read, in parts: to keep them would take 100 MB where they are many."""
        last = self._cursor
        sequence = max(self._first or 0, last - _MOST_EVENTS)
        while sequence < last and (arrived := await store.since(sequence, _BATCH)):
            sequence = arrived[-1][0]
            yield [event for number, event in arrived if number <= last]


class LivePopularity:
    """Continues the trending items of the release that is served. One for each worker."""

    def __init__(self) -> None:
        self._sums: LiveSums | None = None
        self._made_for = ""
        self._now = Now()

    def now(self, snapshot: Snapshot) -> Now:
        """What trends now; nothing where unknown users get another list of the release."""
        return self._now if self._made_for == snapshot.release_id else Now()

    async def refresh(
        self, arrived: Sequence[Event], snapshot: Snapshot, now: int, again: Callable[[], AsyncIterable[list[Event]]]
    ) -> None:
        """Reckon the list anew.

        Args:
            arrived: events that are new.
            snapshot: the release that is served.
            now: microseconds since 1970, UTC.
            again: gives all events that count, those that are new among them; called for each release.
        """
        half_life = half_life_of(snapshot)
        if not follows_live(snapshot.fallback, half_life):
            self._sums, self._made_for = None, ""
            return
        if self._sums is None or self._made_for != snapshot.release_id:
            sums = LiveSums(snapshot)
            async for events in again():
                await asyncio.to_thread(sums.add, events, now)
            self._sums = sums
        else:
            sums = self._sums
            await asyncio.to_thread(sums.add, arrived, now)
        trending = await asyncio.to_thread(sums.trending, now)
        # Where nothing is posted, nothing speaks against the list that the release states.
        speaks = snapshot.fallback == TRENDING or sums.moved
        items = snapshot.online.available(trending) if speaks else ()
        self._now = Now(items, sums.moved and lives_hours(half_life))
        self._made_for = snapshot.release_id


class LiveSums:
    """Sums of what happened since the day of a release.

    Args:
        snapshot: the release.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._half_life = half_life_of(snapshot) * _DAY
        self._end, self._weights = snapshot.rules.end, snapshot.rules.weights
        self._released = {item: score for item, score, _ in snapshot.top_popular.get(TRENDING, _LENGTH)}
        self._added: dict[Key, float] = {}
        self._users: dict[Key, set[Key]] = {}

    def add(self, events: Iterable[Event], now: int) -> None:
        """Add events.

        Args:
            events: in any order; those of the release's days are part of its list already.
            now: microseconds since 1970, UTC.
        """
        for event in events:
            if event.ts >= self._end and event.event_type not in SIGNALS:
                # As of the end of the day: what is later weighs more, by as much as it has decayed less.
                weight = self._weights.get(event.event_type, 0.0) * self._growth(min(event.ts, now))
                self._added[event.item_id] = self._added.get(event.item_id, 0.0) + weight
                users = self._users.setdefault(event.item_id, set())
                if len(users) < _LEAST_USERS:
                    users.add(event.user_id)

    def trending(self, now: int) -> list[Candidate]:
        """The items that trend at a moment, best first."""
        scores = dict(self._released)
        for item, weight in self._added.items():
            if len(self._users[item]) >= _LEAST_USERS:
                scores[item] = scores.get(item, 0.0) + weight
        decayed = 1.0 / self._growth(now)
        best = nsmallest(_LENGTH, scores.items(), key=lambda row: (-row[1], str(row[0])))
        return [Candidate(item, score * decayed, TRENDING) for item, score in best if score > 0]

    @property
    def moved(self) -> bool:
        """Whether any item has a place by what happened since."""
        return any(len(users) >= _LEAST_USERS for users in self._users.values())

    def _growth(self, ts: int) -> float:
        return 2.0 ** min(500.0, max(0.0, (ts - self._end) / self._half_life))
