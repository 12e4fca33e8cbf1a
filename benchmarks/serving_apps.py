"""Applications that the API is measured against."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys_api.app import create_app
from recsys_api.events.event import Event
from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import Added
from recsys_api.observing import requests_log

BODY = "SERVING_BODY"
"""The variable that names the file with the bytes that :func:`bare` answers."""


def bare() -> ASGIApp:
    """Answers every request with the same bytes: no more than the server and the protocol cost."""
    body = Path(os.environ[BODY]).read_bytes()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", b"0123456789abcdef"),
    ]
    start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": headers}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send(start)
        await send({"type": "http.response.body", "body": body})

    return app


def quiet() -> FastAPI:
    """The API without its log line per request, which the others do not write either."""
    requests_log.setLevel(logging.WARNING)
    return create_app()


def without_storage() -> FastAPI:
    """The API with a store that takes events and does not keep them, without its log."""

    async def add(self: SqliteEvents, events: Sequence[Event]) -> Added:
        return Added.of([True] * len(events))

    SqliteEvents.add = add
    return quiet()
