"""Columns of any plain type as the text that a csv file would contain.

Text in any of Arrow's layouts, UUIDs, integers, floats, decimals, booleans, dates and timestamps each have one obvious
text. Lists, structs, maps, times of day, durations and bytes that are no text have none: they are faults of the file.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.events.batches import VALUE_BYTES
from recsys_assets.core.events.file_faults import SchemaError

_EXACT_FLOAT = 2.0**53
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (
    *(pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view),
    pa.types.is_fixed_size_binary,
)
_AS_CAST = (pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_decimal, pa.types.is_date)
_HYPHENS = (8, 13, 18, 23)
"""Places of the hyphens in the text of a UUID."""


def plain_texts(column: pa.ChunkedArray, about: str) -> pa.Array:
    """A column as strings.

    Args:
        column: of a batch of rows.
        about: names file and column, for errors.

    Raises:
        SchemaError: no value of the type has one obvious text; names the type.
    """
    values = _combined(column)
    if pa.types.is_dictionary(values.type):
        return _cut(plain_texts(pa.chunked_array([values.dictionary]), about)).take(values.indices)
    try:
        text = _text(values, about)
    except pa.ArrowException as error:
        raise SchemaError(f"{about}: expected text, numbers or times, found {values.type}, which is none") from error
    if text is None:
        raise SchemaError(f"{about}: expected text, numbers or times, found {values.type}")
    return text


def _cut(texts: pa.Array) -> pa.Array:
    """Texts, cut where they are too long to be values: each may stand in thousands of rows."""
    lengths = pc.call_function("binary_length", [texts])
    if (pc.call_function("max", [lengths]).as_py() or 0) <= VALUE_BYTES:
        return texts
    return pc.call_function("utf8_slice_codeunits", [texts], pc.SliceOptions(start=0, stop=VALUE_BYTES + 1))


def expect_exact_ids(column: pa.ChunkedArray, about: str) -> None:
    """Refuse ids that are floats beyond what a float counts exactly: several of them have become one before.

    Raises:
        SchemaError: names the column and its type.
    """
    if pa.types.is_floating(column.type):
        numbers = np.abs(column.cast(pa.float64()).to_numpy())
        if (numbers[np.isfinite(numbers)] >= _EXACT_FLOAT).any():
            raise SchemaError(f"{about}: expected ids, found {column.type} beyond 2^53, where several ids become one")


def is_time(kind: pa.DataType) -> bool:
    """Whether a column holds times, whose unit nobody needs to state."""
    return pa.types.is_timestamp(kind) or pa.types.is_date(kind)


def _combined(column: pa.ChunkedArray) -> Any:
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return pa.concat_arrays(column.chunks)


def _text(values: Any, about: str) -> pa.Array | None:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = values.storage
        return _uuid_text(storage) if kind.extension_name == "arrow.uuid" else _text(storage, about)
    if any(is_kind(kind) for is_kind in _AS_CAST):
        return values.cast(pa.string())
    if any(is_kind(kind) for is_kind in (*_TEXTS, *_BYTES)):
        return _decoded(values, about)
    if pa.types.is_floating(kind):
        return _float_text(values)
    if pa.types.is_timestamp(kind):
        if kind.tz is not None:
            values = values.cast(pa.timestamp(kind.unit, tz="UTC"))
        return values.cast(pa.string())
    return None


def _decoded(values: Any, about: str) -> pa.Array:
    try:
        # By way of bytes: files may hold strings that are no text, and only this step looks at them.
        return values.cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid as error:
        raise SchemaError(f"{about}: expected text, found {values.type} that is not UTF-8") from error


def _float_text(values: Any) -> pa.Array:
    """Whole numbers that a float holds exactly as integers: they may be ids. Arrow writes 1e15 as '1e+15'."""
    numbers = values.cast(pa.float64())
    floats = numbers.to_numpy(zero_copy_only=False)
    whole = (np.abs(floats) < _EXACT_FLOAT) & (floats == np.floor(floats))
    exact = pa.array(np.where(whole, floats, 0.0).astype(np.int64)).cast(pa.string())
    # float32 and float16 in their own digits: 0.1 and not 0.10000000149011612.
    written = values.cast(pa.string()) if pa.types.is_float32(values.type) else numbers.cast(pa.string())
    plain = pc.call_function("if_else", [pa.array(np.isnan(floats)), pa.scalar(None, pa.string()), written])
    return pc.call_function("if_else", [pa.array(whole), exact, plain])


def _uuid_text(storage: Any) -> pa.Array:
    """16 bytes each as a UUID's text, such as ``a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11``."""
    count = len(storage)
    raw = np.frombuffer(storage.buffers()[1], np.uint8)[storage.offset * 16 : (storage.offset + count) * 16]
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    pairs: npt.NDArray[np.uint8] = np.stack([digits[raw >> 4], digits[raw & 15]], axis=1).reshape(count, 32)
    out = np.full((count, 36), ord("-"), np.uint8)
    out[:, [place for place in range(36) if place not in _HYPHENS]] = pairs
    offsets = pa.py_buffer(np.arange(0, (count + 1) * 36, 36, dtype=np.int32))
    valid = None
    if storage.null_count:
        valid = pa.py_buffer(np.packbits(storage.is_valid().to_numpy(zero_copy_only=False), bitorder="little"))
    return cast(Any, pa.StringArray).from_buffers(count, offsets, pa.py_buffer(out.tobytes()), valid)
