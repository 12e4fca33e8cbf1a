"""The changes of items that a worker serves with."""

from __future__ import annotations

from collections.abc import Iterable

from recsys_api.events.item_change import ItemChange
from recsys_assets.storage.lists import Key


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
