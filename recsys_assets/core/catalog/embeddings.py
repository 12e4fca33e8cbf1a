"""Read item embeddings that were computed elsewhere, from texts or images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.contracts import ITEM_EMBEDDINGS, IdTypes, arrow_schema
from recsys_assets.core.dataset import EmbeddingsSpec
from recsys_assets.core.events.batches import RawBatch, refuse_broken
from recsys_assets.core.events.file_faults import DataFileError, SchemaError, shape
from recsys_assets.core.events.parse import item_ids


def parse_embeddings(batches: Iterable[RawBatch], spec: EmbeddingsSpec, ids: IdTypes, name: str) -> pa.Table:
    """The vectors of one file (``ITEM_EMBEDDINGS``), in the order of the file.

    A vector is a list of numbers: a list column of parquet, an array of jsonl, or JSON text in a csv column.

    Args:
        batches: rows of the file.
        spec: the names of the columns.
        ids: id types of the data set.
        name: path below the landing zone, for errors.

    Raises:
        SchemaError: a row has no usable id or vector, vectors differ in length, or an item occurs twice: a part
            of a table is of no use. Names file, column, row, the expected and the actual value.
    """
    schema = arrow_schema(ITEM_EMBEDDINGS, ids)
    parts = [schema.empty_table()]
    length: int | None = None
    for batch in batches:
        refuse_broken(batch, name)
        items = item_ids(batch, spec.columns.item_id, ids.item, name)
        _expect(items.is_valid(), batch, spec.columns.item_id, f"{name}: ", f"(item_id): expected {ids.item}")
        vectors, length = _vectors(batch, spec.columns.embedding, length, name)
        parts.append(pa.table([items, vectors], schema=schema))
    table = pa.concat_tables(parts)
    _expect_once(table["item_id"], f"{name}: column {spec.columns.item_id!r} (item_id)")
    return table


def join_embeddings(files: Mapping[str, pa.Table], ids: IdTypes) -> pa.Table:
    """The vectors of all files as one table (``ITEM_EMBEDDINGS``).

    Args:
        files: results of :func:`parse_embeddings` by file name.
        ids: id types of the data set.

    Raises:
        DataFileError: files differ in the length of their vectors, or an item is in two of them; names the files.
    """
    lengths = {name: len(table["embedding"][0]) for name, table in files.items() if table.num_rows}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{length} in {name}" for name, length in lengths.items())
        raise DataFileError(f"embeddings: expected vectors of one length, found {listed}")
    table = pa.concat_tables([arrow_schema(ITEM_EMBEDDINGS, ids).empty_table(), *files.values()])
    _expect_once(table["item_id"], f"{', '.join(files)}: item_id")
    return table


def _vectors(batch: RawBatch, column: str, length: int | None, name: str) -> tuple[pa.ChunkedArray, int | None]:
    """A column of vectors as float32, and the length that all of them have."""
    values = batch.rows.column(column)
    if not len(values):
        return pa.chunked_array([], pa.list_(pa.float32())), length
    about = f"{name}: "
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pa.chunked_array([[_numbers(text) for text in values.to_pylist()]], pa.list_(pa.float64()))
    elif not (_is_list(values.type) and _is_number(values.type.value_type)):
        raise SchemaError(f"{about}column {column!r} (embedding): expected lists of numbers, found {values.type}")
    vectors = values.cast(pa.list_(pa.float32()), safe=False).combine_chunks()
    lengths = pc.call_function("list_value_length", [vectors]).fill_null(0).to_numpy(zero_copy_only=False)
    length = length or int(lengths[0])
    expected = f"(embedding): expected {length or 'a list of'} finite numbers"
    _expect(pa.array((lengths == length) & (lengths > 0)), batch, column, about, expected)
    flat = pc.call_function("list_flatten", [vectors])
    finite = np.isfinite(flat.to_numpy(zero_copy_only=False)).reshape(len(lengths), -1).all(axis=1)
    _expect(pa.array(finite), batch, column, about, expected)
    return pa.chunked_array([vectors]), length


def _numbers(text: str | None) -> list[float] | None:
    """A JSON array of numbers; None if the text is not one."""
    try:
        value = orjson.loads(text or "null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, list):
        return None
    numbers = cast("list[Any]", value)
    return numbers if all(type(number) in (int, float) for number in numbers) else None


def _expect(good: pa.Array | pa.ChunkedArray, batch: RawBatch, column: str, file: str, expected: str) -> None:
    flags: npt.NDArray[np.bool_] = good.to_numpy(zero_copy_only=False).astype(bool)
    if flags.all():
        return
    row = int(np.argmin(flags))
    value = batch.rows.column(column)[row].as_py()
    raise SchemaError(f"{file}column {column!r} {expected}, found {shape(value)} in row {batch.source_row[row]}")


def _expect_once(items: pa.ChunkedArray, about: str) -> None:
    counts = pc.call_function("value_counts", [items])
    twice = counts.filter(pc.call_function("greater", [counts.field("counts"), pa.scalar(1)]))
    if len(twice):
        raise SchemaError(f"{about}: expected each item once, found {len(twice):,} of them more than once")


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)
