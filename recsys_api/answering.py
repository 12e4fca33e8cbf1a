"""From a request to its answer: what is known of the visitor, the items, and how each came there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import Request

from recsys_api.composing import Composed, Wanted, compose
from recsys_api.events.event import Event, as_json, new_event_ids, now_micros
from recsys_api.events.store import EventStore, StoreError
from recsys_api.online import ENSEMBLE, SESSIONS, SIMILAR
from recsys_api.rules import Placed
from recsys_api.snapshot import Snapshot
from recsys_api.visitor import Visitor
from recsys_assets.storage.lists import Key

logger = logging.getLogger("uvicorn.recsys")

_EVENTS = 200
"""Newest events of a visitor that a request reads."""
_HISTORY = 200
"""Newest items of a released history that a request reads."""
_EXPLAINED_EVENTS = 5


async def visitor_of(
    request: Request, snapshot: Snapshot, user: Key | None, seen: Iterable[Key] = ()
) -> tuple[Visitor, str | None]:
    """What is known of a visitor, and why their events could not be read, if so.

    Args:
        request: whose application has the store of events.
        snapshot: the release.
        user: None for a visitor without an id.
        seen: items that the request names as seen, in order of time.
    """
    if user is None:
        return Visitor.of([], [], snapshot.rules, seen), None
    store: EventStore | None = request.app.state.events
    events: Sequence[Event] = []
    released = snapshot.user_histories.get(user, _HISTORY)
    problem = None
    if store is not None:
        try:
            events = await store.of_user(user, _EVENTS)
            if await store.deleted(user):
                released = []
        except StoreError as error:
            problem = str(error)
    return Visitor.of(released, events, snapshot.rules, seen), problem


async def recommend(
    request: Request, snapshot: Snapshot, user: Key | None, wanted: Wanted, seen: Sequence[Key] = (), *, explain: bool
) -> dict[str, Any]:
    """The answer to a request for recommendations, as JSON.

    Args:
        request: whose application has the store of events.
        snapshot: the release.
        user: None for a visitor without an id.
        wanted: what is asked for.
        seen: items that the request names as seen, in order of time.
        explain: whether each item says why it is there.
    """
    visitor, problem = await visitor_of(request, snapshot, user, seen)
    store: EventStore | None = request.app.state.events
    hidden = user is not None and store is not None and problem is None and await store.deleted(user)
    composed = compose(snapshot, None if hidden else user, visitor, wanted, now_micros())
    return answer_of(snapshot, composed, visitor, user, wanted, explain=explain, problem=problem)


def answer_of(
    snapshot: Snapshot,
    composed: Composed,
    visitor: Visitor,
    user: Key | None,
    wanted: Wanted,
    *,
    explain: bool,
    problem: str | None,
) -> dict[str, Any]:
    """An answer as JSON, as ``models.Recommendations`` states it."""
    facts = snapshot.manifest.facts
    fallbacks = dict(composed.fallbacks)
    if problem is not None:
        fallbacks["events_unavailable"] = len(composed.items)
    return {
        "recommendation_id": next(new_event_ids(1)),
        "release_id": snapshot.release_id,
        "as_of": snapshot.as_of,
        "model": facts.get("model") or facts.get("served_by"),
        "user_id": user,
        "mode": composed.mode,
        "personalised": composed.mode != "fallback",
        "fallbacks": fallbacks,
        "items": [
            _item(rank, placed, snapshot, visitor, user, explain=explain)
            for rank, placed in enumerate(composed.items, wanted.offset + 1)
        ],
    }


def _item(
    rank: int, placed: Placed, snapshot: Snapshot, visitor: Visitor, user: Key | None, *, explain: bool
) -> dict[str, Any]:
    candidate = placed.candidate
    item: dict[str, Any] = {
        "item_id": candidate.item_id,
        "score": candidate.score,
        "rank": rank,
        "source": candidate.source,
    }
    if placed.rules:
        item["rules"] = placed.rules
    if explain:
        item["why"] = _why(placed, snapshot, visitor, user)
    return item


def _why(placed: Placed, snapshot: Snapshot, visitor: Visitor, user: Key | None) -> dict[str, Any]:
    """What brought an item: its place in the list of last night, and the clicks and events that models started from."""
    item, source = placed.candidate.item_id, placed.candidate.source
    own = [] if user is None else snapshot.recommendations.get(user, 100)
    places = {row[0]: place for place, row in enumerate(own, 1)}
    seeds: list[Key] = []
    if source == SIMILAR:
        seeds = [
            seed for seed in visitor.clicks if any(row[0] == item for row in snapshot.similar_items.get(seed, 100))
        ]
    elif source in (SESSIONS, ENSEMBLE):
        seeds = list(visitor.clicks)
    last = list(dict.fromkeys(reversed(seeds)))[:_EXPLAINED_EVENTS]
    events = [as_json(event) for event in visitor.events if event.item_id in last][:_EXPLAINED_EVENTS]
    return {"offline_rank": places.get(item), "because_of": last, "events": events, "rules": list(placed.rules)}
