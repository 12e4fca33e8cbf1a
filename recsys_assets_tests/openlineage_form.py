"""Reads OpenLineage events by the classes of ``openlineage-python``, which come from the specification's schemas."""

from __future__ import annotations

import inspect
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from openlineage.client import facet_v2
from openlineage.client.event_v2 import RunEvent
from openlineage.client.generated.base import BaseFacet

OURS = "urn:recsys-assets:facets:"


def address_of(kind: Any) -> str:
    """The address of the schema that a class comes from; the package has no public name for it."""
    return kind._get_schema()


FACETS: dict[str, type[Any]] = {
    address_of(found): found
    for module in vars(facet_v2).values()
    if inspect.ismodule(module)
    for found in vars(module).values()
    if inspect.isclass(found) and issubclass(found, BaseFacet)
}
"""The facets of the specification by the address of their schema."""
_STATED = ("_producer", "_schemaURL", "schemaURL")


def read_event(event: dict[str, Any]) -> None:
    """Build a run event, and all that it holds, of the specification's classes.

    Raises:
        ValueError: a field is missing, unknown, of another type or of another form, or a facet has its place elsewhere.
    """
    if event.get("schemaURL") != address_of(RunEvent):
        raise ValueError(f"schemaURL: {event.get('schemaURL')!r}")
    _built(RunEvent, event, "event")


def _read(kind: Any, stated: Any, path: str) -> Any:
    """A value as an object of a type; scalars as they are."""
    if get_origin(kind) in (Union, UnionType):
        kinds = [one for one in get_args(kind) if one is not NoneType]
        if stated is None and len(kinds) < len(get_args(kind)):
            return None
        return _any_of(kinds, stated, path)
    if get_origin(kind) is list and isinstance(stated, list):
        return [_read(get_args(kind)[0], one, f"{path}[{n}]") for n, one in enumerate(stated)]
    if get_origin(kind) is dict and isinstance(stated, dict):
        of = get_args(kind)[1]
        return {name: _read(of, one, f"{path}.{name}") for name, one in stated.items()}
    if inspect.isclass(kind) and issubclass(kind, BaseFacet):
        return _facet(kind, stated, path)
    if hasattr(kind, "__attrs_attrs__") and isinstance(stated, dict):
        return _built(kind, stated, path)
    members: dict[str, Any] = getattr(kind, "__members__", {})
    if isinstance(stated, str) and stated in members:
        return members[stated]
    # In JSON a whole number is a number, and a truth is none.
    if kind is Any or type(stated) is kind or (kind is float and type(stated) is int):
        return stated
    raise ValueError(f"{path}: {stated!r} is no {kind}")


def _any_of(kinds: list[Any], stated: Any, path: str) -> Any:
    """A value as the first type that takes it."""
    faults: list[str] = []
    for kind in kinds:
        try:
            return _read(kind, stated, path)
        except ValueError as error:
            faults.append(str(error))
    raise ValueError("; ".join(faults))


def _facet(place: type[Any], stated: dict[str, Any], path: str) -> Any:
    """A facet of the class that its schema names; our own are only looked at for their base fields."""
    address = stated.get("_schemaURL", "")
    if not stated.get("_producer"):
        raise ValueError(f"{path}: no _producer")
    if address.startswith(OURS):
        return place(producer=stated["_producer"])
    found = FACETS.get(address)
    if found is None or not issubclass(found, place):
        raise ValueError(f"{path}: {address!r} is no {place.__name__} of the specification")
    return _built(found, stated, path)


def _built(kind: Any, stated: dict[str, Any], path: str) -> Any:
    hints = get_type_hints(kind)
    fields = {name: value for name, value in stated.items() if name not in _STATED}
    if unknown := fields.keys() - hints.keys():
        raise ValueError(f"{path}: {kind.__name__} has no {sorted(unknown)}")
    read = {name: _read(hints[name], value, f"{path}.{name}") for name, value in fields.items()}
    try:
        return kind(**read)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None
