"""Polars: lazy, streaming, uses all cores of one machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import cast

# By default, Polars returns freed memory to the system within half a second, and the next query requests it again page
# by page: a fifth of the CPU time of large frames. Its allocator reads this variable once, when Polars is loaded.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:5000,muzzy_decay_ms:5000")

import narwhals as nw
import polars as pl
import pyarrow as pa

from recsys_assets.core.engine import Add, AlsParams, BatchFunction, Factors, Frame, count_repeated
from recsys_assets.engines import local_als
from recsys_assets.engines.parquet import ROW_GROUP, write_parquet
from recsys_assets.storage.retries import MOST_REQUESTS, MOST_SECONDS, PATIENT

_RETRIES: Mapping[str, int] = {
    "max_retries": MOST_REQUESTS,
    "retry_timeout_ms": 1000 * MOST_SECONDS,
    "retry_init_backoff_ms": int(1000 * PATIENT.first),
    "retry_max_backoff_ms": int(1000 * PATIENT.longest),
    "retry_base_multiplier": 2,
}
"""What reading ``s3://`` does where the server or the network is down for a while."""
SORTED_IN_MEMORY = 8_000_000
"""Frames of up to so many rows are sorted in memory, which is fastest."""


class PolarsEngine:
    """Runs lazy frames on Polars.

    Args:
        storage_options: credentials and endpoint for ``s3://`` paths, under Polars' names; None lets Polars find them
            in the environment.
    """

    name = "polars"
    # Smaller tables stay in the CPU caches, and memory holds one part at a time.
    users_at_once: int | None = 32_768
    # Ranking takes about 150 bytes per row, and Polars does it in memory.
    rows_at_once: int | None = 24_000_000

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
            glob=False,  # paths are literal, brackets included
            hive_partitioning=True,
            hive_schema={"dt": pl.Date},
            storage_options={**(self._storage_options or {}), **_RETRIES} if uris[0].startswith("s3://") else None,
        )
        return nw.from_native(frame)

    def from_arrow(self, table: pa.Table) -> Frame:
        """A lazy frame over a table in memory."""
        return nw.from_native(_from_arrow(table).lazy())

    def persist(self, frame: Frame) -> Frame:
        """The frame unchanged: Polars eliminates common subplans; see :class:`Engine`."""
        return frame

    def add_columns(self, frame: Frame, by: Sequence[str], add: Add) -> Frame:
        """Compute the rows, then their columns, both eagerly; see :class:`Engine`.

        In-memory joins keep the order of rows, those of the streaming engine do not.
        """
        native: pl.LazyFrame = frame.to_native()
        rows = _ordered(native.collect(engine="streaming"), by)
        wide: pl.LazyFrame = add(nw.from_native(rows.lazy())).to_native()
        return nw.from_native(wide.collect(engine="in-memory").lazy())

    def repeated(self, frame: Frame, key: Sequence[str]) -> int:
        """Number of key values with more than one row; see :class:`Engine`.

        In a sorted file, as contracts require it, checking that there are none takes a tenth of the time.
        """
        keys: pl.LazyFrame = frame.select(*key).to_native()
        return 0 if _in_order(keys.collect(engine="streaming"), key, strictly=True) else count_repeated(frame, key)

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

    def map_users(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a function to all users at once, immediately; see :class:`Engine`."""
        native: pl.LazyFrame = frame.to_native()
        return self.from_arrow(function(native.collect(engine="streaming").to_arrow()).cast(schema))

    def sink(self, frame: Frame | Iterable[Frame], path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
        """Run a frame into one sorted parquet file; see :class:`Engine`."""
        if not isinstance(frame, nw.LazyFrame):
            parts = (_narrow(part, schema).collect(engine="streaming") for part in frame)
            return write_parquet((_sorted(part, schema, sort_by) for part in parts), path, schema)
        narrow = _narrow(frame, schema)
        batches = iter(narrow.collect_batches(chunk_size=ROW_GROUP, maintain_order=False, engine="streaming"))
        buffer, rows = [_from_arrow(schema.empty_table())], 0
        for batch in batches:
            buffer.append(batch)
            rows += batch.height
            if rows > SORTED_IN_MEMORY:
                return _sink_large(chain(buffer, batches), path, schema, sort_by)
        return write_parquet([_sorted(pl.concat(buffer), schema, sort_by)], path, schema)

    def factorize(self, pairs: Frame, params: AlsParams) -> Factors:
        """Factors by ``implicit``; see :class:`Engine`."""
        return local_als.factorize(pairs, params)

    def close(self) -> None:
        """Nothing to release."""


def _sink_large(batches: Iterable[pl.DataFrame], path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
    """Write rows that do not fit into memory to disk unsorted; the streaming engine sorts them from there."""
    unsorted = path.with_name(f"{path.name}.unsorted")
    try:
        with pa.ipc.new_file(unsorted, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
            for batch in batches:
                file.write_table(batch.to_arrow().cast(schema))
        ordered = pl.scan_ipc(unsorted).sort(_sort_keys(schema, sort_by))
        ordered_batches = ordered.collect_batches(chunk_size=ROW_GROUP, engine="streaming")
        return write_parquet((batch.to_arrow() for batch in ordered_batches), path, schema)
    finally:
        unsorted.unlink(missing_ok=True)


def _narrow(frame: Frame, schema: pa.Schema) -> pl.LazyFrame:
    """The schema's columns in its types; before a sort, which moves every byte of every column."""
    native: pl.LazyFrame = frame.to_native()
    return native.select(pl.col(name).cast(dtype) for name, dtype in _polars_schema(schema).items())


def _sorted(frame: pl.DataFrame, schema: pa.Schema, sort_by: Sequence[str]) -> pa.Table:
    """Sorted rows. Sorting one contiguous chunk takes half the time of sorting many."""
    if any(schema.field(name).nullable for name in sort_by):
        return frame.rechunk().sort(_sort_keys(schema, sort_by)).to_arrow()
    return _ordered(frame, sort_by).to_arrow()


def _ordered(frame: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Rows ascending by columns without nulls; sorted rows are returned as they are, integer columns become one key."""
    if _in_order(frame, by):
        return frame
    frame = frame.rechunk()
    if not all(frame.schema[name].is_integer() for name in by):
        return frame.sort(by)
    bounds = frame.select(pl.col(by).min().cast(pl.Int64).name.prefix("least "), pl.col(by).max().cast(pl.Int64)).row(0)
    key, combinations = pl.lit(0, dtype=pl.Int64), 1
    for name, minimum, maximum in zip(by, bounds[: len(by)], bounds[len(by) :], strict=True):
        combinations *= maximum - minimum + 1
        key = key * (maximum - minimum + 1) + (pl.col(name).cast(pl.Int64) - minimum)
    return frame.sort(key if combinations < 2**63 else by)


def _in_order(frame: pl.DataFrame, by: Sequence[str], strictly: bool = False) -> bool:
    """Whether rows are ascending by columns; False if these contain nulls."""
    before, after = frame.head(-1), frame.tail(-1)
    ascending = pl.Series([not strictly]).new_from_index(0, after.height)
    for name in reversed(by):
        ascending = (after[name] > before[name]) | ((after[name] == before[name]) & ascending)
    return ascending.all(ignore_nulls=False) is True


def _sort_keys(schema: pa.Schema, sort_by: Sequence[str]) -> list[pl.Expr]:
    """Ascending, nulls last. Sorting by these keys takes a tenth of the time of ``nulls_last``."""
    return [
        key
        for name in sort_by
        for key in ([pl.col(name).is_null()] if schema.field(name).nullable else []) + [pl.col(name)]
    ]


def _from_arrow(table: pa.Table) -> pl.DataFrame:
    return cast("pl.DataFrame", pl.from_arrow(table))  # a Series only for an array


@lru_cache
def _polars_schema(schema: pa.Schema) -> pl.Schema:
    return _from_arrow(schema.empty_table()).schema
