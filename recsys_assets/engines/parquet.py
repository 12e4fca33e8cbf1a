"""The one writer of every engine: equal rows in equal order give equal bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 131_072


def write_parquet(tables: Iterable[pa.Table], path: Path, schema: pa.Schema) -> int:
    """Write sorted rows as one parquet file.

    Where a page ends depends on how the rows arrive, so they are gathered into contiguous row groups of one size
    first. Memory holds one row group and one of the tables.

    Args:
        tables: the rows, in their order, in tables of any size whose columns can be cast to the schema.
        path: the file.
        schema: columns, types and nullability of the file.

    Returns:
        The number of rows.
    """
    written = 0
    # Ids, counts and times rarely repeat within a page of a sorted file, or lie so close that zstd finds them anyway: a
    # dictionary of them took twice the time and a third more space.
    repeated: Any = [
        field.name for field in schema if not (pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type))
    ]
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated) as writer:
        waiting: list[pa.Table] = []
        rows = 0
        for table in tables:
            waiting.append(table.select(schema.names).cast(schema))
            rows += table.num_rows
            while rows >= ROW_GROUP:
                joined = pa.concat_tables(waiting)
                writer.write_table(joined.slice(0, ROW_GROUP).combine_chunks(), row_group_size=ROW_GROUP)
                waiting, rows, written = [joined.slice(ROW_GROUP)], rows - ROW_GROUP, written + ROW_GROUP
        if rows or not written:
            last = pa.concat_tables([schema.empty_table(), *waiting])
            writer.write_table(last.combine_chunks(), row_group_size=ROW_GROUP)
    return written + rows
