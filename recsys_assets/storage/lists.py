"""Ranked lists that serving reads from a memory map.

A set of lists (for example, the recommendations of all users) is three uncompressed Arrow IPC files:

======================= ===============================================================================
``<name>.keys.arrow``    ``key`` ascending (int64 or large_string), ``start``: row at which its list starts
``<name>.entries.arrow`` ``item_id`` (int64 or large_string) and ``source`` (dictionary): each pair once, ascending
``<name>.rows.arrow``    ``entry``: position among the entries, ``score`` float32, by rank
======================= ===============================================================================

Starts and positions have the narrowest unsigned type, so a ranked row takes 8 bytes, or 6 where there are at most
65,536 entries. Each file holds one record batch without nulls, so a mapped column is an array over the bytes of the
file. Opening allocates no memory, a lookup is a binary search that touches a few pages, and all workers of a machine
share the page cache. Rows of a key are dense and in rank order, so the rank is the position and is not stored; a list
stops where the next one starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.storage.mapped_batch import BatchFormat
from recsys_assets.storage.mapped_ids import Key as Key
from recsys_assets.storage.mapped_ids import mapped_ids, view

FORMAT_VERSION = 2
_SIZE_KEY = b"recsys.ranked_lists.size"
_COLUMNS = (("key", "start"), ("item_id", "source"), ("entry", "score"))

Ints = npt.NDArray[np.int64]


class RankedItem(NamedTuple):
    """A row of a list; its rank is the 1-based position. A tuple, since requests make many.

    Attributes:
        item_id: the item.
        score: by its source; comparable only within one source.
        source: what put it there.
    """

    item_id: Key
    score: float
    source: str


_new = cast("Callable[[type[RankedItem], tuple[Key, float, str]], RankedItem]", tuple.__new__)
"""``RankedItem._make`` in a third of its time."""


class ListFormatError(ValueError):
    """A table cannot be written as ranked lists, or a file does not have the format."""


_FORMAT = BatchFormat("ranked lists", b"recsys.ranked_lists", FORMAT_VERSION, ListFormatError)


def list_files(name: str) -> tuple[str, str, str]:
    """File names of a set of lists: keys, entries, rows."""
    return f"{name}.keys.arrow", f"{name}.entries.arrow", f"{name}.rows.arrow"


def write_lists(table: pa.Table, key: str, name: str, folder: Path, *, item: str = "item_id") -> list[Path]:
    """Write a table of ranked rows as lists; equal tables give equal bytes.

    Args:
        table: rows sorted by (``key``, ``rank``): ``key`` and ``item`` (int64 or string), ``rank`` (1..n dense within
            the key), ``score`` (finite; stored as float32), optionally ``source`` (string). Other columns are left out.
        key: column whose values are looked up.
        name: name of the set of lists; also the source of all rows where the table has no ``source``.
        folder: of the two files.
        item: column that holds the listed items.

    Returns:
        Paths of the files, as :func:`list_files` names them.

    Raises:
        ListFormatError: a column is missing, of another type or holds null, NaN or infinity; or the rows are not
            sorted, or ranks not dense.
    """
    missing = [column for column in (key, item, "rank", "score") if column not in table.column_names]
    if missing:
        raise ListFormatError(f"{name}: columns {missing} are missing, found {table.column_names}")
    keys = _ids(table, key, name)
    scores = _column(table, "score", pa.float32(), name)
    finite = np.isfinite(_numbers(scores))
    if not finite.all():
        raise ListFormatError(f"{name}: column 'score' must be finite, found {scores[int(finite.argmin())]}")
    starts = _starts(keys, _numbers(_column(table, "rank", pa.int64(), name)), key, name)
    item_ids, source, entries = _entries(_ids(table, item, name), _sources(table, name), name)
    files = (
        {"key": keys.take(pa.array(starts)), "start": _narrow(starts, len(keys))},
        {"item_id": item_ids, "source": source},
        {"entry": _narrow(entries, len(item_ids)), "score": scores},
    )
    size = f"{len(keys)} rows of {len(item_ids)} entries"
    paths = [folder / file for file in list_files(name)]
    for path, columns in zip(paths, files, strict=True):
        _write(path, columns, size)
    return paths


class RankedLists:
    """A set of ranked lists, memory-mapped. Immutable and thread-safe."""

    __slots__ = (
        "_entries",
        "_item_ids",
        "_items",
        "_keys",
        "_scores",
        "_source_names",
        "_sources",
        "_starts",
        "item_type",
        "key_type",
        "keys",
        "name",
    )

    def __init__(self, name: str, keys: pa.RecordBatch, entries: pa.RecordBatch, rows: pa.RecordBatch) -> None:
        self.name = name
        self.keys: pa.Array = keys.column("key")
        """All keys, ascending, over the mapped bytes."""
        self._item_ids: pa.Array = entries.column("item_id")
        self._keys, self._items = mapped_ids(self.keys), mapped_ids(self._item_ids)
        self.key_type: Literal["int64", "string"] = self._keys.type
        self.item_type: Literal["int64", "string"] = self._items.type
        self._starts = view(keys.column("start"))
        source = entries.column("source")
        self._sources = view(source.indices)
        self._source_names: list[str] = source.dictionary.to_pylist()
        self._entries, self._scores = view(rows.column("entry")), view(rows.column("score"))

    @classmethod
    def open(cls, folder: Path, name: str) -> RankedLists:
        """Map the lists ``name`` in ``folder``.

        Raises:
            FileNotFoundError: a file does not exist.
            ListFormatError: a file is not Arrow IPC, of another format version or schema, or of other lists.
        """
        paths = [folder / file for file in list_files(name)]
        keys, entries, rows = (
            _FORMAT.map(path, columns, lambda schema, names=columns: tuple(schema.names) == names)
            for path, columns in zip(paths, _COLUMNS, strict=True)
        )
        found = f"{rows.num_rows} rows of {entries.num_rows} entries"
        for path, batch in zip(paths, (keys, entries, rows), strict=True):
            if (stated := batch.schema.metadata.get(_SIZE_KEY, b"none").decode()) != found:
                raise ListFormatError(f"{path}: belongs to lists of {stated}, beside it are {found}")
        return cls(name, keys, entries, rows)

    @property
    def rows(self) -> int:
        """Number of ranked rows of all keys."""
        return len(self._entries)

    @property
    def source_names(self) -> list[str]:
        """Every name that is the source of an item."""
        return self._source_names

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """All rows by key and rank, so many at a time: ``key``, ``rank`` from 1, ``item_id``, ``score``, ``source``."""
        starts = np.asarray(self._starts).astype(np.int64)
        entries, scores, sources = map(np.asarray, (self._entries, self._scores, self._sources))
        names = pa.array(self._source_names, pa.string())
        for first in range(0, self.rows, rows):
            entry = entries[first : first + rows]
            row = np.arange(first, first + len(entry))
            of = np.searchsorted(starts, row, side="right") - 1
            yield pa.RecordBatch.from_pydict(
                {
                    "key": self.keys.take(pa.array(of)),
                    "rank": pa.array(row - starts[of] + 1),
                    "item_id": self._item_ids.take(pa.array(entry)),
                    "score": pa.array(scores[first : first + rows]),
                    "source": names.take(pa.array(sources[entry])),
                }
            )

    def listed(self) -> pa.Array:
        """Every item that a list names, once."""
        return self._item_ids.unique()

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._starts)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (int, str)) and self._keys.position(key) is not None

    def position(self, key: Key) -> int | None:
        """Place of a key among all, from 0; None if it is unknown."""
        return self._keys.position(key)

    def get(self, key: Key, k: int) -> list[RankedItem]:
        """The best ``k`` items of a key in rank order; fewer if its list is shorter, none if the key is unknown."""
        position = self._keys.position(key)
        if position is None or k <= 0:
            return []
        starts = self._starts
        start = starts[position]
        stop = min(start + k, starts[position + 1] if position + 1 < len(starts) else len(self._entries))
        entries, scores = self._entries[start:stop].tolist(), self._scores[start:stop].tolist()
        sources, names, row = self._sources, self._source_names, RankedItem
        return [
            _new(row, (item, score, names[sources[entry]]))
            for item, score, entry in zip(self._items.at(entries), scores, entries, strict=True)
        ]


def _column(table: pa.Table, column: str, dtype: pa.DataType, name: str) -> pa.Array:
    """One column as one contiguous array of a type, without nulls."""
    values = table.column(column)
    if values.null_count:
        raise ListFormatError(f"{name}: column {column!r} must not be null, found {values.null_count} nulls")
    if values.type != dtype:
        try:
            values = values.cast(dtype)
        except pa.ArrowInvalid as error:
            raise ListFormatError(f"{name}: column {column!r} must be {dtype}, found {values.type}: {error}") from error
    joined = values.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _ids(table: pa.Table, column: str, name: str) -> pa.Array:
    dtype = table.schema.field(column).type
    if pa.types.is_integer(dtype):
        return _column(table, column, pa.int64(), name)
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return _column(table, column, pa.large_string(), name)
    raise ListFormatError(f"{name}: column {column!r} must be int64 or string, found {dtype}")


def _starts(keys: pa.Array, ranks: Ints, key: str, name: str) -> Ints:
    """Row at which each key's list starts, after checking that rows are sorted by (key, rank) and ranks dense."""
    if not len(keys):
        return np.empty(0, np.int64)
    greater, equal = (
        pc.call_function(compare, [keys[:-1], keys[1:]]).to_numpy(zero_copy_only=False) for compare in ("less", "equal")
    )
    if not (greater | equal).all():
        row = int((greater | equal).argmin())
        raise ListFormatError(f"{name}: rows must be sorted by {key!r}, found {keys[row]} before {keys[row + 1]}")
    starts = np.append(0, np.flatnonzero(greater) + 1).astype(np.int64)
    expected = np.arange(1, len(keys) + 1) - np.repeat(starts, np.diff(np.append(starts, len(keys))))
    if not np.array_equal(ranks, expected):
        row = int((ranks != expected).argmax())
        raise ListFormatError(
            f"{name}: column 'rank' must count 1, 2, … within each {key!r}, "
            f"found {ranks[row]} for {keys[row]} where {expected[row]} is due"
        )
    return starts


def _sources(table: pa.Table, name: str) -> pa.Array:
    """The column ``source``, or the name of the lists in each row."""
    if "source" not in table.column_names:
        return pa.array([name]).take(pa.array(np.zeros(table.num_rows, np.int8)))
    return _column(table, "source", pa.string(), name)


def _entries(items: pa.Array, sources: pa.Array, name: str) -> tuple[pa.Array, pa.DictionaryArray, Ints]:
    """The distinct pairs, ascending: their items and sources, and the position of each row's pair among them."""
    item_ids, item = _distinct(items)
    names, source = _distinct(sources)
    if len(names) > np.iinfo(np.int8).max:
        raise ListFormatError(f"{name}: column 'source' must hold at most 127 names, found {len(names)}")
    pairs: Ints = item * len(names) + source
    present = np.zeros(len(item_ids) * len(names), np.bool_)
    present[pairs] = True
    of_item, of_source = np.divmod(np.flatnonzero(present), max(1, len(names)))
    encoded = pa.DictionaryArray.from_arrays(pa.array(of_source.astype(np.int8)), names)
    return item_ids.take(pa.array(of_item)), encoded, (np.cumsum(present) - 1)[pairs]


def _distinct(values: pa.Array) -> tuple[pa.Array, Ints]:
    """The distinct values, ascending, and the position of each value among them; equal values give equal results."""
    encoded = values.dictionary_encode()
    order = pc.call_function("sort_indices", [encoded.dictionary])
    place = np.empty(len(order), np.int64)
    place[_numbers(order)] = np.arange(len(order))
    return encoded.dictionary.take(order), place[_numbers(encoded.indices)]


def _numbers(values: pa.Array) -> npt.NDArray[Any]:
    return np.from_dlpack(values)


def _narrow(values: Ints, below: int) -> pa.Array:
    """Values as the narrowest unsigned integers that hold every number below a bound, whatever the values."""
    return pa.array(values.astype(np.min_scalar_type(max(0, below - 1))))


def _write(path: Path, columns: Mapping[str, pa.Array], size: str) -> None:
    metadata = {**_FORMAT.metadata, _SIZE_KEY: size.encode()}
    schema = pa.schema([pa.field(n, a.type, nullable=False) for n, a in columns.items()], metadata=metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))
