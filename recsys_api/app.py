"""The serving application: answers from the current release and follows the pointer while it runs."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from recsys_api.lifecycle import add_events, events_running
from recsys_api.limits import CLOSED, add_limits
from recsys_api.metrics import Metrics
from recsys_api.metrics_folder import FOLDER_VARIABLE
from recsys_api.observing import Observed, Observer, PostedEvents, gauges_running
from recsys_api.pages import add_pages
from recsys_api.problems import add_problems
from recsys_api.reloader import Reloader
from recsys_api.routes import catalog, events, health, items, monitoring, recommendations, releases
from recsys_api.routes.plain import PlainRoutes
from recsys_api.security import admin_keys, write_keys
from recsys_api.settings import Settings, load_settings
from recsys_api.stats import Stats

if TYPE_CHECKING:
    from recsys_api.tracing import Traces

_DESCRIPTION = """
Recommendations from the latest released day.

Every answer comes from exactly one release and names it; every item names its source. Ids have the type that the data
set states (see `facts.ids` of `GET /release`), so ids of an integer data set are numbers here; put ids into paths
percent-encoded. Lists may be shorter than `k` where the release holds fewer items.
"""


def _version() -> str:
    try:
        return version("recsys-assets")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"


def _traces(settings: Settings, metrics: Metrics) -> Traces | None:
    """Where requests are traced; None if they are not, and then nothing is loaded for it."""
    if not settings.api_traces_url:
        return None
    from recsys_api.tracing import Traces

    return Traces(settings.api_traces_url, settings.api_traces_share, partial(metrics.error, "traces"))


class _Application(FastAPI):
    """The application; ``first`` answers what it can before FastAPI and its middlewares are asked."""

    first: PlainRoutes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if not await self.first.answers(scope, receive, send):
            await super().__call__(scope, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; run it with ``python -m recsys_api``.

    Args:
        settings: taken from the environment where absent.

    Raises:
        SettingsError: the environment holds a value that cannot be used.
    """
    settings = settings or load_settings()
    metrics = Metrics(os.environ.get(FOLDER_VARIABLE))
    reloader = Reloader(settings, metrics.reload, metrics.damage)

    traces = _traces(settings, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        # What was imported stays for good: a full collection that looks at it holds up all answers for 30 ms.
        gc.freeze()
        async with reloader.running(), events_running(app, settings), gauges_running(app):
            yield {CLOSED: metrics.connection_closed}
        if traces is not None:
            await asyncio.to_thread(traces.close)

    observer = Observer(metrics, traces)
    app = _Application(
        title="Recommendations",
        description=_DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # Those of FastAPI hold paths and parameters, and variables of the environment could switch them on.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.settings, app.state.reloader = settings, reloader
    app.state.metrics, app.state.posted, app.state.stats = metrics, PostedEvents(metrics), Stats(metrics)
    app.state.traces = traces
    app.state.write_keys, app.state.admin_keys = write_keys(settings), admin_keys(settings)
    add_problems(app)
    add_events(app)
    add_limits(app, settings)
    app.add_middleware(Observed, observer=observer)
    app.first = PlainRoutes(app, observer, settings)
    add_pages(app)
    app.router.routes.insert(0, Route("/events", events.answer_post, methods=["POST"]))
    for router in (
        recommendations.router,
        catalog.router,
        items.router,
        events.router,
        releases.router,
        releases.admin,
        health.router,
        monitoring.router,
    ):
        app.include_router(router)
    return app
