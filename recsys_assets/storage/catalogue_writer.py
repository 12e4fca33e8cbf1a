"""Writes the catalogue of a release; :mod:`recsys_assets.storage.catalogue` states the format and reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.storage.catalogue import (
    CATALOGUE_FILE,
    COLUMNS,
    FORMAT,
    NEVER,
    OPTIONAL,
    CatalogueFormatError,
)

_STRINGS = (pa.string(), pa.large_string(), pa.string_view())


def with_listed(features: pa.Table, listed: Sequence[pa.ChunkedArray]) -> pa.Table:
    """Features of items, and a row without any for each item that only lists of the release name.

    A list may look further back than features do: popular items of all time, for example.

    Args:
        features: at least the columns :data:`~recsys_assets.storage.catalogue.COLUMNS`; those of
            :data:`~recsys_assets.storage.catalogue.OPTIONAL` may be among them.
        listed: item ids of the lists, of the type of ``item_id``.

    Returns:
        These columns, ``item_id`` ascending. An added item is available; all else is null. So is one whose availability
        is unknown: it is in lists, which leave out what is known to be unavailable.
    """
    names = [*COLUMNS, *(name for name in OPTIONAL if name in features.column_names)]
    features = features.select(names)
    available = features["available"].fill_null(True)
    features = features.set_column(names.index("available"), features.schema.field("available"), available)
    ids = features.schema.field("item_id").type
    chunks = [chunk for items in listed for chunk in items.cast(ids).chunks]
    items = pa.chunked_array(chunks, ids).unique()
    known = pc.SetLookupOptions(value_set=features["item_id"].unique())
    has_features = pc.call_function("is_in", [items], known)
    added = items.filter(pc.call_function("invert", [has_features]))
    columns = {name: pa.nulls(len(added), features.schema.field(name).type) for name in names}
    columns |= {"item_id": added, "available": pa.array(np.ones(len(added), np.bool_))}
    # Without the schema's "not null", which holds no more.
    schema = pa.schema([pa.field(name, features.schema.field(name).type) for name in names])
    both = pa.concat_tables([features.cast(schema), pa.table(columns, schema=schema)])
    return both.sort_by("item_id")


def write_catalogue(table: pa.Table, folder: Path) -> Path:
    """Write the catalogue of a release; equal tables give equal bytes.

    Args:
        table: the columns :data:`COLUMNS`, ``item_id`` ascending and unique, of the types above; plain strings instead
            of dictionaries. Columns of :data:`OPTIONAL` may be absent; other columns are left out.
        folder: of the file.

    Returns:
        Path of the file.

    Raises:
        CatalogueFormatError: a column is missing or of another type, ``item_id`` or ``available`` is null, a price is
            not finite, or items are not ascending.
    """
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing:
        raise CatalogueFormatError(f"catalogue: columns {missing} are missing, found {table.column_names}")
    integers = pa.types.is_integer(table.schema.field("item_id").type)
    items = _column(table, "item_id", pa.int64() if integers else pa.large_string(), nullable=False)
    _expect_ascending(items)
    price = _column(table, "price", pa.float64())
    if not np.isfinite(price.drop_null().to_numpy()).all():
        raise CatalogueFormatError("catalogue: column 'price' must be finite or null, found NaN or infinity")
    columns = {
        "item_id": items,
        "category_id": _encoded(table, "category_id"),
        "root_id": _encoded(table, "root_id"),
        "depth": _over(_column(table, "depth", pa.int64()), pa.int64(), 0),
        "available": _column(table, "available", pa.bool_(), nullable=False),
        "price": _over(price, pa.float64(), float("nan")),
        "first_seen": _over(_column(table, "first_seen", pa.date32()).view(pa.int32()), pa.int32(), int(NEVER)).view(
            pa.date32()
        ),
    }
    columns |= {name: array for name in OPTIONAL if (array := _stated(table, name)) is not None}
    schema = pa.schema([pa.field(name, array.type) for name, array in columns.items()], metadata=FORMAT.metadata)
    path = folder / CATALOGUE_FILE
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
    return path


def _column(table: pa.Table, name: str, dtype: pa.DataType, *, nullable: bool = True) -> pa.Array:
    """One column as one contiguous array of a type."""
    values = table.column(name)
    if values.null_count and not nullable:
        raise CatalogueFormatError(f"catalogue: column {name!r} must not be null, found {values.null_count} nulls")
    # A cast is refused where it would change the meaning: numbers to strings, strings to numbers.
    text = dtype in _STRINGS
    if values.type != dtype:
        try:
            if text != (values.type in _STRINGS):
                raise pa.ArrowInvalid("not cast")
            values = values.cast(dtype)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise CatalogueFormatError(
                f"catalogue: column {name!r} must be {dtype}, found {table.schema.field(name).type}: {error}"
            ) from error
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], dtype)


def _expect_ascending(items: pa.Array) -> None:
    ascending = pc.call_function("less", [items[:-1], items[1:]]).to_numpy(zero_copy_only=False)
    if not ascending.all():
        row = int(ascending.argmin())
        raise CatalogueFormatError(
            f"catalogue: column 'item_id' must ascend without repeats, found {items[row]} before {items[row + 1]}"
        )


def _over(array: pa.Array, dtype: pa.DataType, under: float) -> pa.Array:
    """The array with a stated value in the bytes under each null."""
    mask = array.is_null().to_numpy(zero_copy_only=False)
    values = array.fill_null(pa.scalar(under, dtype)).to_numpy()
    return pa.array(values, dtype, mask=mask) if mask.any() else pa.array(values, dtype)


def _stated(table: pa.Table, name: str) -> pa.Array | None:
    """An optional column; None where no item has a value."""
    if name not in table.column_names or table.column(name).null_count == len(table):
        return None
    if name == "title":
        titles = _column(table, name, pa.large_string())
        # Made anew, so that nothing lies under a null.
        nothing = pa.scalar(None, pa.large_string())
        return pc.call_function("if_else", [titles.is_valid(), titles, nothing])
    return _encoded(table, name)


def _encoded(table: pa.Table, name: str) -> pa.DictionaryArray:
    """A column of names as codes into its ascending names."""
    encoded = _column(table, name, pa.string()).dictionary_encode()
    unsorted: list[str] = encoded.dictionary.to_pylist()
    names = sorted(unsorted)
    places = {found: place for place, found in enumerate(names)}
    place_of = pa.array(np.array([places[found] for found in unsorted], np.int32))
    indices = _over(place_of.take(encoded.indices), pa.int32(), 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))
