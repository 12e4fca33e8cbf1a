"""Liveness, readiness, and the release being served."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from recsys_api.models import Liveness, Readiness, Release
from recsys_api.responses import UNAVAILABLE, json_response, reloader, serving
from recsys_assets.storage.served_lists import SERVED_LISTS

router = APIRouter(tags=["operations"])


@router.get("/release", response_model=Release, responses=UNAVAILABLE, summary="The release being served")
async def release(request: Request) -> Response:
    """The release that answers come from: its day, files and their digests, and what the pipeline states about it."""
    snapshot = serving(request)
    return json_response(
        {
            "release_id": snapshot.release_id,
            "as_of": snapshot.as_of,
            "generation": snapshot.pointer.generation,
            "previous": snapshot.pointer.previous,
            "manifest_sha256": snapshot.pointer.manifest_sha256,
            "loaded_at": snapshot.loaded_at,
            "rows": {served.name: getattr(snapshot, served.name).rows for served in SERVED_LISTS},
            "facts": snapshot.manifest.facts,
            "files": snapshot.manifest.files,
        }
    )


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
    state = reloader(request)
    snapshot = state.current
    body = {
        "ready": snapshot is not None,
        "release_id": snapshot and snapshot.release_id,
        "as_of": snapshot and snapshot.as_of,
        "problem": state.problem,
    }
    return json_response(body, 200 if snapshot else 503)
