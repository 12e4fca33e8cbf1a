"""Ranked lists that serving reads from a memory map.

A set of lists (for example, the recommendations of all users) is two uncompressed Arrow IPC files:

==================== ==================================================================================
``<name>.keys.arrow`` ``key`` ascending (int64 or large_string), ``start``, ``stop``: its rows, int64
``<name>.rows.arrow`` ``item_id`` (int64 or large_string), ``score`` float64, ``source`` dictionary, by rank
==================== ==================================================================================

Each holds one record batch without nulls, so a mapped column is an array over the bytes of the file. Opening allocates
no memory, a lookup is a binary search that touches a few pages, and all workers of a machine share the page cache.
Rows of a key are dense and in rank order, so the rank is the position and is not stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

FORMAT_VERSION = 1
_VERSION_KEY = b"recsys.ranked_lists"
_METADATA = {_VERSION_KEY: str(FORMAT_VERSION).encode()}
_INT64 = range(-(2**63), 2**63)

Key = int | str
RankedItem = tuple[Key, float, str]
"""``(item_id, score, source)``; the rank is the 1-based position in the list."""


class ListFormatError(ValueError):
    """A table cannot be written as ranked lists, or a file does not have the format."""


def list_files(name: str) -> tuple[str, str]:
    """File names of a set of lists: keys, rows."""
    return f"{name}.keys.arrow", f"{name}.rows.arrow"


def write_lists(table: pa.Table, key: str, name: str, folder: Path, *, item: str = "item_id") -> list[Path]:
    """Write a table of ranked rows as lists; equal tables give equal bytes.

    Args:
        table: rows sorted by (``key``, ``rank``): ``key`` and ``item`` (int64 or string), ``rank`` (1..n dense within
            the key), ``score`` (finite), optionally ``source`` (string). Other columns are left out.
        key: column whose values are looked up.
        name: name of the set of lists; also the source of all rows where the table has no ``source``.
        folder: of the two files.
        item: column that holds the listed items.

    Returns:
        Paths of the keys file and the rows file.

    Raises:
        ListFormatError: a column is missing, of another type or holds null, NaN or infinity; or the rows are not
            sorted, or ranks not dense.
    """
    missing = [column for column in (key, item, "rank", "score") if column not in table.column_names]
    if missing:
        raise ListFormatError(f"{name}: columns {missing} are missing, found {table.column_names}")
    keys, items = _ids(table, key, name), _ids(table, item, name)
    scores = _column(table, "score", pa.float64(), name)
    finite = np.isfinite(scores.to_numpy())
    if not finite.all():
        raise ListFormatError(f"{name}: column 'score' must be finite, found {scores[int(finite.argmin())]}")
    starts = _starts(keys, _column(table, "rank", pa.int64(), name).to_numpy(), key, name)
    stops = np.append(starts[1:], len(keys)) if len(starts) else starts
    sources = _sources(table, name)
    keys_path, rows_path = (folder / file for file in list_files(name))
    _write(keys_path, {"key": keys.take(pa.array(starts)), "start": pa.array(starts), "stop": pa.array(stops)})
    _write(rows_path, {"item_id": items, "score": scores, "source": sources})
    return [keys_path, rows_path]


class RankedLists:
    """A set of ranked lists, memory-mapped. Immutable and thread-safe."""

    __slots__ = (
        "_items",
        "_keys",
        "_scores",
        "_source_names",
        "_sources",
        "_spans",
        "item_type",
        "key_type",
        "keys",
        "name",
    )

    def __init__(self, name: str, keys: pa.RecordBatch, rows: pa.RecordBatch) -> None:
        self.name = name
        self.key_type = _id_type(keys.schema.field("key").type)
        self.item_type = _id_type(rows.schema.field("item_id").type)
        self.keys: pa.Array = keys.column("key")
        """All keys, ascending, over the mapped bytes."""
        self._keys = _view(self.keys)
        self._spans = (_view(keys.column("start")), _view(keys.column("stop")))
        self._items = _view(rows.column("item_id"))
        self._scores = _view(rows.column("score"))
        source = rows.column("source")
        self._sources = _view(source.indices)
        self._source_names: list[str] = source.dictionary.to_pylist()
        if len(self._keys) and (self._spans[0][0] != 0 or self._spans[1][-1] != len(self._items)):
            raise ListFormatError(f"{name}: keys span rows up to {self._spans[1][-1]}, found {len(self._items)} rows")

    @classmethod
    def open(cls, folder: Path, name: str) -> RankedLists:
        """Map the lists ``name`` in ``folder``.

        Raises:
            FileNotFoundError: a file does not exist.
            ListFormatError: a file is not Arrow IPC, or of another format version or schema.
        """
        keys_path, rows_path = (folder / file for file in list_files(name))
        return cls(name, _map(keys_path, ("key", "start", "stop")), _map(rows_path, ("item_id", "score", "source")))

    @property
    def rows(self) -> int:
        """Number of ranked rows of all keys."""
        return len(self._items)

    def listed(self) -> pa.Array:
        """Every item that a list names, once."""
        return pa.array(self._items).unique()

    def __len__(self) -> int:
        """Number of keys."""
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, (int, str)) and self._find(key) is not None

    def get(self, key: Key, k: int) -> list[RankedItem]:
        """The best ``k`` items of a key in rank order; fewer if its list is shorter, none if the key is unknown."""
        position = self._find(key)
        if position is None or k <= 0:
            return []
        start = int(self._spans[0][position])
        stop = min(start + k, int(self._spans[1][position]))
        names = self._source_names
        sources = [names[index] for index in self._sources[start:stop].tolist()]
        return list(zip(self._items[start:stop].tolist(), self._scores[start:stop].tolist(), sources, strict=True))

    def _find(self, key: Key) -> int | None:
        """Position of a key by binary search. A key of the other type is unknown, as is one beyond int64."""
        keys = self._keys
        if isinstance(key, str):
            if self.key_type != "string":
                return None
            # Comparing str by code point is comparing UTF-8 by byte, the order in which the file is sorted.
            low, high = 0, len(keys)
            while low < high:
                middle = (low + high) // 2
                if keys[middle].as_py() < key:
                    low = middle + 1
                else:
                    high = middle
            return low if low < len(keys) and keys[low].as_py() == key else None
        if self.key_type != "int64" or key not in _INT64:
            return None
        low = int(np.searchsorted(keys, np.int64(key)))
        return low if low < len(keys) and int(keys[low]) == key else None


def _id_type(dtype: pa.DataType) -> Literal["int64", "string"]:
    return "int64" if pa.types.is_int64(dtype) else "string"


def _view(array: pa.Array) -> npt.NDArray[np.generic] | pa.Array:
    """Numbers as a numpy view over the mapped bytes; strings stay an Arrow array over them."""
    # Not to_numpy: it imports pandas where that is installed.
    return array if pa.types.is_large_string(array.type) else np.from_dlpack(array)


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


def _starts(keys: pa.Array, ranks: npt.NDArray[np.int64], key: str, name: str) -> npt.NDArray[np.int64]:
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


def _sources(table: pa.Table, name: str) -> pa.DictionaryArray:
    """Sources as int8 indices into their sorted names, so that equal tables encode equally."""
    if "source" not in table.column_names:
        zeros = pa.array(np.zeros(table.num_rows, np.int8))
        return pa.DictionaryArray.from_arrays(zeros, pa.array([name], pa.string()))
    encoded = _column(table, "source", pa.string(), name).dictionary_encode()
    unsorted: list[str] = encoded.dictionary.to_pylist()
    names = sorted(unsorted)
    if len(names) > np.iinfo(np.int8).max:
        raise ListFormatError(f"{name}: column 'source' must hold at most 127 names, found {len(names)}")
    place = np.array([names.index(source) for source in unsorted], np.int8)
    return pa.DictionaryArray.from_arrays(pa.array(place[encoded.indices.to_numpy()]), pa.array(names, pa.string()))


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    schema = pa.schema([pa.field(n, a.type, nullable=False) for n, a in columns.items()], metadata=_METADATA)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(list(columns.values()), schema=schema))


def _map(path: Path, columns: tuple[str, ...]) -> pa.RecordBatch:
    """Map a file and check that it is one record batch of this format and these columns."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches, schema = reader.num_record_batches, reader.schema
        batch = reader.get_batch(0) if batches == 1 else None
    except pa.ArrowInvalid as error:
        raise ListFormatError(f"{path}: not an Arrow IPC file: {error}") from error
    version = (schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
    if version != str(FORMAT_VERSION):
        raise ListFormatError(f"{path}: must be ranked lists of format {FORMAT_VERSION}, found {version}")
    if batch is None or tuple(schema.names) != columns:
        raise ListFormatError(f"{path}: must be one batch of {list(columns)}, found {batches} of {schema.names}")
    return batch
