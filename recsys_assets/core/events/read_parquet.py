"""Read parquet files; see :mod:`recsys_assets.core.events.read`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.dataset import FileSpec
from recsys_assets.core.events.batches import BATCH_BYTES, RawBatch, make_batch, require
from recsys_assets.core.events.file_faults import UnreadableFileError
from recsys_assets.core.events.raw import OTHER_COLUMNS
from recsys_assets.core.file_specs import COMPRESSIONS

_MOST_ROWS = 32_768
_OTHER_BYTES = 256
"""Mean bytes of a value of a column that is read only to show rejected rows; wider ones are left out."""
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
_SMALL = 64 << 10
"""Bytes of a column that do not count, such as its dictionary."""


def read_parquet(stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str]) -> Iterator[RawBatch]:
    """Stream the rows of a parquet file, of its mapped columns and some others."""
    if PurePosixPath(name).suffix.lower().removeprefix(".") in COMPRESSIONS:
        raise UnreadableFileError(f"{name}: parquet compresses its own columns; a compressed parquet file is not read")
    plain = pq.ParquetFile(stream)
    require(name, columns, plain.schema_arrow.names)
    # A buffer, so that no column of a row group is in memory as a whole. Texts with their dictionary, since one that is
    # long and often repeated takes no room in the file.
    texts = [column.name for column in plain.schema_arrow if any(is_text(column.type) for is_text in _TEXTS)]
    file = pq.ParquetFile(stream, metadata=plain.metadata, buffer_size=1 << 20, read_dictionary=texts)
    sizes = _bytes_per_row(file.metadata)
    read = _read_columns(file.schema_arrow, sizes, columns)
    width = sum(sizes.get(column, 0.0) for column in read) + 1
    names = {field.name: str(field.type) for field in plain.schema_arrow}
    position = 0
    for batch in file.iter_batches(int(min(max(BATCH_BYTES / width, 1), _MOST_ROWS)), columns=read, use_threads=False):
        numbers = np.arange(position, position + batch.num_rows)
        yield make_batch(pa.Table.from_batches([batch]), numbers, [], names)
        position += batch.num_rows


def _bytes_per_row(metadata: Any) -> dict[str, float]:
    """Mean bytes per row of each column, the widest row group's, unpacked but encoded."""
    sizes: dict[str, float] = {}
    for group in (metadata.row_group(index) for index in range(metadata.num_row_groups)):
        in_group: dict[str, float] = {}
        for index in range(group.num_columns):
            chunk = group.column(index)
            name = chunk.path_in_schema.partition(".")[0]
            size = max(chunk.total_uncompressed_size - _SMALL, 0)
            in_group[name] = in_group.get(name, 0.0) + size / max(group.num_rows, 1)
        sizes.update((name, max(size, sizes.get(name, 0.0))) for name, size in in_group.items())
    return sizes


def _read_columns(schema: pa.Schema, sizes: Mapping[str, float], columns: Mapping[str, str]) -> list[str]:
    names = schema.names
    mapped = [one for one in names if one in columns.values()]
    others = [
        one
        for one in names
        if one not in columns.values()
        and names.count(one) == 1
        and sizes.get(one, 0.0) <= _OTHER_BYTES
        and "." not in one
    ]
    return [*mapped, *others[:OTHER_COLUMNS]]
