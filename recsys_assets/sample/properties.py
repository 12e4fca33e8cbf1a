"""Property snapshots: what the catalogue said about its items, Sunday by Sunday.

An item is described in full once, now and then again; between, single properties are repeated or changed. Rows are made
for a block of items at a time and shuffled within it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys_assets.sample.catalog import Catalog, Ints, spread_ids
from recsys_assets.sample.titles import titles_and_brands

_BLOCK = 8_192
_AGAIN = 0.043
"""Chance that an item is described in full once more at a later snapshot."""
_REPEATED = {"categoryid": 0.07, "available": 0.2, "790": 0.25, "888": 0.48, "6": 0.04, "283": 0.034}
"""Chance that one property is repeated at a later snapshot; these give the real counts of rows per item."""
_CATEGORY_MOVES, _PRICE_MOVES = 0.008, 0.03
"""Chance for each later snapshot that an item changes its category, or its price."""
_COMMON = ("364", "678", "776", "917", "112", "227", "591")
_RARE = [str(code) for code in range(1_104) if str(code) not in {*_REPEATED, *_COMMON}]
_OTHERS = pl.Series([*_COMMON, *_RARE])
"""Names of the properties that are only ever logged with the full description; the first few belong to every item."""
_TOKENS = 1_300_000
_PART1_SHARE = 10_999_999 / 20_275_902

Mask = NDArray[np.bool_]


def property_rows(catalog: Catalog) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the rows of a block of items, split for the two files: timestamp (ms), itemid, property, value."""
    for block, first in enumerate(range(0, catalog.size, _BLOCK)):
        items = np.arange(first, min(first + _BLOCK, catalog.size))
        items = items[catalog.first_snapshot[items] < 127]
        rng = np.random.default_rng([catalog.config.seed, 5, block])
        rows = pl.concat(_Block(catalog, items, rng).frames())
        rows = rows[rng.permutation(len(rows))]
        cut = round(len(rows) * _PART1_SHARE)
        yield rows[:cut], rows[cut:]


def block_count(catalog: Catalog) -> int:
    """How many blocks :func:`property_rows` yields."""
    return -(-catalog.size // _BLOCK)


class _Block:
    """The log of some items; masks and values are ``[item, snapshot]``."""

    def __init__(self, catalog: Catalog, items: Ints, rng: np.random.Generator) -> None:
        self._catalog, self._items, self._rng = catalog, items, rng
        self._shown = spread_ids(items, catalog.id_space)
        self._times = np.array(catalog.config.snapshots_ms)
        snapshot, first = np.arange(len(self._times)), catalog.first_snapshot[items][:, None]
        self._later = snapshot > first
        self._full = (snapshot == first) | (self._later & self._chance(_AGAIN))

    def frames(self) -> Iterator[pl.DataFrame]:
        """The rows of each property."""
        category, moved = self._categories()
        yield self._log("categoryid", moved, _text("a"), category)
        available = self._availability()
        yield self._log("available", np.diff(available, axis=1, prepend=available[:, :1]), _text("a"), available)
        price, moved = self._prices()
        yield self._log("790", moved, _number("a"), price)
        never = np.zeros_like(self._later)
        yield self._log("888", never, pl.format("{} {} {}", "a", "b", _number("c")), *self._tokens(3))
        yield self._log("6", never, _text("a"), *self._tokens(1))
        yield self._log("283", never, pl.format("{} {} {} {} {}", "a", "b", _number("c"), "d", "e"), *self._tokens(5))
        yield self._others()
        yield from self._names()

    def _names(self) -> Iterator[pl.DataFrame]:
        """Titles and brands, which the real data do not tell; said once, since they never change."""
        item, at = np.nonzero(self._full & ~self._later)
        shelves = self._catalog.shelf(self._items)
        for name, values in zip(("title", "brand"), titles_and_brands(self._items, shelves), strict=True):
            frame = pl.DataFrame({"timestamp": self._times[at], "itemid": self._shown[item]})
            yield frame.with_columns(property=pl.lit(name), value=values.gather(item))

    def _chance(self, share: float) -> Mask:
        return self._rng.random((len(self._items), len(self._times))) < share

    def _log(self, name: str, changed: Mask, value: pl.Expr, *values: Ints) -> pl.DataFrame:
        """Rows of one property: with the full description, where it changed, and repeated by chance."""
        item, at = np.nonzero(self._full | (self._later & (changed | self._chance(_REPEATED[name]))))
        columns = {letter: each[item, at] for letter, each in zip("abcde", values, strict=False)}
        return self._frame(item, at, columns, pl.lit(name), value)

    def _frame(self, item: Ints, at: Ints, columns: dict[str, Ints], name: pl.Expr, value: pl.Expr) -> pl.DataFrame:
        frame = pl.DataFrame({"timestamp": self._times[at], "itemid": self._shown[item], **columns})
        return frame.select("timestamp", "itemid", name.alias("property"), value.alias("value"))

    def _categories(self) -> tuple[Ints, Mask]:
        """Category ids; a few items move to another one of their taste, misfiled ones show one outside the tree."""
        catalog = self._catalog
        moved = self._later & self._chance(_CATEGORY_MOVES)
        shelf = catalog.shelf(self._items)[:, None]
        taste = len(catalog.category) // catalog.tastes
        target = shelf // taste * taste + self._rng.integers(0, taste, moved.shape)
        # The last move up to each snapshot, or the item's own shelf (column 0).
        column = np.maximum.accumulate(np.where(moved, np.arange(1, moved.shape[1] + 1), 0), axis=1)
        shelf = np.take_along_axis(np.concatenate([shelf, target], axis=1), column, axis=1)
        ids = catalog.tree.ids[catalog.category[shelf]]
        misfiled = np.flatnonzero(np.isin(self._items, catalog.misfiled))
        ids[misfiled] = catalog.tree.ids.max() + 1 + self._items[misfiled, None] % 7
        return ids, moved

    def _availability(self) -> Ints:
        states = [self._catalog.is_available(self._items, at) for at in range(len(self._times))]
        return np.stack(states, axis=1).astype(np.int64)

    def _prices(self) -> tuple[Ints, Mask]:
        """Prices in thousandths."""
        moved = self._later & self._chance(_PRICE_MOVES)
        steps = np.cumsum(np.where(moved, self._rng.normal(0, 0.15, moved.shape), 0), axis=1)
        level = 9.2 + 1.2 * self._rng.standard_normal((len(self._items), 1))
        return np.exp(level + steps).astype(np.int64) * 12, moved

    def _tokens(self, count: int) -> list[Ints]:
        """Words of a text, the same at every snapshot."""
        words = [_mix(self._items * 8 + place) % _TOKENS for place in range(count)]
        return [np.broadcast_to(word[:, None], self._later.shape) for word in words]

    def _others(self) -> pl.DataFrame:
        """All further properties; half of them take a few codes, some of the others are numbers."""
        slot = np.arange(self._catalog.config.properties_per_item)
        shelf = self._catalog.shelf(self._items)[:, None]
        of_shelf = len(_COMMON) + (shelf * 31 + slot * 7) % (len(_OTHERS) - len(_COMMON))
        name = np.where(slot < len(_COMMON), slot, of_shelf)
        code = _mix(self._items[:, None] * 64 + slot) % np.where(name % 2 == 0, 3 + name % 7, 90_000)
        code = _mix(name * 100_000 + code) % _TOKENS
        item, at = np.nonzero(self._full)
        slots = np.tile(slot, len(item))
        item, at = np.repeat(item, len(slot)), np.repeat(at, len(slot))
        names = name[item, slots]
        columns = {"a": code[item, slots], "b": names % 10 == 3}
        value = pl.when(pl.col("b")).then(_number("a")).otherwise(_text("a"))
        return self._frame(item, at, columns, pl.lit(_OTHERS.gather(names)), value)


def _text(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String)


def _number(column: str) -> pl.Expr:
    """Thousandths as the data writes numbers: ``n277.200``."""
    whole, rest = pl.col(column) // 1000, pl.col(column) % 1000
    return pl.format("n{}.{}", whole, rest.cast(pl.String).str.zfill(3))


def _mix(numbers: Ints) -> Ints:
    """Scatter numbers over 0..2^62 (the finaliser of splitmix64)."""
    x = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(2)).astype(np.int64)
