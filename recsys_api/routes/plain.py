"""The two routes that are asked most, ahead of FastAPI, whose way to a handler costs several times the answer.

This takes ``GET /recommendations/{user_id}`` with parameters that can be read at a glance and that get an answer, and
``POST /events`` with plain JSON. All else is left to FastAPI's routes, which describe both in the OpenAPI document.
The answers are made by the functions that FastAPI's routes call.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qsl

import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from recsys_api.answering import recommend
from recsys_api.bodies import Parameters, wanted_of
from recsys_api.composing import Wanted
from recsys_api.events.store import StoreError
from recsys_api.ids import parse_id
from recsys_api.limits import ID_HEADER, request_id_of
from recsys_api.observing import CLIENT_GONE, Observer
from recsys_api.posted import JSON
from recsys_api.problems import REQUEST_ID, InvalidFieldsError
from recsys_api.routes.events import add_events
from recsys_api.security import given_key
from recsys_api.settings import Settings
from recsys_api.snapshot import Snapshot

_PREFIX = "/recommendations/"
_USER = f"{_PREFIX}{{user_id}}"
_EVENTS = "/events"
_JSON = JSON.encode()
_LEFT = frozenset({b"transfer-encoding", b"content-encoding", b"expect"})
_NUMBER = re.compile("0|[1-9][0-9]{0,2}", re.ASCII)
_FLAGS = {"true": True, "false": False}
_MOST_EXCLUDED = 1000
_KEPT, _LONGEST_KEPT = 1000, 500
"""Most query strings of which it is kept what they want, and their longest length."""


class PlainRoutes:
    """Answers what it can, and leaves the rest to the application and its middlewares.

    Args:
        app: the application.
        observer: counts, logs and traces what is answered here, as it does what the application answers.
        settings: of the application. Where browsers of other origins may call, what they send is left to it.
    """

    def __init__(self, app: FastAPI, observer: Observer, settings: Settings) -> None:
        self._app, self._state, self._observer = app, app.state, observer
        self._most_bytes = settings.api_max_body_bytes
        self._left = _LEFT | {b"origin"} if settings.api_cors_origins else _LEFT
        self._kept: dict[bytes, tuple[Wanted, bool]] = {}
        self._kept_for = ""

    async def answers(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer one request; False if it is left to the application."""
        if scope["type"] != "http" or scope.get("root_path"):
            return False
        path, method = scope["path"], scope["method"]
        if method == "GET" and path.startswith(_PREFIX) and len(path) > len(_PREFIX):
            return await self._recommend(scope, send)
        if method == "POST" and path == _EVENTS:
            return await self._add_events(scope, receive, send)
        return False

    def _headers(self, scope: Scope) -> dict[bytes, bytes] | None:
        """The headers of a request; None if one of them, or one that is repeated, needs the application."""
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]) or not self._left.isdisjoint(headers):
            return None
        return headers

    async def _recommend(self, scope: Scope, send: Send) -> bool:
        started = time.perf_counter()
        headers = self._headers(scope)
        if headers is None or b"content-length" in headers:
            return False
        answer = await self._answer(scope["path"][len(_PREFIX) :], scope["query_string"])
        if answer is None:
            return False
        noted = scope.setdefault("state", {})
        noted["release_id"], noted["mode"] = answer["release_id"], answer["mode"]
        await self._send(scope, send, request_id_of(headers.get(ID_HEADER, b"")), answer)
        self._observer.answered(scope, "GET", _USER, 200, time.perf_counter() - started)
        return True

    async def _add_events(self, scope: Scope, receive: Receive, send: Send) -> bool:
        started = time.perf_counter()
        headers = self._headers(scope)
        store, snapshot = self._state.events, self._state.reloader.current
        if headers is None or store is None or snapshot is None or headers.get(b"content-type") != _JSON:
            return False
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self._most_bytes:
            return False
        try:
            self._state.write_keys.check(given_key(Headers(scope=scope)))
        except HTTPException:
            return False
        body = await _read_body(receive)
        noted = scope.setdefault("state", {})
        noted["release_id"] = snapshot.release_id
        request_id, status = request_id_of(headers.get(ID_HEADER, b"")), CLIENT_GONE
        noted["request_id"] = request_id
        try:
            if body is not None:
                answer = await add_events(self._state, store, snapshot, body, JSON)
                await self._send(scope, send, request_id, answer)
                status = 200
        except (InvalidFieldsError, StoreError) as error:
            # The body is read, so the application cannot take over; its own handlers say what is wrong.
            scope["app"] = self._app
            response = cast(Response, self._app.exception_handlers[type(error)](Request(scope), error))
            response.headers[REQUEST_ID] = request_id
            await response(scope, receive, send)
            status = response.status_code
        self._observer.answered(scope, "POST", _EVENTS, status, time.perf_counter() - started)
        return True

    async def _send(self, scope: Scope, send: Send, request_id: str, answer: object) -> None:
        body = orjson.dumps(answer)
        scope["state"]["request_id"] = request_id
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", _JSON),
            (ID_HEADER, request_id.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, user_id: str, query: bytes) -> dict[str, Any] | None:
        """The answer; None where FastAPI's route has to give it."""
        snapshot: Snapshot | None = self._state.reloader.current
        if snapshot is None:
            return None
        try:
            asked = self._asked(snapshot, query)
            if asked is None:
                return None
            user = parse_id(user_id, snapshot.user_ids, "user_id")
            wanted, explain = asked
            return await recommend(self._state, snapshot, user, wanted, explain=explain)
        except Exception:  # FastAPI's route finds the same, and says what it is
            return None

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


async def _read_body(receive: Receive) -> bytes | None:
    """The body of a request; None if the client left."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


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
