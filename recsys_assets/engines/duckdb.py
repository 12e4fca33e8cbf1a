"""DuckDB: lazy, uses all cores of one machine, spills to disk above a memory limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.engine import Add, AlsParams, BatchFunction, Factors, Frame, as_one_frame, count_repeated
from recsys_assets.engines import local_als
from recsys_assets.engines.parquet import ROW_GROUP, write_parquet
from recsys_assets.storage.retries import MOST_REQUESTS, MOST_SECONDS, PATIENT
from recsys_assets.storage.scratch import temporary_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_DAY = "dt"
_SQL_TYPES: Mapping[pa.DataType, str] = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.float32(): "FLOAT",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
    pa.list_(pa.float32()): "FLOAT[]",
}
"""DuckDB's names of contract types. Its times with a zone are UTC instants, and the session's time zone is UTC."""


class DuckDBEngine:
    """Runs lazy frames on an in-memory DuckDB database; frames of the same engine can be joined.

    Args:
        storage_options: credentials and endpoint for ``s3://`` paths, under Polars' names; None resolves them as boto3
            does.
        memory_limit: memory for queries before they spill, such as "8GB"; None is DuckDB's default, 80 % of the RAM.
        spill_folder: parent of this engine's own folder for spilled data, which :meth:`close` removes; None is the
            system's folder for temporary files.
        threads: None for all cores. Results do not depend on it.
    """

    name = "duckdb"
    users_at_once: int | None = None
    rows_at_once: int | None = None

    def __init__(
        self,
        storage_options: Mapping[str, str] | None = None,
        memory_limit: str | None = None,
        spill_folder: Path | None = None,
        threads: int | None = None,
    ):
        import duckdb  # imported here: the other engines do not need it

        self._folder = temporary_folder("duckdb-", spill_folder)
        self._files = 0
        self._persisted: list[str] = []
        self._storage_options = storage_options
        self._reads_s3 = False
        config = {
            "temp_directory": str(Path(self._folder.name) / "spilled"),
            "memory_limit": memory_limit,
            "threads": threads,
            # Only a sort defines an order of rows; keeping another one takes memory.
            "preserve_insertion_order": False,
            # The package contains all needed extensions; nothing is downloaded.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        self._connection = duckdb.connect(
            ":memory:", config={name: value for name, value in config.items() if value is not None}
        )
        self._connection.execute("SET TimeZone = 'UTC'")

    def scan(self, uris: Sequence[str], schema: pa.Schema) -> Frame:
        """Lazily read parquet files; see :class:`Engine`.

        Raises:
            ValueError: the columns of the first file do not match the schema. Other files are checked when they are
                read.
        """
        if not uris:
            return self.from_arrow(schema.append(pa.field(_DAY, pa.date32())).empty_table())
        if any(uri.startswith("s3://") for uri in uris):
            self._read_s3()
        relation = self._connection.read_parquet(list(uris), hive_partitioning=True)
        types = dict(zip(relation.columns, map(str, relation.types), strict=True))
        expected = {field.name: _SQL_TYPES[field.type] for field in schema} | {_DAY: "DATE"}
        wrong = [
            f"{name} is {types.get(name, 'missing')}, expected {sql}"
            for name, sql in expected.items()
            if types.get(name) != sql
        ]
        if wrong:
            raise ValueError(f"{uris[0]}: {'; '.join(wrong)}")
        return nw.from_native(relation.select(*expected))

    def from_arrow(self, table: pa.Table) -> Frame:
        """A lazy frame over a table in memory; the frame and all frames derived from it keep the table alive."""
        return nw.from_native(self._connection.from_arrow(table))

    def persist(self, frame: Frame) -> Frame:
        """The frame as a table of the database, which can spill; see :class:`Engine`."""
        self._persisted.append(f"persisted_{len(self._persisted)}")
        frame.to_native().create(self._persisted[-1])
        return nw.from_native(self._connection.table(self._persisted[-1]))

    def add_columns(self, frame: Frame, by: Sequence[str], add: Add) -> Frame:
        """The result of ``add``, in one query plan; see :class:`Engine`."""
        return add(frame)

    def repeated(self, frame: Frame, key: Sequence[str]) -> int:
        """Number of key values with more than one row; see :class:`Engine`."""
        return count_repeated(frame, key)

    def map_batches(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a row-wise function to batches; see :class:`Engine`.

        It runs immediately and stores its rows in the engine's folder, so that they can be read more than once.
        """
        path = self._new_file()
        with pq.ParquetWriter(path, schema, compression="lz4") as writer:
            for batch in _batches(frame.to_native()):
                writer.write_table(function(batch).cast(schema))
        return nw.from_native(self._connection.read_parquet(str(path), hive_partitioning=False))

    def map_users(self, frame: Frame, function: BatchFunction, schema: pa.Schema) -> Frame:
        """Apply a function to all users at once, immediately; see :class:`Engine`."""
        return self.from_arrow(function(frame.collect(backend="polars").to_arrow()).cast(schema))

    def sink(self, frame: Frame | Iterable[Frame], path: Path, schema: pa.Schema, sort_by: Sequence[str]) -> int:
        """Run a frame into one sorted parquet file; see :class:`Engine`."""
        import duckdb

        native: DuckDBPyRelation = as_one_frame(frame).to_native()
        column = duckdb.ColumnExpression
        types = {field.name: _SQL_TYPES[field.type] for field in schema}
        narrow = native.select(*(column(name).cast(sql).alias(name) for name, sql in types.items()))
        ordered = narrow.sort(*(column(name).asc().nulls_last() for name in sort_by))
        try:
            return write_parquet(_batches(ordered), path, schema)
        finally:
            while self._persisted:
                self._connection.execute(f"DROP TABLE {self._persisted.pop()}")

    def factorize(self, pairs: Frame, params: AlsParams) -> Factors:
        """Factors by ``implicit``; see :class:`Engine`."""
        return local_als.factorize(pairs, params)

    def close(self) -> None:
        """Close the database and remove spilled data."""
        self._connection.close()
        self._folder.cleanup()

    def _new_file(self) -> Path:
        self._files += 1
        return Path(self._folder.name) / f"{self._files}.parquet"

    def _read_s3(self) -> None:
        """Let the database read ``s3://`` paths, with the same client as the store."""
        if not self._reads_s3:
            self._connection.register_filesystem(s3_filesystem(self._storage_options))
            self._reads_s3 = True


def _batches(relation: DuckDBPyRelation) -> Iterator[pa.Table]:
    """The rows of a relation, one row group at a time."""
    for batch in relation.to_arrow_reader(ROW_GROUP):
        yield pa.Table.from_batches([batch])


def s3_filesystem(storage_options: Mapping[str, str] | None) -> Any:
    """The file system by which DuckDB reads ``s3://`` paths; without keys, credentials are resolved as boto3 does."""
    from obstore.auth.boto3 import Boto3CredentialProvider
    from obstore.fsspec import FsspecStore

    options = dict(storage_options or {})
    allow_http = options.pop("aws_allow_http", "false") == "true"
    config: Any = {name.removeprefix("aws_"): value for name, value in options.items()}
    return FsspecStore(
        "s3",
        config=config,
        client_options={"allow_http": allow_http},
        retry_config={
            "max_retries": MOST_REQUESTS,
            "retry_timeout": timedelta(seconds=MOST_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=PATIENT.first),
                "max_backoff": timedelta(seconds=PATIENT.longest),
                "base": 2,
            },
        },
        credential_provider=None if "access_key_id" in config else Boto3CredentialProvider(),
    )
