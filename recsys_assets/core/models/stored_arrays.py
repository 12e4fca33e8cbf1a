"""The two files of a fitted model, both ids and plain arrays, without pickle and without a slow import.

An asset stores the small one (``.npz``, compressed); a release holds the one that is mapped (Arrow IPC, plain):
opening it reads nothing, and all workers of a machine share its pages.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_IDS = "ids"
_SHAPE = b"shape"
_TEXT = b"text"


def to_bytes(ids: pa.Array, arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The file; equal arrays give equal bytes, since numpy writes no time into it.

    Args:
        ids: of the items, int64 or string.
        arrays: by name.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{_IDS: _ids_to_bytes(ids), **arrays})
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as compressed:
        compressed.write(buffer.getbuffer())
    return sink.getvalue().to_pybytes()


def from_bytes(data: bytes) -> tuple[pa.Array, dict[str, npt.NDArray[Any]]]:
    """What :func:`to_bytes` wrote.

    Raises:
        ValueError: it is another file.
    """
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as compressed:
            plain = compressed.read()
        with np.load(io.BytesIO(plain), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _ids_of_bytes(arrays.pop(_IDS)), arrays
    except (OSError, KeyError) as error:
        raise ValueError(f"not the file of a fitted model: {error}; fit it again") from None


def write_mapped(path: Path, ids: pa.Array, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the file that is mapped; equal arrays give equal bytes.

    Args:
        path: of the file.
        ids: of the items, int64 or string.
        arrays: of numbers, of any shape, or one text.
    """
    fields: list[pa.Field] = [pa.field(_IDS, pa.large_list(ids.type))]
    columns: list[pa.Array] = [_one_row(ids)]
    for name, array in arrays.items():
        values, about = _flat(array)
        fields.append(pa.field(name, pa.large_list(values.type), metadata=about))
        columns.append(_one_row(values))
    schema = pa.schema(fields)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def read_mapped(path: Path) -> tuple[pa.Array, dict[str, npt.NDArray[Any]]]:
    """Map what :func:`write_mapped` wrote; the arrays are read-only views of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another file.
    """
    try:
        with pa.ipc.open_file(pa.memory_map(str(path))) as reader:
            batch = reader.get_batch(0)
        arrays: dict[str, npt.NDArray[Any]] = {}
        for place, field in enumerate(batch.schema):
            if field.name != _IDS:
                arrays[field.name] = _shaped(batch.column(place).values, field.metadata)
        return batch.column(_IDS).values, arrays
    except (pa.ArrowInvalid, KeyError) as error:
        raise ValueError(f"{path}: not the file of a fitted model: {error}") from None


def _one_row(values: pa.Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


def _flat(array: npt.NDArray[Any]) -> tuple[pa.Array, dict[bytes, bytes]]:
    """An array as one Arrow array, and what gives it its shape again."""
    if array.dtype.kind == "U":
        return pa.array(np.frombuffer(str(array).encode(), np.uint8)), {_TEXT: b"utf-8"}
    return pa.array(np.ravel(array)), {_SHAPE: json.dumps(array.shape).encode()}


def _shaped(values: pa.Array, about: Mapping[bytes, bytes]) -> npt.NDArray[Any]:
    numbers = np.from_dlpack(values)  # not to_numpy, which imports pandas where that is installed
    if _TEXT in about:
        return np.asarray(bytes(numbers).decode())
    return numbers.reshape(json.loads(about[_SHAPE]))


def _ids_to_bytes(ids: pa.Array) -> npt.NDArray[np.uint8]:
    """Ids of either type as an Arrow stream."""
    table = pa.table({"id": ids})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)


def _ids_of_bytes(data: npt.NDArray[np.uint8]) -> pa.Array:
    with pa.ipc.open_stream(pa.py_buffer(data.tobytes())) as reader:
        return reader.read_all()["id"].combine_chunks()
