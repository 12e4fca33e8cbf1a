"""``GET /recommendations/{user_id}`` ahead of FastAPI, whose way to the handler costs several times the answer.

This takes the requests whose parameters can be read at a glance and that get an answer. All others, and every error,
are left to FastAPI's route, which says what is wrong and describes both in the OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys_api.answering import recommend
from recsys_api.bodies import Parameters, wanted_of
from recsys_api.composing import Wanted
from recsys_api.ids import parse_id
from recsys_api.problems import InvalidFieldsError
from recsys_api.responses import serving
from recsys_api.routes.recommendations import router
from recsys_api.snapshot import Snapshot
from recsys_assets.core.placements.expressions import FilterError

_PREFIX = "/recommendations/"
_ROUTE = next(route for route in router.routes if getattr(route, "path", "").startswith(f"{_PREFIX}{{user_id"))
_NUMBER = re.compile("0|[1-9][0-9]{0,2}", re.ASCII)
_FLAGS = {"true": True, "false": False}
_MOST_EXCLUDED = 1000
_KEPT, _LONGEST_KEPT = 1000, 500
"""Most query strings of which it is kept what they want, and their longest length."""


class PlainRecommendations:
    """Answers what it can, and leaves the rest to the application.

    Args:
        app: the application, from its routes on.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._kept: dict[bytes, tuple[Wanted, bool]] = {}
        self._kept_for = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = None
        if scope["type"] == "http" and scope["method"] == "GET" and not scope.get("root_path"):
            path: str = scope["path"]
            if path.startswith(_PREFIX) and len(path) > len(_PREFIX):
                body = await self._answer(scope, path[len(_PREFIX) :])
        if body is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, user_id: str) -> bytes | None:
        """The body; None where FastAPI's route has to answer."""
        request = Request(scope)
        try:
            snapshot = serving(request)
            asked = self._asked(snapshot, scope["query_string"])
            if asked is None:
                return None
            user = parse_id(user_id, snapshot.user_ids, "user_id")
            wanted, explain = asked
            answer = await recommend(request, snapshot, user, wanted, explain=explain)
        except (HTTPException, InvalidFieldsError, FilterError):
            return None
        # As the router does for those who look at the route afterwards.
        scope["route"], scope["path_params"] = _ROUTE, {"user_id": user_id}
        return orjson.dumps(answer)

    def _asked(self, snapshot: Snapshot, query: bytes) -> tuple[Wanted, bool] | None:
        """What a query string wants, and whether it asks for reasons; None if it cannot be read at a glance.

        The same query strings come again and again: what they want is kept as long as the release is served.

        Raises:
            InvalidFieldsError: a parameter does not fit the release.
        """
        if self._kept_for != snapshot.release_id or len(self._kept) >= _KEPT:
            self._kept, self._kept_for = {}, snapshot.release_id
        known = self._kept.get(query)
        if known is not None:
            return known
        parameters = _read(query, snapshot.item_ids)
        if parameters is None:
            return None
        asked = wanted_of(snapshot, parameters), parameters.explain
        if len(query) <= _LONGEST_KEPT:
            self._kept[query] = asked
        return asked


def _read(query: bytes, item_ids: str) -> Parameters | None:
    """The parameters of a query string; None if one is unknown, stated twice or not in its plainest form."""
    values: dict[str, Any] = {}
    excluded: list[str] = []
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name == "exclude":
            excluded.append(text)
        elif name in values or name not in _READERS:
            return None
        else:
            values[name] = _READERS[name](text)
    if None in values.values() or len(excluded) > _MOST_EXCLUDED:
        return None
    items = [parse_id(item, item_ids, "exclude") for item in excluded]
    try:
        return Parameters(**values, exclude=items)
    except ValueError:
        return None


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _text(text: str) -> str | None:
    return text or None


_READERS: dict[str, Callable[[str], object]] = {
    "k": _number,
    "offset": _number,
    "mode": _text,
    "placement": _text,
    "category": _text,
    "exclude_seen": _FLAGS.get,
    "filter": _text,
    "explain": _FLAGS.get,
}
