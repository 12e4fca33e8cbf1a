"""Polars: lazy, streaming, all cores of one box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import narwhals as nw
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.engines.base import BatchFunction, Frame

ROW_GROUP = 131_072


class PolarsEngine:
    """Runs lazy frames on Polars.

    Args:
        storage_options: credentials and endpoint for ``s3://`` paths, in the names Polars takes; None lets Polars find
            them in the environment.
    """

    name = "polars"

    def __init__(self, storage_options: Mapping[str, str] | None = None):
        self._storage_options = dict(storage_options) if storage_options else None

    def scan(self, uris: Sequence[str], schema: pa.Schema) -> Frame:
        """Lazily read parquet files; see :class:`Engine`."""
        with_day = schema.append(pa.field("dt", pa.date32()))
        if not uris:
            return self.from_arrow(with_day.empty_table())
        frame = pl.scan_parquet(
            list(uris),
            schema=_polars_schema(schema),
            hive_partitioning=True,
            hive_schema={"dt": pl.Date},
            storage_options=self._storage_options,
        )
        return nw.from_native(frame)

    def from_arrow(self, table: pa.Table) -> Frame:
        """A lazy frame over a table in memory."""
        return nw.from_native(_from_arrow(table).lazy())

    def map_batches(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a row-wise function to batches; see :class:`Engine`."""

        def on_polars(batch: pl.DataFrame) -> pl.DataFrame:
            return _from_arrow(function(batch.to_arrow()).cast(schema))

        native: pl.LazyFrame = frame.to_native()
        return nw.from_native(
            native.map_batches(
                on_polars,
                schema=_polars_schema(schema),
                streamable=True,
                predicate_pushdown=False,
                projection_pushdown=False,
            )
        )

    def sink(self, frame: Frame, path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
        """Run a frame into one sorted parquet file; see :class:`Engine`."""
        native: pl.LazyFrame = frame.to_native()
        # Cast before sorting: a sort moves every byte of every column.
        narrow = native.select(pl.col(name).cast(dtype) for name, dtype in _polars_schema(schema).items())
        table = narrow.sort(list(sort_by), nulls_last=True).collect(engine="streaming").to_arrow().cast(schema)
        pq.write_table(table, path, row_group_size=ROW_GROUP, compression="zstd")
        return table.num_rows


def _from_arrow(table: pa.Table) -> pl.DataFrame:
    return cast("pl.DataFrame", pl.from_arrow(table))  # a Series only for an array


def _polars_schema(schema: pa.Schema) -> pl.Schema:
    return _from_arrow(schema.empty_table()).schema
