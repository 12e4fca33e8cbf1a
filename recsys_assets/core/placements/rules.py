"""The shape of boosts and business rules, as ``placements.toml`` and requests state them.

How they act on a list is in ``recsys_api.rules``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MOST_FACTOR = 1000.0
MOST_ITEMS = 10_000
MOST_POSITION = 100

Id = int | str


class Stated(BaseModel):
    """What people state: nothing is converted, nothing unknown is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Boost(Stated):
    """A factor for the items that a filter lets pass.

    Args:
        filter: see :mod:`recsys_assets.core.placements.expressions`.
        factor: above 1 raises, below 1 sinks; factors of several boosts are multiplied.
    """

    filter: str
    factor: float = Field(gt=0, le=MOST_FACTOR, allow_inf_nan=False)


class _Rule(Stated):
    """What all rules have.

    Args:
        name: shown in the answer at each item that the rule moved.
        starts: instant from which the rule holds; None: from ever. In the file, ``from``.
        until: instant from which it holds no more; None: for ever.
    """

    name: str = Field(min_length=1, max_length=64)
    starts: datetime | None = Field(default=None, alias="from")
    until: datetime | None = None

    @field_validator("starts", "until")
    @classmethod
    def _in_utc(cls, instant: datetime | None) -> datetime | None:
        if instant is not None and instant.tzinfo is None:
            raise ValueError("an instant has a time zone, such as 2015-06-01T00:00:00Z")
        return instant and instant.astimezone(UTC)

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.starts and self.until and self.until <= self.starts:
            raise ValueError(f"until {self.until} must be after from {self.starts}")
        return self


class _Selecting(_Rule):
    """A rule about the items that it names, or those that a filter lets pass.

    Args:
        items: ids of items.
        filter: see :mod:`recsys_assets.core.placements.expressions`.
    """

    items: tuple[Id, ...] | None = Field(default=None, min_length=1, max_length=MOST_ITEMS)
    filter: str | None = None

    @field_validator("items", mode="before")
    @classmethod
    def _from_list(cls, items: object) -> object:
        # A list in TOML and JSON; strict mode takes tuples alone.
        return tuple(items) if isinstance(items, list) else items

    @model_validator(mode="after")
    def _by_one_of_both(self) -> Self:
        if (self.items is None) == (self.filter is None):
            raise ValueError("state either items or filter")
        return self


class BoostRule(_Selecting):
    """Raises items: a factor above 1."""

    action: Literal["boost"]
    factor: float = Field(gt=1, le=MOST_FACTOR, allow_inf_nan=False)


class BuryRule(_Selecting):
    """Sinks items: a factor below 1."""

    action: Literal["bury"]
    factor: float = Field(gt=0, lt=1)


class BlockRule(_Selecting):
    """Leaves items out."""

    action: Literal["block"]


class PinRule(_Selecting):
    """Puts items at a place.

    Args:
        position: of the first of ``items``, from 1; the others follow it. With a filter, of the best candidate that
            passes.
    """

    action: Literal["pin"]
    position: int = Field(ge=1, le=MOST_POSITION)


class CapRule(_Rule):
    """Lets at most so many items of one category, or of one root, into an answer."""

    action: Literal["cap"]
    per: Literal["category", "root"] = "category"
    at_most: int = Field(ge=1, le=MOST_POSITION)


Rule = Annotated[BoostRule | BuryRule | BlockRule | PinRule | CapRule, Field(discriminator="action")]
