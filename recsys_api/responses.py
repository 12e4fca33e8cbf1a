"""Shared by the routes: the snapshot of a request, the ``k`` parameter, and JSON responses.

A handler reads the snapshot once and answers from it without awaiting, so an answer is of exactly one release. It
returns a finished response: the models in ``models.py`` describe it (tests compare answers with them), and do not
validate every request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import orjson
from fastapi import HTTPException, Query, Request, Response

from recsys_api.problems import responses, without_paths
from recsys_api.reloader import Reloader
from recsys_api.snapshot import Snapshot
from recsys_assets.storage.lists import RankedItem

K = Annotated[int, Query(ge=1, le=100, description="length of the list")]

UNAVAILABLE: dict[int | str, dict[str, Any]] = responses(503)
"""The ``responses`` of a route that needs a release."""


def reloader(request: Request) -> Reloader:
    """The application's reloader."""
    return request.app.state.reloader


def serving(request: Request) -> Snapshot:
    """The snapshot to answer this request from.

    Raises:
        HTTPException: 503 with the reason, if there is none yet.
    """
    state = reloader(request)
    if state.current is None:
        retry = {"Retry-After": str(max(1, round(state.poll_seconds)))}
        problem = without_paths(state.problem or "", request.app.state.settings)
        raise HTTPException(503, f"no release yet: {problem}", headers=retry)
    request.state.release_id = state.current.release_id  # for the log
    return state.current


def answer(snapshot: Snapshot, items: Iterable[RankedItem], **fields: object) -> Response:
    """A response with a list and the release that it comes from."""
    return json_response(
        {
            "release_id": snapshot.release_id,
            "as_of": snapshot.as_of,
            **fields,
            "items": [
                {"item_id": item_id, "score": score, "rank": rank, "source": source}
                for rank, (item_id, score, source) in enumerate(items, 1)
            ],
        }
    )


def json_response(body: object, status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(body), status, media_type="application/json")


def readiness(request: Request) -> Response:
    """Whether requests for data are answered, and from which release: 200, or 503 with the reason."""
    state = reloader(request)
    snapshot = state.current
    problem = state.problem
    body = {
        "ready": snapshot is not None,
        "release_id": snapshot and snapshot.release_id,
        "as_of": snapshot and snapshot.as_of,
        "instead_of": snapshot and snapshot.instead_of,
        "problem": problem and without_paths(problem, request.app.state.settings),
    }
    return json_response(body, 200 if snapshot else 503)
