"""Validation of posted changes of items: what passes here, stores and the graph can take as it is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from recsys_api.events.edge import PLAIN, Amount, Id, Text
from recsys_api.events.item_change import ItemChange
from recsys_api.posted import MOST_FAULTS, Posted, id_fault
from recsys_api.problems import FieldFault, InvalidFieldsError
from recsys_assets.core.faults import message_of
from recsys_assets.storage.lists import Key

FIELDS = ("available", "price", "category", "brand", "title")
"""What can be changed."""

Title = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=PLAIN)]


class ItemFields(BaseModel):
    """What is so of an item from now on; a field that is absent stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    # A null is refused: it says neither what is so nor that a field stays as it is. So no type has a null, and the
    # defaults, which stand for "absent", are never read: `model_fields_set` says what was stated.
    available: bool = Field(
        default_factory=bool, description="whether it can be had; an item that cannot is not recommended"
    )
    price: Amount = Field(default_factory=float, description="of one unit", examples=[9.5])
    category: Text = Field(default_factory=str, description="as the data set names it", examples=["1051"])
    brand: Text = Field(default_factory=str, description="its brand", examples=["Ada"])
    title: Title = Field(default_factory=str, description="its title", examples=["Running shoes"])


class ChangedItem(ItemFields):
    """An item, and what is so of it from now on."""

    item_id: Id = Field(description="in the data set's own id type", examples=[187946])


_ONE = Posted(ItemFields, ids=(), noun="items")
_MANY = Posted(ChangedItem, ids=("item_id",), noun="items")
_ID: TypeAdapter[Key] = TypeAdapter(Id, config=ConfigDict(strict=True))
_NOTHING = f"state at least one of {', '.join(FIELDS)}"


def fields_schema() -> dict[str, Any]:
    """The JSON schema of :class:`ItemFields`."""
    return {**ItemFields.model_json_schema(), "minProperties": 1}


def item_schema() -> dict[str, Any]:
    """The JSON schema of :class:`ChangedItem`."""
    return {**ChangedItem.model_json_schema(), "minProperties": 2}


def read_item(item_id: Key, body: bytes, now: int) -> list[ItemChange]:
    """The changes of one item.

    Args:
        item_id: of the release's id type.
        body: its fields as JSON.
        now: microseconds since 1970.

    Raises:
        InvalidFieldsError: names each field at fault.
    """
    try:
        _ID.validate_python(item_id)
    except ValidationError as error:
        message = message_of(error.errors()[0])
        raise InvalidFieldsError([FieldFault(field="item_id", message=message)]) from None
    fields = _ONE.read_one(body)
    if not fields.model_fields_set:
        raise InvalidFieldsError([FieldFault(field="body", message=_NOTHING)])
    return _changes(item_id, fields, now)


def read_items(body: bytes, media_type: str, id_type: str, most: int, now: int) -> list[ItemChange]:
    """The changes of several items.

    Args:
        body: an item or a list of items as JSON, or a line of JSON for each.
        media_type: ``application/json`` or ``application/x-ndjson``.
        id_type: of the release: int64 or string.
        most: items.
        now: microseconds since 1970.

    Raises:
        InvalidFieldsError: names each field at fault, and its place in the list.
    """
    posted, one = _MANY.read(body, media_type, most)
    faults: list[FieldFault] = []
    for number, item in enumerate(posted):
        index = None if one else number
        if (message := id_fault(id_type, item.item_id)) is not None:
            faults.append(FieldFault(field="item_id", message=message, index=index))
        elif item.model_fields_set == {"item_id"}:
            faults.append(FieldFault(field="body", message=_NOTHING, index=index))
    if faults:
        raise InvalidFieldsError(faults[:MOST_FAULTS])
    return [change for item in posted for change in _changes(item.item_id, item, now)]


def _changes(item_id: Key, stated: ItemFields, now: int) -> list[ItemChange]:
    return [
        ItemChange(item_id, field, getattr(stated, field), now) for field in FIELDS if field in stated.model_fields_set
    ]
