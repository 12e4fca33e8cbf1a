"""What users did: posting it, reading it, and forgetting a user."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from starlette.datastructures import State

from recsys_api.events.edge import NewEvent, Terms, read_events
from recsys_api.events.event import as_json, iso, now_micros
from recsys_api.events.store import EventStore
from recsys_api.ids import parse_id
from recsys_api.models import EventsAdded, UserDeleted, UserEvents
from recsys_api.posted import JSON, JSON_LINES, media_type_of
from recsys_api.problems import responses, without_paths
from recsys_api.responses import UNAVAILABLE, json_response, serving
from recsys_api.security import NEEDS_KEY, given_key, may_write
from recsys_api.settings import Settings
from recsys_api.snapshot import Snapshot
from recsys_assets.storage.erasure_requests import ErasureRequest, write_request
from recsys_assets.storage.retries import BRIEF
from recsys_assets.storage.uri import open_store

logger = logging.getLogger("uvicorn.recsys.events")
router = APIRouter(tags=["events"], dependencies=[Depends(may_write)], responses={**NEEDS_KEY, **UNAVAILABLE})

_EVENT = NewEvent.model_json_schema()
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "an event, a list of events, or a line of JSON for each event; also with Content-Encoding: gzip",
        "content": {
            JSON: {"schema": {"anyOf": [_EVENT, {"type": "array", "items": _EVENT, "minItems": 1}]}},
            JSON_LINES: {"schema": {"type": "string"}},
        },
    }
}


def events_store(request: Request) -> EventStore:
    """The application's store of events.

    Raises:
        HTTPException: 503 with the reason, if there is none.
    """
    state = request.app.state
    if state.events is None:
        problem = without_paths(state.events_problem, state.settings)
        raise HTTPException(503, f"events cannot be stored: {problem}", headers={"Retry-After": "30"})
    return state.events


@router.post(
    "/events",
    response_model=EventsAdded,
    responses=responses(400, 413, 415, 422, 507),
    openapi_extra=_BODY,
    summary="Post events",
)
async def post_events(request: Request) -> Response:
    """Store one event or many; they are durable when the answer comes.

    It is safe to repeat a request whose events name their ids: an event that is known already is counted as a duplicate
    and changes nothing. Where one event of a list cannot be used, the answer names its `index` and field, and nothing
    of the list is stored. A full disk is a 507; everything but storing goes on then.
    """
    return await answer_post(request)


async def answer_post(request: Request) -> Response:
    """Answer ``POST /events``, the key included.

    The application calls it by a plain route, which costs a third of the time: FastAPI's stands in the document.
    """
    request.app.state.write_keys.check(given_key(request.headers))
    store, snapshot = events_store(request), serving(request)
    media_type = media_type_of(request, JSON, JSON_LINES)
    return json_response(await add_events(request.app.state, store, snapshot, await request.body(), media_type))


async def add_events(
    state: State, store: EventStore, snapshot: Snapshot, body: bytes, media_type: str
) -> dict[str, Any]:
    """Store the events of a body; returns the answer, which ``models.EventsAdded`` states.

    Raises:
        InvalidFieldsError: events cannot be used.
        StoreError: they cannot be stored.
    """
    settings: Settings = state.settings
    now = now_micros()
    terms = Terms(
        snapshot.user_ids,
        snapshot.item_ids,
        snapshot.event_types,
        now,
        now - settings.events_retention_days * 86_400_000_000,
        settings.api_max_events,
    )
    events = read_events(body, media_type, terms)
    added = await store.add(events)
    state.posted.count(snapshot, events, added.new)
    return {
        "accepted": added.accepted,
        "duplicates": added.duplicates,
        "event_ids": [event.event_id for event in events],
    }


@router.get("/events/{user_id:id}", response_model=UserEvents, responses=responses(422), summary="Events of a user")
async def user_events(
    request: Request,
    user_id: Annotated[str, Path(description="the user, percent-encoded", examples=["1150086"])],
    limit: Annotated[int, Query(ge=1, le=1000, description="most events to return")] = 100,
) -> Response:
    """What a user did, newest first: events that were posted here and are not forgotten yet.

    A user without events has an empty list.
    """
    store, snapshot = events_store(request), serving(request)
    user = parse_id(user_id, snapshot.user_ids, "user_id")
    return json_response({"user_id": user, "events": [as_json(event) for event in await store.of_user(user, limit)]})


@router.delete("/users/{user_id:id}", response_model=UserDeleted, responses=responses(422), summary="Forget a user")
async def delete_user(
    request: Request,
    user_id: Annotated[str, Path(description="the user, percent-encoded", examples=["1150086"])],
) -> Response:
    """Delete a user's events, hide the user's lists from the next answer on, and ask the graph to erase the person.

    The graph's job `erase_user` then removes the person from all that was built. Events that are posted afterwards
    are a new beginning. It is safe to repeat the request.
    """
    store, snapshot = events_store(request), serving(request)
    user = parse_id(user_id, snapshot.user_ids, "user_id")
    deleted = await store.delete_user(user)
    settings: Settings = request.app.state.settings
    erasure = ErasureRequest(user, iso(now_micros()))
    try:
        key = await asyncio.to_thread(lambda: write_request(open_store(settings.storage_uri, retries=BRIEF), erasure))
    except Exception as error:
        request.app.state.metrics.error("erasure")
        logger.exception("a request to erase a user could not be written")
        detail = "the user is hidden and the events are deleted, but the request to erase could not be written: repeat"
        raise HTTPException(503, detail, headers={"Retry-After": "10"}) from error
    return json_response({"user_id": user, "deleted_events": deleted, "erasure_request": key})
