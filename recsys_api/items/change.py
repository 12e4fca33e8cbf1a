"""One change of one field of an item, and the form in which landing files hold it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from recsys_assets.storage.lists import Key

Value = bool | float | str


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What is so of an item from now on.

    Attributes:
        item_id: of the data set's id type.
        field: ``available``, ``price`` or ``category``.
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


class ItemChanges:
    """The newest change of each field of each item, by order of arrival.

    Attributes:
        cursor: the sequence up to which changes were taken.
    """

    def __init__(self) -> None:
        self.cursor = 0
        self._newest: dict[tuple[Key, str], ItemChange] = {}

    def __len__(self) -> int:
        """Number of fields with a change."""
        return len(self._newest)

    def all(self) -> list[ItemChange]:
        """All of them, in the order of arrival."""
        return list(self._newest.values())

    def take(self, arrived: Iterable[tuple[int, ItemChange]]) -> list[ItemChange]:
        """Add what has arrived, ascending by sequence; returns what is new: taking the same again changes nothing."""
        news = [(sequence, change) for sequence, change in arrived if sequence > self.cursor]
        for sequence, change in news:
            self.cursor = sequence
            # Taken out first, so that the order stays that of arrival.
            self._newest.pop((change.item_id, change.field), None)
            self._newest[change.item_id, change.field] = change
        return [change for _, change in news]

    def forget(self, oldest: int, most: int) -> int:
        """Forget changes from before a time, and those beyond the newest ones; returns how many.

        Args:
            oldest: microseconds since 1970.
            most: changes to keep.
        """
        kept = [(key, change) for key, change in self._newest.items() if change.ts >= oldest]
        kept = kept[max(0, len(kept) - most) :]
        forgotten = len(self._newest) - len(kept)
        if forgotten:
            self._newest = dict(kept)
        return forgotten
