"""DuckDB as an engine: bytes, memory, object stores, what is refused and what is left behind."""

from __future__ import annotations

import gc
import math
import os
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.engine import Engine, Frame, unchanged
from recsys_assets.engines.duckdb import DuckDBEngine
from recsys_assets.engines.open import open_engine
from recsys_assets.engines.parquet import ROW_GROUP
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.storage.s3 import S3Store
from recsys_assets.storage.s3_options import S3Options
from recsys_assets_tests.s3_servers import S3Server

WORDS = ["", "a", "B", "é", "e\u0301", "\uffff", "😀", "日本", None]
FLOATS = [None, math.nan, 0.0, -0.0, 5e-324, 1.5, -1e300, math.inf]


@lru_cache
def mixed(rows: int) -> pa.Table:
    """Every type that a contract has, with all that sorts or prints in a way of its own."""
    rng = np.random.default_rng(rows)
    stamps = rng.integers(-(10**15), 2 * 10**15, rows)
    return pa.table(
        {
            "key": pa.array(rng.permutation(rows).astype(np.int64)),
            "word": pa.array([WORDS[n] for n in rng.integers(0, len(WORDS), rows)], pa.string()),
            "double": pa.array([FLOATS[n] for n in rng.integers(0, len(FLOATS), rows)], pa.float64()),
            "single": pa.array(rng.random(rows).astype(np.float32)),
            "small": pa.array(rng.integers(-5, 5, rows).astype(np.int32)),
            "flag": pa.array([(None, True, False)[n] for n in rng.integers(0, 3, rows)], pa.bool_()),
            "day": pa.array(rng.integers(-1000, 20_000, rows).astype(np.int32)).cast(pa.date32()),
            "ts": pa.array(stamps).cast(pa.timestamp("us", tz="UTC")),
            "vector": pa.array([[0.5] * (n % 3) for n in range(rows)], pa.list_(pa.float32())),
        }
    )


@pytest.mark.parametrize("rows", [0, 1, ROW_GROUP + 1])
@pytest.mark.parametrize("sort_by", [("word", "key"), ("double", "key"), ("flag", "ts", "key")])
def test_engines_write_the_same_bytes(duckdb: Engine, tmp_path: Path, rows: int, sort_by: tuple[str, ...]) -> None:
    table = mixed(rows)
    written: list[bytes] = []
    for engine in (PolarsEngine(), duckdb):
        path = tmp_path / f"{engine.name}.parquet"
        assert engine.sink(engine.from_arrow(table), path, table.schema, sort_by) == rows
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert pq.ParquetFile(path).schema_arrow == table.schema


def test_a_query_larger_than_the_memory_limit_spills_and_leaves_nothing(tmp_path: Path) -> None:
    engine = DuckDBEngine(memory_limit="48MB", spill_folder=tmp_path)
    keys = np.random.default_rng(0).integers(0, 1 << 60, 600_000)
    frame = engine.from_arrow(pa.table({"key": keys, "text": keys.astype(str)}))  # some 100 MB once it is grouped
    distinct = frame.group_by("key", "text").agg(n=nw.len()).sort("text")
    spilled: set[int] = set()

    def look(batch: pa.Table) -> pa.Table:
        spilled.add(len(list(tmp_path.rglob("spilled/*"))))  # counted, not measured: a file may go at any moment
        return batch.select(["key", "n"])

    schema = pa.schema([("key", pa.int64()), ("n", pa.int64())])
    found = engine.map_batches(distinct, look, schema).select(nw.len(), nw.col("n").sum()).collect(backend="polars")

    assert found.rows() == [(len(set(keys.tolist())), 600_000)]
    assert max(spilled) > 0
    engine.close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stored(tmp_path: Path) -> tuple[list[Path], pa.Schema]:
    """A partition a day, as they are stored."""
    schema = pa.schema([("user_id", pa.string()), ("ts", pa.timestamp("us", tz="UTC"))])
    paths: list[Path] = []
    for day in ("2024-02-28", "2024-02-29"):
        paths.append(tmp_path / f"dt={day}" / "data.parquet")
        paths[-1].parent.mkdir()
        moment = datetime.fromisoformat(day).replace(hour=23, minute=59, tzinfo=UTC)
        pq.write_table(pa.table({"user_id": ["ü", None], "ts": [moment, None]}, schema=schema), paths[-1])
    return paths, schema


EXPECTED = [
    (day, user, ts)
    for day in (date(2024, 2, 28), date(2024, 2, 29))
    for user, ts in (("ü", datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC)), (None, None))
]


def scanned(engine: Engine, uris: list[str], schema: pa.Schema) -> list[tuple[object, ...]]:
    found = engine.scan(uris, schema).select("dt", "user_id", "ts").collect(backend="polars").rows()
    return sorted(found, key=str)


def test_scan_gives_the_day_of_the_path_and_times_in_utc(duckdb: Engine, stored: tuple[list[Path], pa.Schema]) -> None:
    paths, schema = stored
    uris = [str(path) for path in paths]
    assert scanned(duckdb, uris, schema) == sorted(EXPECTED, key=str)
    late = duckdb.scan(uris, schema).filter(nw.col("ts") > datetime(2024, 2, 29, tzinfo=UTC))
    assert late.select("dt").collect(backend="polars").rows() == [(date(2024, 2, 29),)]
    assert scanned(duckdb, [], schema) == []


def test_scan_of_s3_reads_with_the_store_s_credentials_or_those_of_the_environment(
    stored: tuple[list[Path], pa.Schema], moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, schema = stored
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    store = S3Store(moto.bucket, "some/lake", moto.options)
    for path in paths:
        store.put(f"{path.parent.name}/{path.name}", path)
    uris = [store.uri(one.key) for one in store.list()]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(moto.options.access_key_id))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(moto.options.secret_access_key))
    nameless = S3Options(moto.options.endpoint, moto.options.region).for_polars()
    for options in (store.storage_options, nameless):
        engine = DuckDBEngine(options)
        assert scanned(engine, uris, schema) == sorted(EXPECTED, key=str)
        with pytest.raises(Exception, match=r"nothing\.parquet"):
            scanned(engine, [store.uri("dt=2024-03-01/nothing.parquet")], schema)
        engine.close()


@pytest.mark.parametrize(
    ("column", "message"),
    [(pa.field("user_id", pa.int64()), "user_id is VARCHAR, expected BIGINT"), (pa.field("x", pa.int64()), "missing")],
)
def test_scan_refuses_another_schema_and_names_the_file(
    duckdb: Engine, stored: tuple[list[Path], pa.Schema], column: pa.Field, message: str
) -> None:
    uri = str(stored[0][0])
    with pytest.raises(ValueError, match=message) as raised:
        duckdb.scan([uri], pa.schema([column]))
    assert uri in str(raised.value)


def test_a_later_file_of_another_schema_is_refused_when_it_is_read(
    duckdb: Engine, stored: tuple[list[Path], pa.Schema]
) -> None:
    paths, schema = stored
    pq.write_table(pa.table({"user_id": ["a"], "when": [1]}), paths[1])
    with pytest.raises(Exception, match="ts"):
        scanned(duckdb, [str(path) for path in paths], schema)


def test_what_batches_gave_can_be_read_twice_and_outlives_its_source(duckdb: Engine) -> None:
    schema = pa.schema([("x", pa.int64()), ("square", pa.int64())])
    rows = 300_000

    def square(batch: pa.Table) -> pa.Table:
        numbers = batch["x"].to_numpy()
        return pa.table({"x": numbers, "square": numbers**2})

    frame = duckdb.map_batches(duckdb.from_arrow(pa.table({"x": np.arange(rows)})), square, schema)
    gc.collect()
    twice = frame.join(frame.select("x", again=nw.col("square")), on="x", how="inner")
    found = twice.select(nw.len(), (nw.col("square") == nw.col("again")).all().alias("same"), nw.col("square").max())
    assert found.collect(backend="polars").rows() == [(rows, True, (rows - 1) ** 2)]


def test_kept_rows_are_made_once_and_go_with_the_next_sink(duckdb: DuckDBEngine, tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.int64()), ("x", pa.float64()), ("again", pa.float64())])

    def twice(frame: Frame) -> Frame:
        return frame.join(frame.select("key", again=nw.col("x")), on="key", how="inner")

    of_the_engine = duckdb.from_arrow(pa.table({"x": [0]})).to_native()
    random: Frame = nw.from_native(of_the_engine.query("x", "SELECT range AS key, random() AS x FROM range(1000)"))
    found = []
    for persist in (unchanged, duckdb.persist):
        duckdb.sink(twice(persist(random)), tmp_path / "data.parquet", schema, ["key"])
        table = pq.read_table(tmp_path / "data.parquet")
        found.append(table["x"].equals(table["again"]))
    assert found == [False, True]
    assert of_the_engine.query("x", "FROM duckdb_tables()").fetchall() == []


def test_closing_removes_the_engine_s_folder_and_an_unknown_engine_is_named(tmp_path: Path) -> None:
    engine = open_engine("duckdb", memory_limit="1GB", spill_folder=str(tmp_path))
    frame = engine.from_arrow(pa.table({"x": [1]}))
    engine.map_batches(frame, lambda batch: batch, pa.schema([("x", pa.int64())]))
    assert len(list(tmp_path.iterdir())) == 1
    engine.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="'pandas'"):
        open_engine("pandas")  # type: ignore[arg-type]
