"""Connections of clients that are too slow, too many or too talkative: each is closed, told why, and counted.

Uvicorn bounds the time between two requests. What a request may take to arrive, how long its head may be and how many
connections there may be is bounded here, so that clients cannot hold all descriptors or fill the memory.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from recsys_api.limits import CLOSED
from recsys_api.problems import MEDIA_TYPE, problem_body
from recsys_api.settings import Settings

logger = logging.getLogger("uvicorn.recsys.connections")

Reason = Literal["late_head", "late_body", "slow_reader", "long_head", "too_many", "too_many_of_client"]
_ANSWERS: dict[Reason, tuple[int, str]] = {
    "late_head": (408, "the request line and headers took too long to arrive (RECSYS_API_HEADER_SECONDS)"),
    "late_body": (408, "the body took too long to arrive (RECSYS_API_BODY_SECONDS)"),
    "long_head": (431, "the request line and headers are too long (RECSYS_API_MAX_HEADER_BYTES)"),
    "too_many": (503, "too many connections (RECSYS_API_MAX_CONNECTIONS)"),
    "too_many_of_client": (503, "too many connections of one address (RECSYS_API_MAX_CLIENT_CONNECTIONS)"),
}
_FILES = 200
"""Descriptors that are left for files, stores and the event loop."""
_SWEEP_SECONDS = 0.5
_REPORT_SECONDS = 60.0


@dataclass
class Connections:
    """The connections of a worker, and what each may take.

    Attributes:
        header_seconds: within which the head of a request must be there, from its first byte on or from the connection.
        body_seconds: within which its body must be there, and in which a client must go on reading its answer.
        header_bytes: of a head.
        most: connections.
        most_of_client: of one address.
    """

    header_seconds: float
    body_seconds: float
    header_bytes: int
    most: int
    most_of_client: int
    open: set[LimitedConnection] = field(default_factory=set["LimitedConnection"])
    clients: Counter[str] = field(default_factory=Counter[str])
    _closed: Counter[Reason] = field(default_factory=Counter[Reason])
    _sweeping: bool = False
    _reported: float = -_REPORT_SECONDS

    @staticmethod
    def of(settings: Settings) -> Connections:
        """As the settings say, but never so many that descriptors run out, or that one client takes them all."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        room = settings.api_max_connections
        if descriptors != resource.RLIM_INFINITY:
            room = max(1, min(room, descriptors - _FILES if descriptors > 2 * _FILES else descriptors // 2))
        return Connections(
            settings.api_header_seconds,
            settings.api_body_seconds,
            settings.api_max_header_bytes,
            room,
            min(settings.api_max_client_connections, max(1, room * 3 // 4)),
        )

    def too_many(self, client: str | None) -> Reason | None:
        """Why one more connection of an address is too many; None if it is not."""
        if len(self.open) >= self.most:
            return "too_many"
        return "too_many_of_client" if client is not None and self.clients[client] >= self.most_of_client else None

    def add(self, connection: LimitedConnection, client: str | None) -> None:
        """Take a connection in."""
        self.open.add(connection)
        if client is not None:
            self.clients[client] += 1
        if not self._sweeping:
            self._sweeping = True
            connection.loop.call_later(_SWEEP_SECONDS, self._sweep, connection.loop)

    def remove(self, connection: LimitedConnection, client: str | None) -> None:
        """Let go of a connection."""
        if connection in self.open:
            self.open.discard(connection)
            if client is not None:
                self.clients[client] -= 1
                if not self.clients[client]:
                    del self.clients[client]

    def count(self, reason: Reason, told: Callable[[str], None] | None, now: float) -> None:
        """Count a connection that is closed; the log has a line a minute at most."""
        self._closed[reason] += 1
        if told is not None:
            told(reason)
        if now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            counts = ", ".join(f"{why} {count}" for why, count in sorted(self._closed.items()))
            logger.warning("connections closed since the start, by reason: %s", counts)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close connections whose time is over: one look at all of them costs less than a timer for each request."""
        now = loop.time()
        for connection in [one for one in self.open if one.due is not None and one.due <= now]:
            connection.time_is_over(now)
        self._sweeping = bool(self.open)
        if self._sweeping:
            loop.call_later(_SWEEP_SECONDS, self._sweep, loop)


class LimitedConnection(HttpToolsProtocol):
    """A connection of uvicorn's, within limits.

    Args:
        limits: of all connections.
        options: as uvicorn gives them.
    """

    def __init__(self, *, limits: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._address: str | None = None
        self._waits_for: Reason | None = None
        self._head = 0
        self.due: float | None = None
        """When it is closed, by the clock of the loop, unless what it waits for happens before."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or refuse it."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else None
        if (reason := self._limits.too_many(self._address)) is not None:
            self._close(reason, self.loop.time())
            return
        self._limits.add(self, self._address)
        self._wait_for("late_head", self._limits.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the connection."""
        self._limits.remove(self, self._address)
        self.due = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        if self.transport.is_closing():
            return
        if self._waits_for is None:
            self._wait_for("late_head", self._limits.header_seconds)
        if self._waits_for == "late_head":
            self._head += len(data)
        super().data_received(data)
        if self._head > self._limits.header_bytes and self._waits_for == "late_head":
            self._close("long_head", self.loop.time())

    def on_headers_complete(self) -> None:
        """Begin to answer, and wait for the body."""
        # What has come may be a short head and a long body.
        if self._head > self._limits.header_bytes:
            length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if length > self._limits.header_bytes:
                self._close("long_head", self.loop.time())
                return
        self._head = 0
        self._wait_for("late_body", self._limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more of this request: the answer is the application's affair."""
        self._waits_for = self.due = None
        if not self.transport.is_closing():
            super().on_message_complete()

    def pause_writing(self) -> None:
        """Give the client some time to read."""
        super().pause_writing()
        self._wait_for("slow_reader", self._limits.body_seconds)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._waits_for = self.due = None

    def time_is_over(self, now: float) -> None:
        """Close the connection."""
        if self._waits_for is not None:
            self._close(self._waits_for, now)

    def _wait_for(self, what: Reason, seconds: float) -> None:
        self._waits_for, self.due = what, self.loop.time() + seconds

    def _close(self, reason: Reason, now: float) -> None:
        """Close the connection, saying why where the client can still be told."""
        self._waits_for = self.due = None
        self._limits.count(reason, self.app_state.get(CLOSED), now)
        answering = cast("RequestResponseCycle | None", self.cycle)  # uvicorn leaves out that there is none at first
        begun = answering is not None and answering.response_started and not answering.response_complete
        if reason in _ANSWERS and not begun:
            status, detail = _ANSWERS[reason]
            body = problem_body(status, detail)
            head = (
                f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()
        else:
            self.transport.abort()
