"""From a request to its answer: what is known of the visitor, the items, and how each came there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from starlette.datastructures import State

from recsys_api.composing import Wanted, compose
from recsys_api.events.event import Event, as_json, new_id, now_micros
from recsys_api.events.store import EventStore, StoreError
from recsys_api.gathering import DEPTH
from recsys_api.metrics import Metrics
from recsys_api.online import ENSEMBLE, SESSIONS, SIMILAR
from recsys_api.rules import Placed
from recsys_api.snapshot import Snapshot
from recsys_api.visitor import Quiet, Visitor
from recsys_assets.storage.explanations import Explanation
from recsys_assets.storage.lists import Key

_EVENTS = 200
"""Newest events of a visitor that a request reads."""
_HISTORY = 200
"""Newest items of a released history that a request reads."""
_EXPLAINED_EVENTS = 5


class Asking(NamedTuple):
    """Who asks.

    Attributes:
        user: whose lists of the release count; None for a visit without a user, and for one who was deleted.
        visitor: what is known of them.
        problem: why their events could not be read; None if they could.
    """

    user: Key | None
    visitor: Visitor
    problem: str | None = None


async def who_asks(state: State, snapshot: Snapshot, user: Key | None, seen: Collection[Key] = ()) -> Asking:
    """What is known of a user at this moment.

    Args:
        state: of the application, with its store of events.
        snapshot: the release.
        user: None for a visit without a user.
        seen: items that the request names as seen, in order of time.
    """
    if user is None:
        return Asking(None, Visitor.of([], [], snapshot.rules, seen))
    store: EventStore | None = state.events
    events: Sequence[Event] = []
    problem, deleted = None, False
    if store is not None and store.may_know(user):
        try:
            events, deleted = await store.history(user, _EVENTS)
        except StoreError as error:
            problem = str(error)
    if deleted:
        return Asking(None, Visitor.of([], events, snapshot.rules, seen), problem)
    read = partial(snapshot.user_histories.get, user, _HISTORY)
    if not events and not seen:
        return Asking(user, Quiet(read, snapshot.rules), problem)
    return Asking(user, Visitor.of(read(), events, snapshot.rules, seen), problem)


async def recommend(
    state: State, snapshot: Snapshot, user: Key | None, wanted: Wanted, seen: Sequence[Key] = (), *, explain: bool
) -> dict[str, Any]:
    """The answer to a request for recommendations, as JSON: ``models.Recommendations`` states it.

    Args:
        state: of the application, with its store of events.
        snapshot: the release.
        user: None for a visit without a user.
        wanted: what is asked for.
        seen: items that the request names as seen, in order of time.
        explain: whether each item says why it is there.
    """
    asking = await who_asks(state, snapshot, user, seen)
    composed = compose(snapshot, asking.user, asking.visitor, wanted, now_micros(), state.live.now(snapshot))
    fallbacks = composed.fallbacks
    metrics: Metrics = state.metrics
    if asking.problem is not None:
        fallbacks = {**fallbacks, "events_unavailable": len(composed.items)}
        metrics.error("events")
    metrics.answer(
        composed.mode,
        [placed[0][2] for placed in composed.items],
        wanted.k,
        fallbacks,
        cold=composed.mode == "fallback" and not asking.visitor.clicks,
        offline=composed.offline,
    )
    items: list[dict[str, Any]] = [
        {"item_id": item_id, "score": score, "rank": rank, "source": source}
        for rank, ((item_id, score, source), _) in enumerate(composed.items, wanted.offset + 1)
    ]
    if explain or wanted.rules or snapshot.placements.rules:
        reasons = _Reasons(snapshot, asking) if explain else None
        for item, placed in zip(items, composed.items, strict=True):
            if placed.rules:
                item["rules"] = placed.rules
            if reasons is not None:
                item["why"] = reasons.of(placed)
    facts = snapshot.manifest.facts
    return {
        "recommendation_id": new_id(),
        "release_id": snapshot.release_id,
        "as_of": snapshot.as_of,
        "model": facts.get("model") or facts.get("served_by"),
        "user_id": user,
        "mode": composed.mode,
        "personalised": composed.mode != "fallback",
        "fallbacks": fallbacks,
        "items": items,
    }


class _Reasons:
    """Why items are in an answer: what all of them share is read once."""

    def __init__(self, snapshot: Snapshot, asking: Asking) -> None:
        own = [] if asking.user is None else snapshot.recommendations.get(asking.user, DEPTH)
        self._visitor = asking.visitor
        self._places = {row[0]: place for place, row in enumerate(own, 1)}
        self._explained = [] if asking.user is None else snapshot.explained(asking.user)
        self._similar = {
            seed: {row[0] for row in snapshot.similar_items.get(seed, DEPTH)} for seed in asking.visitor.clicks
        }

    def of(self, placed: Placed) -> dict[str, Any]:
        """The item's place in the list of last night and how it came there, and the clicks and events behind it."""
        item, source, visitor = placed.candidate.item_id, placed.candidate.source, self._visitor
        seeds: list[Key] = []
        if source == SIMILAR:
            seeds = [seed for seed, items in self._similar.items() if item in items]
        elif source in (SESSIONS, ENSEMBLE) and item not in self._places:
            seeds = list(visitor.clicks)
        last = list(dict.fromkeys(reversed(seeds)))[:_EXPLAINED_EVENTS]
        events = [as_json(event) for event in visitor.events if event.item_id in last][:_EXPLAINED_EVENTS]
        place = self._places.get(item)
        return {
            **(_NOT_EXPLAINED if place is None else self._offline(place)),
            "offline_rank": place,
            "because_of": last,
            "events": events,
            "rules": list(placed.rules),
        }

    def _offline(self, place: int) -> Mapping[str, Any]:
        """Why an item has its place in the list of last night, as far as the release says."""
        if place > len(self._explained):
            return _NOT_EXPLAINED
        explained = self._explained[place - 1]
        return {**explained._asdict(), "features": [feature._asdict() for feature in explained.features]}


_NOT_EXPLAINED: Mapping[str, Any] = dict.fromkeys(Explanation._fields)
