"""The file of a fitted model: ids and plain arrays (``.npz``, compressed), without pickle and without a slow import."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_IDS = "ids"


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
