"""What can be seen from outside: metrics, counts, and where things are."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field

from recsys_api.metrics import Metrics
from recsys_api.observing import refresh_gauges
from recsys_api.responses import json_response
from recsys_api.security import NEEDS_KEY, may_administer
from recsys_api.stats import Counts, Stats

router = APIRouter(tags=["operations"])


class Index(BaseModel):
    """Where things are."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(examples=["Recommendations"])
    version: str = Field(examples=["0.1.0"])
    links: dict[str, str] = Field(description="paths, by what is there", examples=[{"documentation": "/docs"}])


_LINKS = {
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "live": "/health/live",
    "ready": "/health/ready",
    "release": "/release",
    "metrics": "/metrics",
    "stats": "/stats",
}


@router.get("/", response_model=Index, summary="Where things are")
async def index(request: Request) -> Response:
    """The documentation, health, the release, and what is counted."""
    root: str = request.scope.get("root_path", "").rstrip("/")
    links = {name: f"{root}{path}" for name, path in _LINKS.items()}
    return json_response({"name": request.app.title, "version": request.app.version, "links": links})


@router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
async def metrics(request: Request) -> Response:
    """Everything that is counted, of all workers of this machine, in Prometheus' text format."""
    counted: Metrics = request.app.state.metrics
    await refresh_gauges(request.app)
    # Files of several workers are read: not on the event loop.
    return Response(await asyncio.to_thread(counted.exposition), media_type=CONTENT_TYPE_LATEST)


@router.get("/stats", response_model=Counts, summary="Counts")
async def stats(request: Request) -> Response:
    """The counters of `/metrics` since the last reset, as JSON; the same from each worker of this machine."""
    counts: Stats = request.app.state.stats
    await refresh_gauges(request.app)
    return json_response(await asyncio.to_thread(counts.read))


@router.post(
    "/stats/reset",
    response_model=Counts,
    responses={**NEEDS_KEY},
    dependencies=[Depends(may_administer)],
    summary="Count anew",
)
async def reset(request: Request) -> Response:
    """Let `/stats` begin at zero, on every worker of this machine. Prometheus' counters go on: they never fall."""
    counts: Stats = request.app.state.stats
    await asyncio.to_thread(counts.reset)
    return json_response(await asyncio.to_thread(counts.read))
