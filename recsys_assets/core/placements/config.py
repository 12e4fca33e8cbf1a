"""``placements.toml``: the places where recommendations are shown, and what holds in each.

The file lies beside ``dataset.toml``. The graph checks it when a release is published and puts it into the release, so
that what a place is and what is recommended there change together. Every mistake is an error that names the file and
the field.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from recsys_assets.core.contract import IdType
from recsys_assets.core.faults import describe_faults
from recsys_assets.core.placements.expressions import FIELDS, FilterError, fields_of, parse
from recsys_assets.core.placements.rules import Boost, Rule, Stated

PLACEMENTS_FILE = "placements.toml"
Mode = Literal["blend", "offline", "online"]
Source = Literal["recommendations", "online", "similar_items", "popular", "trending"]


class PlacementsError(ValueError):
    """A ``placements.toml`` cannot be used; the message names the file, the field and the fault."""


class Placement(Stated):
    """A place where recommendations are shown.

    Args:
        mode: ``offline``: the lists of the release; ``online``: what follows from the newest events; ``blend``: both.
        k: length of the list where a request states none.
        sources: what the list is made of, and in which shares, such as ``{similar_items = 2, popular = 1}``; empty:
            what the mode says.
        filter: items that do not pass are left out.
        boosts: factors for items.
        rules: business rules, applied last and in this order, after those for all places.
        rotate_after: impressions without a click after which an item sinks; None: never.
        rotate_half_life_days: days after which an impression counts half.
        goal: event type that this place is to bring about, for its metrics.
    """

    mode: Mode = "blend"
    k: int = Field(default=10, ge=1, le=100)
    sources: dict[Source, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    filter: str | None = None
    boosts: tuple[Boost, ...] = ()
    rules: tuple[Rule, ...] = ()
    rotate_after: int | None = Field(default=None, ge=1, le=1000)
    rotate_half_life_days: float = Field(default=7.0, gt=0, le=3650)
    goal: str | None = None

    @field_validator("boosts", "rules", mode="before")
    @classmethod
    def _from_list(cls, values: object) -> object:
        return tuple(values) if isinstance(values, list) else values


class Placements(Stated):
    """The content of a ``placements.toml``.

    Args:
        rules: business rules for all places, and for requests that name none.
        places: by name.
    """

    rules: tuple[Rule, ...] = ()
    places: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], Placement] = Field(default_factory=dict)

    @field_validator("rules", mode="before")
    @classmethod
    def _from_list(cls, values: object) -> object:
        return tuple(values) if isinstance(values, list) else values


def parse_placements(
    text: str,
    source: str,
    item_ids: IdType,
    *,
    event_types: Collection[str] | None = None,
    fields: Collection[str] = tuple(FIELDS),
) -> Placements:
    """Read and check a ``placements.toml``.

    Args:
        text: its content.
        source: its name, for messages.
        item_ids: type of the data set's item ids.
        event_types: those of the data set; None: goals are not checked.
        fields: of items that the data set states, and that filters may therefore ask about.

    Raises:
        PlacementsError: naming every fault.
    """
    try:
        placements = Placements.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PlacementsError(f"{source}: not TOML: {error}") from error
    except ValidationError as error:
        faults = describe_faults(error, "placements", Placements)
        raise PlacementsError("\n".join(f"{source}: {fault}" for fault in faults)) from error
    faults = [
        *_faults_of_filters(placements, item_ids, fields),
        *_faults_of_ids(placements, item_ids),
        *_faults_of_names(placements),
    ]
    for name, place in placements.places.items():
        if event_types is not None and place.goal is not None and place.goal not in event_types:
            faults.append(
                f"places.{name}.goal: must be an event type of the data set ({', '.join(sorted(event_types))})"
                f" (found {place.goal!r})"
            )
    if faults:
        raise PlacementsError("\n".join(f"{source}: {fault}" for fault in faults))
    return placements


def _faults_of_filters(placements: Placements, item_ids: IdType, fields: Collection[str]) -> Iterator[str]:
    for where, text in _filters(placements):
        try:
            absent = sorted(fields_of(parse(text, item_ids)) - set(fields))
        except FilterError as error:
            yield f"{where}: {error} (found {text!r})"
        else:
            if absent:
                yield f"{where}: the data set states no {', '.join(absent)} of its items (found {text!r})"
    for where, rule in _rules(placements):
        if rule.action == "cap" and rule.per not in fields:
            yield f"{where}.per: the data set states no {rule.per} of its items"


def _filters(placements: Placements) -> Iterator[tuple[str, str]]:
    """Every filter with the field that states it."""
    for where, rule in _rules(placements):
        if rule.action != "cap" and rule.filter is not None:
            yield f"{where}.filter", rule.filter
    for name, place in placements.places.items():
        if place.filter is not None:
            yield f"places.{name}.filter", place.filter
        for number, boost in enumerate(place.boosts):
            yield f"places.{name}.boosts.{number}.filter", boost.filter


def _rules(placements: Placements) -> Iterator[tuple[str, Rule]]:
    for number, rule in enumerate(placements.rules):
        yield f"rules.{number}", rule
    for name, place in placements.places.items():
        for number, rule in enumerate(place.rules):
            yield f"places.{name}.rules.{number}", rule


def _faults_of_ids(placements: Placements, item_ids: IdType) -> Iterator[str]:
    for where, rule in _rules(placements):
        items = () if rule.action == "cap" else rule.items or ()
        wrong = [item for item in items if isinstance(item, str) != (item_ids == "string")]
        if wrong:
            yield f"{where}.items: ids of items are {item_ids} (found {wrong[0]!r})"


def _faults_of_names(placements: Placements) -> Iterator[str]:
    """Answers name rules, so those that act at one place have different names."""
    for where, rules in (
        ("rules", ()),
        *((f"places.{n}.rules", place.rules) for n, place in placements.places.items()),
    ):
        names = [rule.name for rule in (*placements.rules, *rules)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            yield f"{where}: two rules of one place have the same name: {', '.join(twice)}"
