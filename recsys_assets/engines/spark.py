"""Spark: lazy frames on a cluster, for assets that outgrow one machine.

Works with classic sessions (``spark://``) and Spark Connect (``sc://``): it uses only the DataFrame API and
``pyspark.ml``.
"""

# pyright: reportMissingImports=false
# pyspark comes with the extra 'spark' only.

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.engine import Add, AlsParams, BatchFunction, Factors, Frame, as_one_frame, count_repeated
from recsys_assets.engines.parquet import write_parquet

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import StructType

SESSION: Mapping[str, str] = {
    "spark.sql.session.timeZone": "UTC",
    # Overflows and bad casts are errors, not silent nulls.
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "65536",
}
"""Settings of every session: results must not depend on the defaults of a cluster."""

_DAY = r"/dt=(\d{4}-\d{2}-\d{2})/"
_GLOB = re.compile(r"([\[\]{}*?\\])")
_BATCH = "batch"


class SparkEngine:
    """Runs lazy frames on a Spark session, which its opener closes.

    Args:
        session: a classic or a Connect session.
        shares_disk: whether the cluster can read the files of this machine. If not, local files are read here and sent
            to the cluster; files of the store are read by the cluster's own connector.
    """

    name = "spark"
    users_at_once: int | None = None
    rows_at_once: int | None = None

    def __init__(self, session: SparkSession, *, shares_disk: bool = True):
        self.session = session
        self._shares_disk = shares_disk
        self._persisted: list[DataFrame] = []
        for key, value in SESSION.items():
            session.conf.set(key, value)

    def scan(self, uris: Sequence[str], schema: pa.Schema) -> Frame:
        """Lazily read parquet files; see :class:`Engine`."""
        with_day = schema.append(pa.field("dt", pa.date32()))
        if not uris:
            return self.from_arrow(with_day.empty_table())
        paths = {uri: path for uri in uris if (path := _local_path(uri)) is not None}
        if paths and not self._shares_disk:
            dated = [_read_dated(path, schema) for path in paths.values()]
            return self.from_arrow(pa.concat_tables(dated).select(with_day.names))
        for path in paths.values():
            _expect_columns(path, schema)
        from pyspark.sql import functions as sf

        frame = self.session.read.schema(_spark_schema(schema)).parquet(
            *(_GLOB.sub(r"\\\1", f"file://{paths[uri].absolute()}" if uri in paths else uri) for uri in uris)
        )
        # The day is taken from each file's path, not by partition discovery: staged files lie under several roots.
        day = sf.to_date(sf.regexp_extract(sf.col("_metadata.file_path"), _DAY, 1))
        return nw.from_native(frame.select(*schema.names, day.alias("dt")))

    def from_arrow(self, table: pa.Table) -> Frame:
        """A lazy frame over a table in memory."""
        return nw.from_native(self.session.createDataFrame(table, schema=_spark_schema(table.schema)))

    def persist(self, frame: Frame) -> Frame:
        """The frame, persisted on the cluster; see :class:`Engine`."""
        from pyspark import StorageLevel

        self._persisted.append(_native(frame).persist(StorageLevel.MEMORY_AND_DISK))
        return nw.from_native(self._persisted[-1])

    def add_columns(self, frame: Frame, by: Sequence[str], add: Add) -> Frame:
        """The result of ``add``, in one query plan; see :class:`Engine`."""
        return add(frame)

    def repeated(self, frame: Frame, key: Sequence[str]) -> int:
        """Number of key values with more than one row; see :class:`Engine`."""
        return count_repeated(frame, key)

    def map_batches(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a row-wise function to batches on the cluster; see :class:`Engine`."""
        native = _native(frame)
        return nw.from_native(native.mapInArrow(_on_batches(function, schema), _spark_schema(schema)))

    def map_users(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a function to the users of a partition on the cluster; see :class:`Engine`.

        A repartition by users gives every task its share. Groups by a number of the user would not: the few numbers are
        hashed to partitions once more, so that some get several and others none, and each group is sorted first.
        """
        partitions = int(self.session.conf.get("spark.sql.shuffle.partitions") or 1)
        shared_out = _native(frame).repartition(partitions, "user_id")
        return nw.from_native(shared_out.mapInArrow(_on_partitions(function, schema), _spark_schema(schema)))

    def sink(self, frame: Frame | Iterable[Frame], path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
        """Run a frame into one sorted parquet file; see :class:`Engine`.

        The cluster sorts by ranges; this process fetches and writes one range after the other, so that it holds one
        range and one row group, however large the frame is.
        """
        from pyspark import StorageLevel
        from pyspark.sql import functions as sf

        types = _spark_schema(schema)
        narrow = _native(as_one_frame(frame)).select(*(sf.col(field.name).cast(field.dataType) for field in types))
        # A sort by ranges reads its input twice, first to determine the ranges.
        persisted = narrow.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            ordered = persisted.sort(*(sf.asc_nulls_last(name) for name in sort_by))
            batches = ordered.mapInArrow(_packed, f"{_BATCH} binary")
            return write_parquet(map(_unpacked, batches.toLocalIterator()), path, schema)
        finally:
            for cached in (persisted, *self._persisted):
                cached.unpersist()
            self._persisted.clear()

    def factorize(self, pairs: Frame, params: AlsParams) -> Factors:
        """Factors by Spark MLlib's ALS; see :class:`Engine`."""
        from recsys_assets.engines.spark_als import factorize

        return factorize(_native(pairs), params)

    def close(self) -> None:
        """Nothing to close: the session belongs to its opener."""


def _on_batches(
    function: BatchFunction, schema: pa.Schema
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function in the form that ``mapInArrow`` takes."""

    def apply(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield from function(pa.Table.from_batches([batch])).cast(schema).to_batches()

    return apply


def _on_partitions(
    function: BatchFunction, schema: pa.Schema
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The same for a function that takes all rows of a partition."""

    def apply(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if rows := [batch for batch in batches if batch.num_rows]:
            yield from function(pa.Table.from_batches(rows)).cast(schema).to_batches()

    return apply


def _packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Each batch of a partition as one value, so that rows reach the driver as Arrow and in order."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.RecordBatch.from_arrays([pa.array([sink.getvalue().to_pybytes()], pa.binary())], [_BATCH])


def _unpacked(row: Mapping[str, bytes]) -> pa.Table:
    return pa.ipc.open_stream(row[_BATCH]).read_all()


def _native(frame: Frame) -> DataFrame:
    return cast("DataFrame", frame.to_native())


def _spark_schema(schema: pa.Schema) -> StructType:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def _local_path(uri: str) -> Path | None:
    """The path of a plain path or a ``file://`` URI; None for other URIs."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return None if parts.scheme else Path(uri)


def _expect_columns(path: Path, schema: pa.Schema) -> None:
    """Check that a file has all columns: Spark would read a missing one as null.

    Raises:
        ValueError: names the file and the missing columns.
    """
    missing = set(schema.names) - set(pq.read_schema(path).names)
    if missing:
        raise ValueError(f"{path}: lacks the columns {', '.join(sorted(missing))}")


def _read_dated(path: Path, schema: pa.Schema) -> pa.Table:
    _expect_columns(path, schema)
    match = re.search(_DAY, str(path))
    day = pa.scalar(match.group(1) if match else None).cast(pa.date32())
    table = pq.ParquetFile(path).read(columns=schema.names).cast(schema)
    return table.append_column("dt", pa.repeat(day, table.num_rows))
