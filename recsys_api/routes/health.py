"""Liveness and readiness."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from recsys_api.models import Liveness, Readiness
from recsys_api.responses import json_response, readiness

router = APIRouter(tags=["operations"])


@router.get("/health/live", response_model=Liveness, summary="Liveness")
async def live() -> Response:
    """Always 200: the process runs and its event loop answers."""
    return json_response({"status": "alive"})


@router.get(
    "/health/ready",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "No release yet"}},
    summary="Readiness",
)
async def ready(request: Request) -> Response:
    """200 once a release is served, else 503 with the reason.

    It stays 200 while a newer release cannot be loaded; `problem` then says why.
    """
    return readiness(request)
