"""A catalogue in which items have changed since the release, and items that the release does not know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from recsys_api.events.item_change import ItemChange, Value
from recsys_assets.storage.catalogue import NEVER, Catalogue, Names
from recsys_assets.storage.lists import Key

_Number = TypeVar("_Number", bound=np.generic)


class ChangedCatalogue(Catalogue):
    """A catalogue with changes. Immutable and thread-safe, as the one before it, whose columns it shares or copies.

    Rows of items that the release knows stay where they are, and the others follow them, by id. Such an item is
    available unless a change says otherwise, and was never seen. What is above a category is what it was in the
    release: nothing, where no item had that category.

    Args:
        before: the catalogue of a release, or one with earlier changes.
        changes: in the order of arrival.
    """

    __slots__ = ("_added_ids", "_changed_titles", "_release", "added")

    def __init__(self, before: Catalogue, changes: Iterable[ItemChange]) -> None:
        self.released, self.item_type = before.released, before.item_type
        self.item_ids, self._ids = before.item_ids, before._ids
        earlier = before if isinstance(before, ChangedCatalogue) else None
        self._release: Catalogue = before if earlier is None else earlier._release
        stated: dict[str, dict[Key, Any]] = {name: {} for name in ("available", "price", "category", "brand", "title")}
        for change in changes:
            stated[change.field][change.item_id] = change.value
        items = list(dict.fromkeys(item for values in stated.values() for item in values))
        new = [item for item, row in zip(items, before.positions(items).tolist(), strict=True) if row < 0]
        # Ids of a release are of one type.
        added: list[Any] = [*new, *(() if earlier is None else earlier._added_ids)]
        self._added_ids: tuple[Key, ...] = tuple(sorted(added))
        self.added: Mapping[Key, int] = {item: len(self.item_ids) + n for n, item in enumerate(self._added_ids)}
        grown = _Grown(len(self.item_ids), before.positions(self._added_ids) if new else None)
        rows = dict(zip(items, self.positions(items).tolist(), strict=True))
        self.available = _with(grown(before.available, True), stated["available"], rows)
        self.price = _with(grown(before.price, np.nan), stated["price"], rows)
        self.first_seen = grown(before.first_seen, NEVER)
        self.brand = _with_names(before.brand, grown, stated["brand"], rows)
        self._titles = before._titles
        self._changed_titles: Mapping[Key, str] = {**(earlier._changed_titles if earlier else {}), **stated["title"]}
        self.category = _with_names(before.category, grown, stated["category"], rows)
        code_of = {name: code for code, name in enumerate(self._release.category.names)}
        above = {name: _above(self._release, code_of.get(name)) for name in dict.fromkeys(stated["category"].values())}
        roots, depths = ({item: above[name][part] for item, name in stated["category"].items()} for part in range(2))
        self.root = Names(_with(grown(before.root.codes, -1), roots, rows), before.root.names)
        self.depth = _with(grown(before.depth, 0), depths, rows)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_ids) + len(self._added_ids)

    def position(self, item_id: Key) -> int | None:
        """Row of an item; None if it is unknown."""
        row = super().position(item_id)
        return self.added.get(item_id) if row is None else row

    def positions(self, ids: Sequence[Key]) -> npt.NDArray[np.int64]:
        """Rows of items; -1 for an unknown one."""
        found = super().positions(ids)
        if self.added:
            for place in np.flatnonzero(found < 0).tolist():
                found[place] = self.added.get(ids[place], -1)
        return found

    def title(self, row: int) -> str | None:
        """The title of the item in a row; None where it is null."""
        changed = self._changed_titles.get(self.id_at(row)) if self._changed_titles else None
        return changed if changed is not None or row >= len(self.item_ids) else super().title(row)

    def id_at(self, row: int) -> Key:
        """The item in a row."""
        known = len(self.item_ids)
        return super().id_at(row) if row < known else self._added_ids[row - known]


class _Grown:
    """Gives columns room for added items.

    Args:
        known: items of the release.
        rows: of each added item, its row in the columns so far, -1 for a new one; None if there is no new one.
    """

    def __init__(self, known: int, rows: npt.NDArray[np.int64] | None) -> None:
        self._known, self._rows = known, rows

    def __call__(self, column: npt.NDArray[_Number], empty: object) -> npt.NDArray[_Number]:
        """The column with rows for all added items, the new ones empty; itself where there is no new one."""
        if self._rows is None:
            return column
        added = np.full(len(self._rows), empty, column.dtype)
        known = self._rows >= 0
        added[known] = column[self._rows[known]]
        return np.concatenate([column[: self._known], added])


def _with(column: npt.NDArray[_Number], values: Mapping[Key, Value], rows: Mapping[Key, int]) -> npt.NDArray[_Number]:
    """The column with other values in some rows; itself where there are none."""
    if not values:
        return column
    changed = column.copy()
    changed[[rows[item] for item in values]] = list(values.values())
    return changed


def _with_names(column: Names, grown: _Grown, values: Mapping[Key, str], rows: Mapping[Key, int]) -> Names:
    """A column of names with other ones in some rows; new names follow the known ones."""
    codes = grown(column.codes, -1)
    if not values:
        return Names(codes, column.names)
    code_of = {name: code for code, name in enumerate(dict.fromkeys([*column.names, *values.values()]))}
    return Names(_with(codes, {item: code_of[name] for item, name in values.items()}, rows), tuple(code_of))


def _above(release: Catalogue, code: int | None) -> tuple[int, int]:
    """Code of the root, and depth, of a category in a release, as any item of it has them; (-1, 0) if none has it."""
    if code is None:
        return -1, 0
    alike = np.flatnonzero(release.category.codes == code)
    return (int(release.root.codes[alike[0]]), int(release.depth[alike[0]])) if len(alike) else (-1, 0)
