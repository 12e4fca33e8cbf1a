"""Recommendations for a user."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from recsys_api.ids import parse_id
from recsys_api.models import Recommendations
from recsys_api.responses import UNAVAILABLE, K, answer, popular, serving

router = APIRouter(tags=["recommendations"])


@router.get(
    "/recommendations/{user_id:id}",
    response_model=Recommendations,
    responses=UNAVAILABLE,
    summary="Recommendations for a user",
)
async def recommendations(
    request: Request,
    user_id: Annotated[str, Path(description="the user, percent-encoded", examples=["1150086"])],
    k: K = 10,
) -> Response:
    """The best `k` items for a user, of the user's own list in the release.

    A list shorter than `k` is filled up with the items of `/popular` that it does not hold. A user whom the release
    does not know gets those items, always the same ones, and `personalised` is false. An id that is no number where
    the release has int64 ids is a 422.
    """
    snapshot = serving(request)
    user = parse_id(user_id, snapshot.user_ids, "user_id")
    own = snapshot.recommendations.get(user, k)
    items = own
    if len(own) < k:
        own_items = {item_id for item_id, _, _ in own}
        # As many more as the own list has: enough even if all of its items are popular.
        items = own + [item for item in popular(snapshot, k + len(own)) if item[0] not in own_items][: k - len(own)]
    return answer(snapshot, items, user_id=user, personalised=bool(own))
