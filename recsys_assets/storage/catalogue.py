"""The catalogue of a release: what it knows of each item, read from a memory map.

``catalogue.arrow`` is one uncompressed Arrow IPC file of one record batch, rows by ``item_id`` ascending:

=============== ==================================================================================================
``item_id``     int64 or large_string, unique
``category_id`` dictionary of strings; null: no category
``root_id``     dictionary of strings; null: no category, or one that is not in the tree
``depth``       int64, 1 for a root; null likewise
``available``   bool; true where never stated
``price``       float64; null: never stated
``first_seen``  date32; null: nothing but a list of the release names the item
``brand``       dictionary of strings; null: never stated. Optional
``title``       large_string; null likewise. Optional
=============== ==================================================================================================

An optional column is left out where it is null for all items. Names in a dictionary ascend, so equal tables give equal
bytes. Under each null lies a value that no item has (depth 0, price NaN, the earliest date): a mapped column is one
numpy array over the bytes of the file, without its validity bitmap. Codes of names are the exception: some readers
refuse one that is out of range even under a null. A title is read from the map when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.storage.mapped_batch import BatchFormat
from recsys_assets.storage.mapped_ids import Key, mapped_ids

CATALOGUE_FILE = "catalogue.arrow"
COLUMNS = ("item_id", "category_id", "root_id", "depth", "available", "price", "first_seen")
OPTIONAL = ("brand", "title")
FORMAT_VERSION = 1
NEVER = np.iinfo(np.int32).min
"""Under a null ``first_seen``, in days since 1970-01-01."""

_EPOCH = date(1970, 1, 1)
_NAMES = pa.dictionary(pa.int32(), pa.string())
_Value = TypeVar("_Value", bound=np.generic)


class CatalogueFormatError(ValueError):
    """A table cannot be written as a catalogue, or a file does not have the format."""


FORMAT = BatchFormat("a catalogue", b"recsys.catalogue", FORMAT_VERSION, CatalogueFormatError)


@dataclass(frozen=True)
class Names:
    """A column of names: a code per row, and the names that the codes stand for.

    Attributes:
        codes: int32 [items]; -1 is null.
        names: in a release ascending by code point; the code is the position.
    """

    codes: npt.NDArray[np.int32]
    names: tuple[str, ...]

    def name(self, row: int) -> str | None:
        """The name in a row; None where it is null."""
        code = int(self.codes[row])
        return None if code < 0 else self.names[code]


@dataclass(frozen=True)
class KnownItem:
    """What a release knows of one item; see the module for the columns. None is not known."""

    item_id: Key
    category: str | None
    root: str | None
    depth: int | None
    available: bool
    price: float | None
    first_seen: date | None
    brand: str | None = None
    title: str | None = None


class Catalogue:
    """The items of a release, memory-mapped. Immutable and thread-safe.

    Attributes:
        released: False for a release from before there were catalogues, of which no item is known.
        item_type: ``int64`` or ``string``.
        item_ids: ascending, over the mapped bytes.
        category: see :class:`Names`; codes are copied where some are null.
        root: likewise.
        depth: int64 [items]; 0 is null.
        available: bool [items]; copied, since Arrow packs its bits.
        price: float64 [items]; NaN is null.
        first_seen: int32 [items], days since 1970-01-01; :data:`NEVER` is null.
        brand: as ``category``.
    """

    __slots__ = (
        "_ids",
        "_titles",
        "available",
        "brand",
        "category",
        "depth",
        "first_seen",
        "item_ids",
        "item_type",
        "price",
        "released",
        "root",
    )

    def __init__(self, batch: pa.RecordBatch, *, released: bool = True) -> None:
        self.released = released
        self.item_ids: pa.Array = batch.column("item_id")
        self._ids = mapped_ids(self.item_ids)
        self.item_type: Literal["int64", "string"] = self._ids.type
        self.category = _names(batch.column("category_id"))
        self.root = _names(batch.column("root_id"))
        self.depth = _values(batch.column("depth"), np.int64)
        self.available: npt.NDArray[np.bool_] = _flags(batch.column("available"))
        self.price = _values(batch.column("price"), np.float64)
        self.first_seen = _values(batch.column("first_seen"), np.int32)
        stated = set(batch.schema.names)
        nameless = Names(np.broadcast_to(np.int32(-1), len(batch)), ())  # one number, whatever the length
        self.brand = _names(batch.column("brand")) if "brand" in stated else nameless
        self._titles: pa.Array | None = batch.column("title") if "title" in stated else None

    @classmethod
    def open(cls, path: Path) -> Catalogue:
        """Map a catalogue.

        Raises:
            FileNotFoundError: the file does not exist.
            CatalogueFormatError: it is not Arrow IPC, or of another format version or schema.
        """
        return cls(FORMAT.map(path, COLUMNS, _fits))

    @classmethod
    def absent(cls, item_type: str) -> Catalogue:
        """The catalogue of a release that has none: no item is known."""
        types = _types(pa.int64() if item_type == "int64" else pa.large_string())
        schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
        return cls(pa.RecordBatch.from_arrays([pa.nulls(0, dtype) for dtype in types], schema=schema), released=False)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    def position(self, item_id: Key) -> int | None:
        """Row of an item, by binary search; None if it is unknown."""
        return self._ids.position(item_id)

    def positions(self, ids: Sequence[Key]) -> npt.NDArray[np.int64]:
        """Rows of items, by binary search.

        Args:
            ids: items; one of the other type, or beyond int64, is unknown.

        Returns:
            int64 [ids]; -1 for an unknown item.
        """
        return self._ids.positions(ids)

    def id_at(self, row: int) -> Key:
        """The item in a row."""
        return self._ids.at([row])[0]

    def title(self, row: int) -> str | None:
        """The title of the item in a row; None where it is null."""
        return None if self._titles is None else self._titles[row].as_py()

    def item(self, item_id: Key) -> KnownItem | None:
        """What is known of an item; None where it is unknown."""
        row = self.position(item_id)
        if row is None:
            return None
        depth, price, seen = int(self.depth[row]), float(self.price[row]), int(self.first_seen[row])
        return KnownItem(
            item_id=item_id,
            category=self.category.name(row),
            root=self.root.name(row),
            depth=depth or None,
            available=bool(self.available[row]),
            price=None if np.isnan(price) else price,
            first_seen=None if seen == NEVER else _EPOCH + timedelta(days=seen),
            brand=self.brand.name(row),
            title=self.title(row),
        )


def _fits(schema: pa.Schema) -> bool:
    names = tuple(schema.names)
    stated = tuple(name for name in OPTIONAL if name in names)
    optional = [pa.large_string() if name == "title" else _NAMES for name in stated]
    return schema.types == [*_types(schema.field(0).type), *optional] and names == (*COLUMNS, *stated)


def _types(ids: pa.DataType) -> list[pa.DataType]:
    return [
        pa.int64() if pa.types.is_int64(ids) else pa.large_string(),
        _NAMES,
        _NAMES,
        pa.int64(),
        pa.bool_(),
        pa.float64(),
        pa.date32(),
    ]


def _flags(array: pa.Array) -> npt.NDArray[np.bool_]:
    # Not to_numpy, which imports pandas where that is installed.
    return np.from_dlpack(array.cast(pa.uint8())).astype(np.bool_)


def _values(array: pa.Array, dtype: type[_Value]) -> npt.NDArray[_Value]:
    """A column as a numpy view over the mapped bytes, nulls and all."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(buffer, dtype, len(array), array.offset * np.dtype(dtype).itemsize)


def _names(array: pa.DictionaryArray) -> Names:
    codes = _values(array.indices, np.int32)
    if array.null_count:
        codes = np.where(_flags(array.is_valid()), codes, np.int32(-1))
    return Names(codes, tuple(array.dictionary.to_pylist()))
