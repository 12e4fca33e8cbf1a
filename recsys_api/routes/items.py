"""Changes of the catalogue that cannot wait for the night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response

from recsys_api.events.event import iso, now_micros
from recsys_api.events.item_change import ItemChange
from recsys_api.following import follow_items
from recsys_api.ids import parse_id
from recsys_api.items.edge import fields_schema, item_schema, read_item, read_items
from recsys_api.models import ItemsChanged
from recsys_api.posted import JSON, JSON_LINES, media_type_of
from recsys_api.problems import responses
from recsys_api.responses import UNAVAILABLE, json_response, serving
from recsys_api.routes.events import events_store
from recsys_api.security import NEEDS_KEY, may_write
from recsys_api.settings import Settings

router = APIRouter(tags=["catalogue"], dependencies=[Depends(may_write)], responses={**NEEDS_KEY, **UNAVAILABLE})

_ITEM = item_schema()
_ERRORS = responses(400, 413, 415, 422, 507)


def _body(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "description": description, "content": content}}


@router.put(
    "/items/{item_id:id}",
    response_model=ItemsChanged,
    responses=_ERRORS,
    openapi_extra=_body("what is so of the item from now on", {JSON: {"schema": fields_schema()}}),
    summary="Change an item",
)
async def put_item(
    request: Request,
    item_id: Annotated[str, Path(description="the item, percent-encoded", examples=["187946"])],
) -> Response:
    """Change the availability, price, category, brand or title of an item. Fields that are absent stay as they are.

    The change is durable when the answer comes, and every answer of this worker knows it from then on; other workers
    follow within two seconds. It goes to the graph as a file of the landing zone, and a release that was made later
    has it. It is safe to repeat the request.

    An item that the release does not know is known from now on to `GET /items`, filters and pins. It enters lists when
    the graph has learned of it, by what users do with it.
    """
    snapshot = serving(request)
    media_type_of(request, JSON)
    item = parse_id(item_id, snapshot.item_ids, "item_id")
    return await _change(request, read_item(item, await request.body(), now_micros()))


@router.put(
    "/items",
    response_model=ItemsChanged,
    responses=_ERRORS,
    openapi_extra=_body(
        "an item, a list of items, or a line of JSON for each item; also with Content-Encoding: gzip",
        {
            JSON: {"schema": {"anyOf": [_ITEM, {"type": "array", "items": _ITEM, "minItems": 1}]}},
            JSON_LINES: {"schema": {"type": "string"}},
        },
    ),
    summary="Change several items",
)
async def put_items(request: Request) -> Response:
    """Change several items, as `PUT /items/{item_id}` changes one. Of an item that comes twice, the last counts.

    Where one item of a list cannot be used, the answer names its `index` and field, and nothing of the list is changed.
    """
    snapshot = serving(request)
    media_type = media_type_of(request, JSON, JSON_LINES)
    settings: Settings = request.app.state.settings
    most = settings.api_max_events
    return await _change(request, read_items(await request.body(), media_type, snapshot.item_ids, most, now_micros()))


async def _change(request: Request, changes: Sequence[ItemChange]) -> Response:
    store = events_store(request)
    stored_at = await store.items.add(changes)
    request.app.state.metrics.item_changes([change.field for change in changes])
    await follow_items(store.items, request.app.state.reloader)
    items = len({change.item_id for change in changes})
    return json_response({"items": items, "changes": len(changes), "ts": iso(stored_at)})
