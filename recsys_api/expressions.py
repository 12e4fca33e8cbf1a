"""Filters over the catalogue of a release.

The language, and what null means in it, is in :mod:`recsys_assets.core.placements.expressions`. Here a filter becomes a
mask over all items of the catalogue, one numpy operation per comparison. Masks of the filters used last are kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import date

import numpy as np
import numpy.typing as npt

from recsys_assets.core.placements.expressions import (
    FIELDS,
    AllOf,
    AnyOf,
    Comparison,
    Expression,
    FilterError,
    Membership,
    Nullness,
    Operator,
    parse,
)
from recsys_assets.storage.catalogue import NEVER, Catalogue, Names
from recsys_assets.storage.lists import Key

Mask = npt.NDArray[np.bool_]
_EPOCH = date(1970, 1, 1)
_COMPARE = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


class Filters:
    """The filters of one release. Thread-safe: several requests may ask at once.

    Kept are the masks of the filters used last, up to a number of bytes, whatever the length of the catalogue: what
    people write into addresses must not fill the memory. They go with the release that they belong to.

    Args:
        catalogue: of the release.
        as_of: day of the release, from which ages are counted.
        most_bytes: of masks that are kept; the newest one is kept in any case.
    """

    def __init__(self, catalogue: Catalogue, as_of: date, most_bytes: int = 16 << 20) -> None:
        self.catalogue = catalogue
        self._as_of = (as_of - _EPOCH).days
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Mask] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def mask(self, text: str) -> Mask:
        """Which items a filter lets pass.

        Returns:
            Bool [items], in the order of the catalogue; read-only.

        Raises:
            FilterError: the text is no filter, or the release has no catalogue.
        """
        with self._lock:
            kept = self._kept.get(text)
            if kept is not None:
                self._kept.move_to_end(text)
                return kept
        if not self.catalogue.released:
            raise FilterError("this release has no catalogue that a filter could ask; it cannot be applied", 0)
        return self._keep(text, self._evaluate(parse(text, self.catalogue.item_type)))

    def passes(self, text: str, positions: npt.NDArray[np.int64]) -> Mask:
        """Which rows of the catalogue a filter lets pass; never -1, an item that the catalogue does not know.

        Returns:
            Bool [positions].

        Raises:
            FilterError: as for :meth:`mask`.
        """
        return passes_mask(self.mask(text), positions)

    def _keep(self, text: str, mask: Mask) -> Mask:
        mask.flags.writeable = False
        with self._lock:
            if text not in self._kept:
                self._kept[text] = mask
                self._bytes += mask.nbytes
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return mask

    def _evaluate(self, expression: Expression) -> Mask:
        match expression:
            case AllOf(parts):
                return np.logical_and.reduce([self._evaluate(part) for part in parts])
            case AnyOf(parts):
                return np.logical_or.reduce([self._evaluate(part) for part in parts])
            case Comparison(field, operator, value):
                return self._compare(field, operator, value)
            case Membership(field, values, negated):
                return self._among(field, values, negated)
            case Nullness(field, negated):
                return self._is_null(field) != negated

    def _compare(self, field: str, operator: Operator, value: Key | float | bool) -> Mask:
        if field == "available":
            return _COMPARE[operator](self.catalogue.available, value)
        if FIELDS[field] in ("id", "text"):
            return self._among(field, (value,), operator == "!=")
        numbers = self._numbers(field)
        # NaN stands for null. It is unequal to every number, but no comparison with null is true.
        return _COMPARE[operator](numbers, value) & ~np.isnan(numbers)

    def _among(self, field: str, values: Sequence[Key | float | bool], negated: bool) -> Mask:
        if field == "item_id":
            found = np.zeros(len(self.catalogue), np.bool_)
            positions = self.catalogue.positions([value for value in values if not isinstance(value, float)])
            found[positions[positions >= 0]] = True
            return found != negated
        if FIELDS[field] == "text":
            return _names_among(self._names(field), values, negated)
        if field == "available":
            return np.isin(self.catalogue.available, np.array(values, np.bool_)) != negated
        numbers = self._numbers(field)
        return (np.isin(numbers, np.array(values, np.float64)) != negated) & ~np.isnan(numbers)

    def _is_null(self, field: str) -> Mask:
        if FIELDS[field] == "text":
            return self._names(field).codes < 0
        if field in ("item_id", "available"):
            return np.zeros(len(self.catalogue), np.bool_)
        return np.isnan(self._numbers(field))

    def _names(self, field: str) -> Names:
        catalogue = self.catalogue
        return {"category": catalogue.category, "root": catalogue.root, "brand": catalogue.brand}[field]

    def _numbers(self, field: str) -> npt.NDArray[np.float64]:
        """A column as float64 with NaN for null."""
        if field == "price":
            return self.catalogue.price
        if field == "depth":
            return np.where(self.catalogue.depth == 0, np.nan, self.catalogue.depth)
        seen = self.catalogue.first_seen
        return np.where(seen == NEVER, np.nan, self._as_of - seen.astype(np.float64))


def passes_mask(mask: Mask, positions: npt.NDArray[np.int64]) -> Mask:
    """The mask at some rows of the catalogue; False at -1, an item that the catalogue does not know."""
    found = positions >= 0
    found[found] = mask[positions[found]]
    return found


def _names_among(column: Names, values: Sequence[object], negated: bool) -> Mask:
    """Compared as codes: one look-up in a table with an entry per name, and one for null."""
    wanted = set(values)
    table = np.array([(name in wanted) != negated for name in column.names] + [False])
    return table[column.codes]  # code -1, for null, is the last entry
