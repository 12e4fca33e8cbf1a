"""Items, and lists that do not depend on a user."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from recsys_api.blend import by_shares
from recsys_api.bodies import Seeds
from recsys_api.events.event import iso
from recsys_api.ids import parse_id, typed_ids
from recsys_api.models import BecauseOf, Item, PopularItems, SimilarItems
from recsys_api.problems import responses
from recsys_api.responses import UNAVAILABLE, K, answer, json_response, serving

router = APIRouter(tags=["catalogue"])


@router.get("/similar/{item_id:id}", response_model=SimilarItems, responses=UNAVAILABLE, summary="Similar items")
async def similar(
    request: Request,
    item_id: Annotated[str, Path(description="the item, percent-encoded", examples=["187946"])],
    k: K = 10,
) -> Response:
    """The `k` items that go best with an item, never the item itself.

    An item that the release does not know, or that resembles nothing yet, has an empty list: a page that shows similar
    items leaves the box out and need not handle an error. The list is not filled up with items that are not similar;
    items that are not available are left out. The source of an item is the similarity that it owes most to.
    """
    snapshot = serving(request)
    item = parse_id(item_id, snapshot.item_ids, "item_id")
    return answer(snapshot, snapshot.similar(item, k), item_id=item)


@router.post(
    "/similar",
    response_model=BecauseOf,
    responses={**UNAVAILABLE, **responses(422)},
    summary="Items that go with several items",
)
async def similar_to_several(request: Request, asked: Seeds) -> Response:
    """The items that go best with any of several items; `because_of` names the one that brought each, never itself.

    The lists of the seeds take turns, the first seed first.
    """
    snapshot = serving(request)
    seeds = list(dict.fromkeys(typed_ids(asked.items, snapshot.item_ids, "items")))
    left_out = {*seeds, *typed_ids(asked.exclude, snapshot.item_ids, "exclude")}
    # As many more as may be left out.
    wanted = asked.k + len(left_out)
    lists = {
        str(seed): [(*row, seed) for row in snapshot.similar(seed, wanted) if row[0] not in left_out] for seed in seeds
    }
    best = by_shares(lists, dict.fromkeys(lists, 1.0), asked.k, key=lambda row: row[0])
    items = [
        {"item_id": item, "score": score, "rank": rank, "source": source, "because_of": seed}
        for rank, (item, score, source, seed) in enumerate(best, 1)
    ]
    return json_response({"release_id": snapshot.release_id, "as_of": snapshot.as_of, "items": items})


@router.get("/popular", response_model=PopularItems, responses=UNAVAILABLE, summary="Popular items")
async def popular_items(
    request: Request,
    k: K = 10,
    category: Annotated[
        str | None, Query(description="only items of this category; absent or empty: all items", examples=["1051"])
    ] = None,
) -> Response:
    """The `k` most popular items, of the whole catalogue or of a category.

    For the whole catalogue, it is the list that the release states for users who are not known: `popular` items of a
    window, or `trending` ones, whichever served earlier days better. The items' `source` names it.

    A category that the release does not know, or in which nothing happened, has an empty list.
    """
    snapshot = serving(request)
    segment = f"category:{category}" if category else None
    return answer(snapshot, snapshot.popular(k, segment), category=category or None)


@router.get("/items/{item_id:id}", response_model=Item, responses=UNAVAILABLE, summary="What is known of an item")
async def item(
    request: Request,
    item_id: Annotated[str, Path(description="the item, percent-encoded", examples=["187946"])],
) -> Response:
    """What is known of an item, by the release and by changes since: the fields that filters and rules ask about.

    Every item that the release recommends is known. One that it does not know is an answer too, with `known` false.
    """
    snapshot = serving(request)
    asked = parse_id(item_id, snapshot.item_ids, "item_id")
    found = snapshot.catalogue.item(asked)
    seen = found and found.first_seen
    return json_response(
        {
            "release_id": snapshot.release_id,
            "as_of": snapshot.as_of,
            "item_id": asked,
            "known": found is not None,
            "has_catalogue": snapshot.catalogue.released,
            "category": found and found.category,
            "root": found and found.root,
            "depth": found and found.depth,
            "available": found and found.available,
            "price": found and found.price,
            "brand": found and found.brand,
            "title": found and found.title,
            "first_seen": seen,
            "age_days": (date.fromisoformat(snapshot.as_of) - seen).days if seen else None,
            "changed": {field: iso(ts) for field, ts in snapshot.changed.get(asked, {}).items()},
        }
    )
