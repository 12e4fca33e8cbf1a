"""What fills the metrics: requests as they pass, events as they are posted, states that are looked at now and then."""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import sys
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_api.events.event import IMPRESSION, SIGNALS, Event
from recsys_api.events.store import EventStore, StoreError
from recsys_api.feedback import LiveFeedback
from recsys_api.gathering import CATALOGUE
from recsys_api.metrics import OTHER, Metrics, known
from recsys_api.online import ENSEMBLE, SESSIONS, SIMILAR
from recsys_api.reranking import GIVEN
from recsys_api.rules import PINNED
from recsys_api.snapshot import Snapshot
from recsys_assets.storage.served_lists import POPULAR, TRENDING

if TYPE_CHECKING:
    from recsys_api.tracing import Traces

requests_log = logging.getLogger("recsys.requests")
"""Not below uvicorn's: it says nothing, and costs nothing, unless ``recsys_api.logs`` sets it up."""

UNMATCHED = "unmatched"
"""Stands for the route of requests that no route answers."""
CLIENT_GONE = 499
"""Status, by nginx's custom, of requests whose client left before there was an answer."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SOURCES = frozenset(
    {SESSIONS, ENSEMBLE, SIMILAR, TRENDING, POPULAR, CATALOGUE, PINNED, GIVEN, "recommendations", "online"}
)
"""Sources of items that are in no list of the release."""
_GAUGE_SECONDS = 15.0
_STATM = Path("/proc/self/statm")


class Observer:
    """Counts requests, logs and traces them: their route and outcome, nothing of their user, query or keys.

    Args:
        metrics: of the application.
        traces: where requests are traced, if they are.
    """

    def __init__(self, metrics: Metrics, traces: Traces | None) -> None:
        self._metrics, self._traces = metrics, traces

    def failed(self) -> None:
        """Count a request to which an error was the answer."""
        self._metrics.error("requests")

    def answered(self, scope: Scope, method: str, route: str, status: int, seconds: float) -> None:
        """Count, log and trace a request.

        Args:
            scope: of the request; of it, its trace context and what is noted of its answer are read.
            method: one of HTTP's, or ``other``.
            route: template of its path.
            status: of the answer.
            seconds: until the answer was sent.
        """
        self._metrics.request(route, method, status, seconds)
        if self._traces is not None:
            self._traces.request(scope, method, route, status, seconds)
        if requests_log.isEnabledFor(logging.INFO):
            _log(scope, method, route, status, seconds)


class Observed:
    """Observes each request (plain ASGI).

    Args:
        app: what answers.
        observer: of the application.
    """

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app, self._observer = app, observer
        self._plain: dict[object, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), CLIENT_GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = 500
            self._observer.failed()
            raise
        finally:
            seconds = time.perf_counter() - started
            self._observer.answered(scope, known(scope["method"], _METHODS), self._route(scope), status, seconds)

    def _route(self, scope: Scope) -> str:
        """The template of the path. FastAPI names its own routes; plain ones are known by what answered."""
        if "route" in scope:
            return getattr(scope["route"], "path_format", UNMATCHED)
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return UNMATCHED
        if endpoint not in self._plain:
            routes = [
                one for one in scope["app"].routes if endpoint in (vars(one).get("endpoint"), vars(one).get("app"))
            ]
            self._plain[endpoint] = getattr(routes[0], "path_format", UNMATCHED) if routes else UNMATCHED
        return self._plain[endpoint]


def _log(scope: Scope, method: str, route: str, status: int, seconds: float) -> None:
    state = scope.get("state", {})
    fields = {
        "request_id": state.get("request_id"),
        "method": method,
        "route": route,
        "status": status,
        "milliseconds": round(1000 * seconds, 3),
        "release_id": state.get("release_id"),
        "mode": state.get("mode"),
    }
    # The JSON formatter takes the fields, the others the text.
    requests_log.info(
        "%s %s %s %.1f ms, request %s",
        method,
        route,
        status,
        1000 * seconds,
        fields["request_id"],
        extra={"fields": fields},
    )


@dataclass(frozen=True)
class _Known:
    """Names that a release knows, and that therefore may be labels."""

    release_id: str
    types: Collection[str]
    sources: Collection[str]
    placements: Collection[str]

    @staticmethod
    def of(release: Snapshot) -> _Known:
        lists = (release.recommendations, release.similar_items, release.top_popular)
        named = {name for one in lists for name in one.source_names}
        types = release.event_types or frozenset()
        return _Known(release.release_id, types | SIGNALS, _SOURCES | named, release.placements.places)


class PostedEvents:
    """Counts posted events, and the impressions and clicks among them. An event that was known counts as neither.

    Args:
        metrics: of the application.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: _Known | None = None

    def count(self, snapshot: Snapshot, events: Sequence[Event], new: Sequence[bool]) -> None:
        """Count the events of a request.

        Args:
            snapshot: the release that the request was checked against.
            events: all of them.
            new: of each, whether it was not known before.
        """
        if self._known is None or self._known.release_id != snapshot.release_id:
            self._known = _Known.of(snapshot)
        names, metrics = self._known, self._metrics
        for event, is_new in zip(events, new, strict=True):
            metrics.event(event.event_type if event.event_type in names.types else OTHER, new=is_new)
            if not is_new:
                continue
            if event.event_type == IMPRESSION:
                metrics.impression(known(event.placement, names.placements), known(event.source, names.sources))
            elif event.recommendation_id is not None and event.event_type not in SIGNALS:
                metrics.click(known(event.placement, names.placements), known(event.source, names.sources))


def state_feedback(
    metrics: Metrics, feedback: LiveFeedback, news: Sequence[Event], snapshot: Snapshot, now: int
) -> None:
    """State live precision and recall.

    Args:
        metrics: of the application.
        feedback: what was attributed so far.
        news: events that have arrived.
        snapshot: the release that is served; it knows the placements.
        now: microseconds since 1970, UTC.
    """
    places = snapshot.placements.places
    found = feedback.refresh(news, now, lambda name: known(name, places), snapshot.rules.targets)
    for placement, figures in found.items():
        metrics.feedback(placement, figures.impressions, figures.precision, figures.recall)
    metrics.targets(feedback.targets)


@asynccontextmanager
async def gauges_running(app: FastAPI) -> AsyncGenerator[None]:
    """Keep the gauges of an application fresh for as long as the context lasts: other workers show them as well."""
    task = asyncio.create_task(_repeat(app))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _repeat(app: FastAPI) -> None:
    while True:
        await refresh_gauges(app)
        # Jitter keeps many workers from doing it at the same moment; who does not serve yet soon will.
        pause = _GAUGE_SECONDS if app.state.reloader.current else 1.0
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))


async def refresh_gauges(app: FastAPI) -> None:
    """State what holds now: resources of the process, the release, and events that wait."""
    metrics: Metrics = app.state.metrics
    metrics.process(time.process_time(), resident_bytes())
    snapshot: Snapshot | None = app.state.reloader.current
    if snapshot is not None:
        instead = snapshot.instead_of is not None
        metrics.release(snapshot.release_id, snapshot.as_of, snapshot.age_seconds, instead=instead)
    store: EventStore | None = app.state.events
    if store is not None:
        with suppress(StoreError):  # who posts events is told, and counted
            backlog = await store.backlog()
            metrics.backlog(backlog.queued, backlog.unexported)


def resident_bytes() -> int:
    """Memory of this process that is resident; where the system does not tell, the most that it ever was."""
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
