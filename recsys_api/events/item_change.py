"""One change of one field of an item, and the form in which landing files hold it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from recsys_assets.storage.lists import Key

Value = bool | float | str


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What is so of an item from now on.

    Attributes:
        item_id: of the data set's id type.
        field: ``available``, ``price``, ``category``, ``brand`` or ``title``.
        value: of that field: bool, number or text.
        ts: when it arrived; microseconds since 1970, UTC.
    """

    item_id: Key
    field: str
    value: Value
    ts: int


def property_value(value: Value) -> str:
    """A value as files of item properties hold it: ``1`` or ``0``, a number without an exponent, or the text."""
    if isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, bool) else format(Decimal(repr(value)), "f")
