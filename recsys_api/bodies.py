"""Bodies of requests, and what parameters and bodies mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from recsys_api.composing import Wanted
from recsys_api.gathering import DEPTH
from recsys_api.ids import typed_id, typed_ids
from recsys_api.problems import FieldFault, InvalidFieldsError
from recsys_api.snapshot import Snapshot
from recsys_assets.core.placements.config import Placement
from recsys_assets.core.placements.expressions import FilterError
from recsys_assets.core.placements.rules import Boost

MOST_ITEMS = 1000
"""Most items in one list of a request."""
MOST_USERS = 100
"""Most users in one request."""

Id = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | Annotated[str, StringConstraints(max_length=512)]
Items = Annotated[list[Id], Field(max_length=MOST_ITEMS)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
Mode = Literal["blend", "offline", "online"]


class Parameters(BaseModel):
    """What shapes an answer; the same for every user of a request."""

    model_config = ConfigDict(extra="forbid")

    k: Annotated[int, Field(strict=True, ge=1, le=100)] | None = Field(
        default=None, description="length of the list; absent: that of the placement, or 10"
    )
    offset: Annotated[int, Field(strict=True, ge=0, le=DEPTH)] = Field(
        default=0, description=f"items on earlier pages; `k` and `offset` together at most {DEPTH}"
    )
    mode: Mode | None = Field(default=None, description="absent: as the placement says, or `blend`")
    placement: Text | None = Field(default=None, description="a place of `placements.toml`", examples=["home"])
    category: Text | None = Field(default=None, description="only items of this category, or below this root")
    exclude: Items = Field(default=[], description="items to leave out")
    exclude_seen: bool = Field(default=False, description="leave out all that the user ever touched")
    filter: Text | None = Field(
        default=None, description="only items that pass", examples=['category == "1051" and price < 100']
    )
    boost: Annotated[list[Boost], Field(max_length=20)] = Field(default=[], description="factors for items that pass")
    explain: bool = Field(default=False, description="say of each item why it is there")


class Context(BaseModel):
    """What the caller knows of the visit."""

    model_config = ConfigDict(extra="forbid")

    seen: Items = Field(default=[], description="items seen so far, in order of time")
    basket: Items = Field(default=[], description="items in the basket, in order of time; never recommended")
    current: Id | None = Field(default=None, description="the item that is looked at; never recommended")


class UserRequest(Context):
    """One user of a request."""

    user_id: Id = Field(description="in the data set's own id type", examples=[1150086])


class ManyUsers(Parameters):
    """Recommendations for many users at once."""

    users: list[UserRequest] = Field(min_length=1, max_length=MOST_USERS)


class Session(Parameters, Context):
    """Recommendations for a visit, without a user."""


class Rerank(BaseModel):
    """A list to be put in a user's order."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id | None = Field(default=None, description="absent: only the context counts", examples=[1150086])
    items: Annotated[list[Id], Field(min_length=1, max_length=MOST_ITEMS)] = Field(
        description="best first, as search or an editor has them"
    )
    context: Context = Field(default_factory=Context)


class Seeds(BaseModel):
    """Items that others shall go with."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[Id], Field(min_length=1, max_length=50)] = Field(description="the most important first")
    k: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(default=10, description="length of the list")
    exclude: Items = Field(default=[], description="items to leave out")


def placement_of(snapshot: Snapshot, name: str | None) -> Placement:
    """The placement of a request.

    Raises:
        InvalidFieldsError: the release has no such place.
    """
    if name is None:
        return Placement()
    places = snapshot.placements.places
    if name not in places:
        known = ", ".join(sorted(places)) or "none"
        raise InvalidFieldsError([FieldFault(field="placement", message=f"this release has the placements: {known}")])
    return places[name]


def wanted_of(snapshot: Snapshot, asked: Parameters, context: Context | None = None) -> Wanted:
    """The request of one user.

    Raises:
        InvalidFieldsError: an id of the wrong type, an unknown placement, a filter or a depth that cannot be used.
    """
    place = placement_of(snapshot, asked.placement)
    k = asked.k or place.k
    if k + asked.offset > DEPTH:
        message = f"k and offset together must be at most {DEPTH}, found {k + asked.offset}"
        raise InvalidFieldsError([FieldFault(field="offset", message=message)])
    _check_filters(snapshot, asked)
    basket = typed_ids(context.basket, snapshot.item_ids, "basket") if context else []
    current = context.current if context else None
    return Wanted(
        k=k,
        offset=asked.offset,
        mode=asked.mode,
        placement=place,
        category=asked.category,
        filter=asked.filter,
        boosts=tuple(asked.boost),
        exclude=frozenset([*typed_ids(asked.exclude, snapshot.item_ids, "exclude"), *basket]),
        exclude_seen=asked.exclude_seen,
        current=None if current is None else typed_id(current, snapshot.item_ids, "current"),
    )


def clicks_of(snapshot: Snapshot, context: Context) -> Sequence[int | str]:
    """The items of a context in order of time: seen, in the basket, looked at.

    Raises:
        InvalidFieldsError: an id is of the wrong type.
    """
    kind = snapshot.item_ids
    current = [] if context.current is None else [typed_id(context.current, kind, "current")]
    return [*typed_ids(context.seen, kind, "seen"), *typed_ids(context.basket, kind, "basket"), *current]


def _check_filters(snapshot: Snapshot, asked: Parameters) -> None:
    stated = [("filter", asked.filter)] if asked.filter else []
    stated += [(f"boost.{number}.filter", boost.filter) for number, boost in enumerate(asked.boost)]
    faults: list[FieldFault] = []
    for field, text in stated:
        try:
            snapshot.filters.mask(text or "")
        except FilterError as error:
            faults.append(FieldFault(field=field, message=str(error)))
    if asked.category and not snapshot.catalogue.released:
        faults.append(FieldFault(field="category", message="this release has no catalogue to look it up in"))
    if faults:
        raise InvalidFieldsError(faults)
