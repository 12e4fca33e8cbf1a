"""Recommendations: for a user, for many, for a visit without a user; and a given list in a user's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import StringConstraints

from recsys_api.answering import recommend, who_asks
from recsys_api.bodies import ManyUsers, Mode, Parameters, Rerank, Session, Text, clicks_of, wanted_of
from recsys_api.gathering import DEPTH
from recsys_api.ids import parse_id, typed_id, typed_ids
from recsys_api.models import ManyRecommendations, Recommendations, Reranked
from recsys_api.problems import responses
from recsys_api.reranking import reranked
from recsys_api.responses import UNAVAILABLE, json_response, serving

router = APIRouter(tags=["recommendations"], responses={**UNAVAILABLE, **responses(422)})

UserId = Annotated[str, Path(description="the user, percent-encoded", examples=["1150086"])]


@router.get("/recommendations/{user_id:id}", response_model=Recommendations, summary="Recommendations for a user")
async def recommendations(
    request: Request,
    user_id: UserId,
    k: Annotated[int | None, Query(ge=1, le=100, description="length of the list; absent: 10")] = None,
    offset: Annotated[int, Query(ge=0, le=DEPTH, description="items on earlier pages")] = 0,
    mode: Annotated[Mode | None, Query(description="which part answers")] = None,
    placement: Annotated[Text | None, Query(description="a place of `placements.toml`")] = None,
    category: Annotated[Text | None, Query(description="only items of this category, or below this root")] = None,
    exclude: Annotated[
        list[Annotated[str, StringConstraints(max_length=512)]] | None,
        Query(max_length=1000, description="items to leave out; repeatable"),
    ] = None,
    exclude_seen: Annotated[bool, Query(description="leave out all that the user ever touched")] = False,
    filter: Annotated[
        Text | None, Query(description="only items that pass", examples=['category == "1051" and price < 100'])
    ] = None,
    explain: Annotated[bool, Query(description="say of each item why it is there")] = False,
) -> Response:
    """The best `k` items for a user.

    The release holds a list for each user who was active. With events since then, its models are asked what follows
    from them: their items stand at the odd places, those of the list at the even ones (`mode` `blend`; `offline` and
    `online` are one of both). Nothing is shown twice, nor what was disliked or just purchased, is not available, or is
    excluded. What is missing is filled with the items of `/popular`, and `fallbacks` counts those; a user of whom
    nothing is known gets them alone, and `personalised` is false.

    A later page (`offset`) repeats nothing and goes on where the earlier one ended, as long as nothing new happens.
    """
    snapshot = serving(request)
    user = parse_id(user_id, snapshot.user_ids, "user_id")
    left_out = [parse_id(item, snapshot.item_ids, f"exclude.{place}") for place, item in enumerate(exclude or [])]
    asked = Parameters(
        k=k,
        offset=offset,
        mode=mode,
        placement=placement,
        category=category or None,
        exclude=left_out,
        exclude_seen=exclude_seen,
        filter=filter or None,
        explain=explain,
    )
    wanted = wanted_of(snapshot, asked)
    answer = await recommend(request.app.state, snapshot, user, wanted, explain=explain)
    _note_modes(request, [answer])
    return json_response(answer)


@router.post("/recommendations", response_model=ManyRecommendations, summary="Recommendations for many users")
async def many(request: Request, asked: ManyUsers) -> Response:
    """The same for up to 100 users at once, each with what the caller knows of the visit."""
    snapshot = serving(request)
    answers: list[dict[str, Any]] = []
    for place, one in enumerate(asked.users):
        user = typed_id(one.user_id, snapshot.user_ids, f"users.{place}.user_id")
        wanted, seen = wanted_of(snapshot, asked, one), clicks_of(snapshot, one)
        answers.append(await recommend(request.app.state, snapshot, user, wanted, seen, explain=asked.explain))
    _note_modes(request, answers)
    return json_response({"answers": answers})


@router.post("/sessions/recommendations", response_model=Recommendations, summary="Recommendations for a visit")
async def session(request: Request, asked: Session) -> Response:
    """What goes with the items of a visit: those seen so far, or a basket. No user is needed."""
    snapshot = serving(request)
    wanted, seen = wanted_of(snapshot, asked, asked), clicks_of(snapshot, asked)
    answer = await recommend(request.app.state, snapshot, None, wanted, seen, explain=asked.explain)
    _note_modes(request, [answer])
    return json_response(answer)


@router.post("/rerank", response_model=Reranked, summary="A given list in a user's order")
async def rerank(request: Request, asked: Rerank) -> Response:
    """The given items, all of them and no others, in the order of this user: search results, an editor's list.

    The place in the given list counts as much as the user's own list and what follows from the user's newest events.
    """
    snapshot = serving(request)
    user = None if asked.user_id is None else typed_id(asked.user_id, snapshot.user_ids, "user_id")
    items = typed_ids(asked.items, snapshot.item_ids, "items")
    asking = await who_asks(request.app.state, snapshot, user, clicks_of(snapshot, asked.context))
    return json_response(
        {
            "release_id": snapshot.release_id,
            "as_of": snapshot.as_of,
            "user_id": user,
            "items": reranked(snapshot, asking.user, asking.visitor, items),
        }
    )


def _note_modes(request: Request, answers: Sequence[dict[str, Any]]) -> None:
    """Note how the answers of a request were made, for the log."""
    modes = {answer["mode"] for answer in answers}
    request.state.mode = modes.pop() if len(modes) == 1 else "mixed"
