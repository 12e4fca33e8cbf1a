"""Releases: what is served, what could be, what it was made from; and, with an admin key, which one is served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from recsys_api.lineage import trace
from recsys_api.models import LineageTrace, Pinned, Readiness, Release, ReleaseList
from recsys_api.problems import responses, without_paths
from recsys_api.responses import UNAVAILABLE, json_response, readiness, reloader, serving
from recsys_api.security import NEEDS_KEY, may_administer
from recsys_api.settings import Settings
from recsys_assets.storage.manifest import Pointer
from recsys_assets.storage.objects import NotFound, ObjectStore
from recsys_assets.storage.releases import DamagedRelease, Releases
from recsys_assets.storage.retries import BRIEF
from recsys_assets.storage.served_lists import SERVED_LISTS
from recsys_assets.storage.uri import open_store

router = APIRouter(tags=["releases"])
admin = APIRouter(
    prefix="/admin", tags=["administration"], dependencies=[Depends(may_administer)], responses={**NEEDS_KEY}
)

ReleaseId = Annotated[
    str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{12}$", examples=["2015-08-02-4f1c9a7be2d0"])
]
Result = TypeVar("Result")


class Rollback(BaseModel):
    """Which release to serve."""

    model_config = ConfigDict(extra="forbid")

    release_id: ReleaseId | None = Field(default=None, description="absent: the one that was served before")


class Pin(BaseModel):
    """Whether the served release stays whatever is published."""

    model_config = ConfigDict(extra="forbid")

    pinned: bool = Field(default=True, description="false: follow new releases again")


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
            "pinned": snapshot.pointer.pinned,
            "instead_of": snapshot.instead_of,
            "manifest_sha256": snapshot.pointer.manifest_sha256,
            "loaded_at": snapshot.loaded_at,
            "beyond_horizon": snapshot.beyond_horizon,
            "rows": {served.name: getattr(snapshot, served.name).rows for served in SERVED_LISTS},
            "facts": snapshot.manifest.facts,
            "files": snapshot.manifest.files,
        }
    )


@router.get("/releases", response_model=ReleaseList, responses=responses(503), summary="All releases")
async def releases(request: Request) -> Response:
    """Every complete release of the store, the newest first, and whether a rollback has withdrawn it."""

    def read(stored: Releases) -> dict[str, object]:
        pointer = stored.current()
        return {
            "current": pointer.release_id if pointer else None,
            "pinned": pointer.pinned if pointer else False,
            "releases": [
                {
                    "release_id": name,
                    "as_of": name[:10],
                    "withdrawn": pointer is not None and name in pointer.withdrawn,
                }
                for name in reversed(stored.list())
            ],
        }

    return json_response(await _in_store(request, lambda store: read(Releases(store))))


@router.get(
    "/lineage/{release_id}",
    response_model=LineageTrace,
    responses=responses(404, 422, 503),
    summary="What a release was made from",
)
async def lineage(
    request: Request, release_id: Annotated[ReleaseId, Path(description="the release, as `GET /releases` lists them")]
) -> Response:
    """Every partition behind a release, with hashes, code versions, parameters and runs, down to the landing files."""
    return json_response(await _in_store(request, lambda store: trace(store, release_id)))


_REFUSED = responses(404, 409, 422, 503)


@admin.post("/reload", response_model=Readiness, responses=responses(503), summary="Look at the pointer now")
async def reload(request: Request) -> Response:
    """Read the pointer at once instead of at the next poll, and load the release that it names."""
    await asyncio.to_thread(reloader(request).refresh)
    return readiness(request)


@admin.post("/rollback", response_model=Pinned, responses=_REFUSED, summary="Serve another release")
async def rollback(request: Request, asked: Rollback) -> Response:
    """Move the pointer to another stored release, after checking every byte of it, and load it.

    Other releases of its day or later are withdrawn: publishing them again does not undo the rollback.
    """
    return await _moved(request, lambda stored: stored.rollback(asked.release_id))


@admin.post("/pin", response_model=Pinned, responses=_REFUSED, summary="Keep the served release")
async def pin(request: Request, asked: Pin) -> Response:
    """Keep serving the current release, whatever is published, until it is unpinned; new releases wait meanwhile."""
    return await _moved(request, lambda stored: stored.pin(pinned=asked.pinned))


async def _moved(request: Request, move: Callable[[Releases], Pointer]) -> Response:
    pointer = await _in_store(request, lambda store: move(Releases(store)))
    await asyncio.to_thread(reloader(request).refresh)
    return json_response(
        {
            "release_id": pointer.release_id,
            "as_of": pointer.as_of,
            "generation": pointer.generation,
            "previous": pointer.previous,
            "pinned": pointer.pinned,
            "withdrawn": pointer.withdrawn,
        }
    )


async def _in_store(request: Request, read: Callable[[ObjectStore], Result]) -> Result:
    """Call a function with the store of releases, in a thread.

    Raises:
        HTTPException: 404 for what is not there, 409 for what cannot be done, 503 for a store that does not answer.
    """
    settings: Settings = request.app.state.settings
    try:
        return await asyncio.to_thread(lambda: read(open_store(settings.storage_uri, retries=BRIEF)))
    except NotFound as error:
        raise HTTPException(404, without_paths(str(error), settings)) from error
    except (ValueError, DamagedRelease) as error:
        raise HTTPException(409, without_paths(str(error), settings)) from error
    except OSError as error:
        raise HTTPException(503, without_paths(str(error), settings), headers={"Retry-After": "10"}) from error
