"""Opens the store of events while the application runs, exports events, and forgets old ones."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from typing import Any

from fastapi import FastAPI, Request, Response

from recsys_api.events.event import now_micros
from recsys_api.events.export import Exporter, event_line, item_line
from recsys_api.events.opening import open_events
from recsys_api.events.store import EventStore, Limits, StoreBusyError, StoreError, StoreFullError
from recsys_api.feedback import LiveFeedback
from recsys_api.following import follow_items
from recsys_api.live import Arrivals, LivePopularity
from recsys_api.metrics import Metrics
from recsys_api.observing import state_feedback
from recsys_api.problems import problem_response, without_paths
from recsys_api.settings import Settings
from recsys_assets.storage.uri import open_store

logger = logging.getLogger("uvicorn.recsys.events")

_LONGEST_RETRY, _LONGEST_LOOK, _TRIM_SECONDS = 30.0, 5.0, 3600.0
_LIVE_SECONDS = 2.0


def add_events(app: FastAPI) -> None:
    """Give an application its (closed) store of events, and the answers to its errors."""
    app.state.events, app.state.events_problem = None, "the event store is not open yet"
    app.state.arrivals, app.state.live, app.state.feedback = Arrivals(), LivePopularity(), LiveFeedback()

    def full(request: Request, error: Exception) -> Response:
        request.app.state.metrics.error("events_full")
        return problem_response(request, 507, str(error))

    def down(request: Request, error: Exception) -> Response:
        request.app.state.metrics.error("events_busy" if isinstance(error, StoreBusyError) else "events")
        problem = without_paths(str(error), request.app.state.settings)
        return problem_response(request, 503, problem, {"Retry-After": "5"})

    app.add_exception_handler(StoreFullError, full)
    app.add_exception_handler(StoreBusyError, down)  # plain routes look a handler up by the type itself
    app.add_exception_handler(StoreError, down)


@asynccontextmanager
async def events_running(app: FastAPI, settings: Settings) -> AsyncGenerator[None]:
    """Keep ``app.state.events`` open, or ``app.state.events_problem`` true, for as long as the context lasts."""
    url = settings.events_url.get_secret_value()
    if not url:
        app.state.events_problem = "set RECSYS_EVENTS_URL, which has no default where the store is s3://"
        yield
        return
    limits = Limits(
        settings.events_retention_days,
        settings.events_per_user,
        settings.api_export_seconds > 0,
        settings.api_item_changes,
    )
    opened = await _open(app, url, limits)
    if opened is not None:
        with suppress(StoreError):  # it is tried again soon, and counted then
            await follow_items(opened.items, app.state.reloader)  # before the first answer
    task = asyncio.create_task(_run(app, settings, url, limits, opened))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if app.state.events is not None:
            await app.state.events.close()
            app.state.events = None


async def _open(app: FastAPI, url: str, limits: Limits) -> EventStore | None:
    """Open the store; None, and the problem noted and logged once, if that fails."""
    try:
        app.state.events = await open_events(url, limits)
    except StoreError as error:
        app.state.metrics.error("events")
        if app.state.events_problem != str(error):
            logger.error("events cannot be stored: %s", error)
        app.state.events_problem = str(error)
        return None
    return app.state.events


async def _run(app: FastAPI, settings: Settings, url: str, limits: Limits, store: EventStore | None) -> None:
    """Open the store if it is not open yet; then export and trim, each at its own pace."""
    pause = 1.0
    while store is None:
        await asyncio.sleep(pause)
        pause = min(_LONGEST_RETRY, pause * 2)
        store = await _open(app, url, limits)
    metrics: Metrics = app.state.metrics
    tasks = [
        _repeat("trimmed", _TRIM_SECONDS, partial(_trim, app, store, limits), partial(metrics.error, "trim")),
        _repeat("counted", _LIVE_SECONDS, partial(_count, app, store), partial(metrics.error, "live")),
        _repeat(
            "followed",
            _LIVE_SECONDS,
            lambda: follow_items(store.items, app.state.reloader),
            partial(metrics.error, "items"),
        ),
    ]
    if settings.api_export_seconds and settings.landing_uri:
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        where = cache(partial(open_store, settings.landing_uri)), holder
        when = settings.api_export_seconds, settings.api_export_events
        look = min(_LONGEST_LOOK, settings.api_export_seconds)
        tasks += [
            _repeat("exported", look, partial(_export, exporter), partial(metrics.error, "export"))
            for exporter in (
                Exporter(store, event_line, *where, *when),
                Exporter(store.items, item_line, *where, *when),
            )
        ]
    await asyncio.gather(*tasks)


async def _count(app: FastAPI, store: EventStore) -> None:
    arrivals: Arrivals = app.state.arrivals
    more = True
    while more and (snapshot := app.state.reloader.current) is not None:
        news, more = await arrivals.read(store)
        await app.state.live.refresh(news, snapshot, now_micros(), partial(arrivals.again, store))
        await asyncio.to_thread(state_feedback, app.state.metrics, app.state.feedback, news, snapshot, now_micros())


async def _export(exporter: Exporter[Any]) -> None:
    await exporter.export(now_micros())


async def _trim(app: FastAPI, store: EventStore, limits: Limits) -> None:
    now = now_micros()
    if deleted := await store.trim(now):
        logger.info("%s events are older than is kept, or more than is kept of a user: deleted", deleted)
    if deleted := await store.items.trim(now):
        logger.info("%s changes of items were replaced, or are older or more than is kept: deleted", deleted)
    forget = partial(app.state.reloader.forget_items, limits.oldest(now), limits.item_changes)
    if forgotten := await asyncio.to_thread(forget):
        logger.warning("%s changes of items are older or more than is kept: served without them", forgotten)


async def _repeat(
    what: str, seconds: float, action: Callable[[], Awaitable[object]], on_error: Callable[[], None]
) -> None:
    """Do something again and again; what fails is counted, logged once and tried again."""
    failed = ""
    while True:
        # Jitter keeps many workers from doing it at the same moment.
        await asyncio.sleep(seconds * random.uniform(0.7, 1.0))
        try:
            await action()
        except Exception as error:
            on_error()
            if failed != str(error):
                logger.warning("events cannot be %s: %s", what, error)
            failed = str(error)
        else:
            failed = ""
