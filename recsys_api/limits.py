"""Middlewares (plain ASGI): size and compression of request bodies, request ids, origins of browsers."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

from fastapi import FastAPI, HTTPException
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_api.problems import MEDIA_TYPE, REQUEST_ID, problem_body
from recsys_api.random_bits import random_bits
from recsys_api.settings import Settings

CLOSED = "connection_closed"
"""Name in the state of the lifespan: it is called with the reason of each connection that the server closes."""
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
ID_HEADER = REQUEST_ID.lower().encode()
_OF_BODIES = frozenset({b"content-length", b"transfer-encoding"})
_GZIP = 16 + zlib.MAX_WBITS


def add_limits(app: FastAPI, settings: Settings) -> None:
    """Add the middlewares of this module; the last one added is the first that a request meets."""
    app.add_middleware(BodyLimit, most=settings.api_max_body_bytes)
    if origins := settings.list_of(settings.api_cors_origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type", "Content-Encoding", REQUEST_ID],
            expose_headers=[REQUEST_ID, "Retry-After"],
        )
    app.add_middleware(RequestId)


def request_id_of(given: bytes) -> str:
    """The id of a request: what the caller gives, if that is sane, else one of our own.

    Args:
        given: the value of the header; empty if there is none.
    """
    text = given.decode("latin-1")
    return text if text and _SANE_ID.fullmatch(text) else f"{random_bits(64):016x}"


class RequestId:
    """Names each request: by the caller's ``X-Request-ID`` if it is sane, else by one of our own.

    The id is in ``request.state.request_id`` and in the answer's header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == ID_HEADER), b"")
        request_id = request_id_of(given)
        scope.setdefault("state", {})["request_id"] = request_id
        header = (ID_HEADER, request_id.encode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append(header)
            await send(message)

        await self._app(scope, receive, named)


class BodyLimit:
    """Refuses bodies that are too large (413), and unpacks those with ``Content-Encoding: gzip`` (others: 415).

    The limit holds for what is received and for what it unpacks to, whether or not the length is announced; no more
    than that is ever unpacked.

    Args:
        app: what answers.
        most: bytes.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or not any(name in _OF_BODIES for name, _ in scope["headers"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length, encoding = headers.get("content-length"), headers.get("content-encoding", "identity").strip().lower()
        if length in (None, "0") and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        if length is not None and int(length) > self._most:
            await _refuse(scope, send, 413, self._too_large)
            return
        if encoding == "identity":
            await self._app(scope, self._counted(receive), send)
        elif encoding in ("gzip", "x-gzip"):
            plain = [
                (name, value)
                for name, value in scope["headers"]
                if name not in (b"content-encoding", b"content-length", b"transfer-encoding")
            ]
            # The length is not known any more, and the body is not empty. The scope stays the same object: middlewares
            # further out read from it which route answered.
            scope["headers"] = [*plain, (b"transfer-encoding", b"chunked")]
            await self._app(scope, self._unpacked(self._counted(receive)), send)
        else:
            await _refuse(scope, send, 415, "Content-Encoding: expected gzip or none", ((b"accept-encoding", b"gzip"),))

    @property
    def _too_large(self) -> str:
        return f"the body may have at most {self._most} bytes (RECSYS_API_MAX_BODY_BYTES), before and after unpacking"

    def _counted(self, receive: Receive) -> Receive:
        """Receives until there is too much."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                # The rest is not read, so the connection cannot be used again.
                raise HTTPException(413, self._too_large, headers={"Connection": "close"})
            return message

        return counted

    def _unpacked(self, receive: Receive) -> Receive:
        unpacker, unpacked = zlib.decompressobj(_GZIP), 0

        async def plain() -> Message:
            nonlocal unpacker, unpacked
            message = await receive()
            if message["type"] != "http.request":
                return message
            parts: list[bytes] = []
            packed, last = message.get("body", b""), not message.get("more_body", False)
            while packed:
                if unpacker.eof:  # gzip files may be joined
                    unpacker = zlib.decompressobj(_GZIP)
                try:
                    parts.append(unpacker.decompress(packed, self._most - unpacked + 1))
                except zlib.error:
                    raise HTTPException(400, "the body is not gzip, as Content-Encoding says") from None
                unpacked += len(parts[-1])
                if unpacked > self._most:
                    raise HTTPException(413, self._too_large, headers={"Connection": "close"})
                packed = unpacker.unconsumed_tail or unpacker.unused_data
            if last and not unpacker.eof:
                raise HTTPException(400, "the body ends in the middle of its gzip stream")
            return {**message, "body": b"".join(parts)}

        return plain


async def _refuse(
    scope: Scope, send: Send, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a problem document; the body of the request is not read."""
    body = problem_body(status, detail, scope.get("state", {}).get("request_id"))
    described = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body})
