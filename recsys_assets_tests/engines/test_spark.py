"""Spark as an engine: bytes, files, and factors as good as the local ones."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.engine import Engine, unchanged
from recsys_assets.core.models.als import AlsFitParams, fit_factors
from recsys_assets.core.retrieval.by_factors import recommend
from recsys_assets.engines.parquet import ROW_GROUP
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.engines.spark import SparkEngine
from recsys_assets_tests.engines.test_duckdb import mixed

pytestmark = pytest.mark.spark
LOCAL = PolarsEngine()
SCHEMA = pa.schema([pa.field("key", pa.int64(), nullable=False), ("word", pa.string())])


def test_who_joins_a_cluster_of_this_machine_cuts_frames_into_two_parts_for_each_core(spark: SparkEngine) -> None:
    """The cluster says so, not the driver: with Spark's 200 parts, a small frame is all overhead."""
    assert spark.session.conf.get("spark.sql.shuffle.partitions") == "4"


@pytest.mark.parametrize("rows", [0, 1, ROW_GROUP + 1])
def test_it_writes_the_bytes_of_polars(spark: Engine, tmp_path: Path, rows: int) -> None:
    table, written = mixed(rows), list[bytes]()
    for engine in (LOCAL, spark):
        path = tmp_path / f"{engine.name}.parquet"
        assert engine.sink(engine.from_arrow(table), path, table.schema, ("word", "double", "key")) == rows
        written.append(path.read_bytes())
    assert written[0] == written[1]


def files(folder: Path) -> list[str]:
    """Two days of one frame, below two roots with names that mean something to a glob."""
    found: list[str] = []
    for place, day, keys in (("a [1]", "2015-05-03", [1, 2]), ("b{x,y}*", "2015-05-04", [3])):
        path = folder / place / f"dt={day}" / "data.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"key": keys, "word": ["é"] * len(keys)}).cast(SCHEMA), path)
        found.append(str(path))
    return [found[0], Path(found[1]).as_uri()]


@pytest.mark.parametrize("shares_disk", [True, False])
def test_a_scan_has_the_day_of_each_file(spark: SparkEngine, tmp_path: Path, shares_disk: bool) -> None:
    engine = SparkEngine(spark.session, shares_disk=shares_disk)
    uris = files(tmp_path)
    found, expected = (
        one.scan(uris, SCHEMA).sort("key").collect(backend="pyarrow").to_arrow() for one in (engine, LOCAL)
    )
    assert found.to_pylist() == expected.to_pylist()
    assert [row["dt"].isoformat() for row in found.to_pylist()] == ["2015-05-03", "2015-05-03", "2015-05-04"]


@pytest.mark.parametrize("shares_disk", [True, False])
def test_a_file_that_lacks_a_column_is_an_error_that_names_both(
    spark: SparkEngine, tmp_path: Path, shares_disk: bool
) -> None:
    engine = SparkEngine(spark.session, shares_disk=shares_disk)
    wider = SCHEMA.append(pa.field("price", pa.float64()))
    with pytest.raises(ValueError, match=r"data\.parquet: lacks the columns price"):
        engine.scan(files(tmp_path), wider)


def test_row_functions_run_on_the_workers_once_where_rows_are_kept_and_their_errors_come_back(spark: Engine) -> None:
    frame = spark.from_arrow(pa.table({"key": list(range(100))}))
    schema = pa.schema([("square", pa.int32())])
    squares = spark.map_batches(frame, lambda t: pa.table({"square": np.square(t["key"].to_numpy())}), schema)
    assert squares.select(nw.col("square").sum()).collect(backend="polars").item() == sum(n * n for n in range(100))

    def random(batch: pa.Table) -> pa.Table:
        return pa.table({"key": batch["key"], "x": np.random.default_rng().random(batch.num_rows)})

    with_x = spark.map_batches(frame, random, pa.schema([("key", pa.int64()), ("x", pa.float64())]))
    for persist, once in ((unchanged, False), (spark.persist, True)):
        kept = persist(with_x)
        both = [kept.sort("key").collect(backend="polars") for _ in range(2)]
        assert (both[0]["x"].to_list() == both[1]["x"].to_list()) is once

    def fail(_: pa.Table) -> pa.Table:
        raise LookupError("what went wrong")

    with pytest.raises(Exception, match="what went wrong"):
        spark.map_batches(frame, fail, schema).collect(backend="polars")


TASTES, ITEMS = 8, 400


def planted() -> tuple[pa.Table, dict[int, set[int]]]:
    """Users of eight tastes who touched popular items of their taste, and some of others; a third is held out."""
    rng = np.random.default_rng(7)
    taste = np.arange(ITEMS) % TASTES
    appeal = 1.0 / (1 + np.arange(ITEMS) // TASTES) ** 0.7
    seen: list[dict[str, Any]] = []
    held: dict[int, set[int]] = {}
    for user in range(600):
        chance = appeal * np.where(taste == user % TASTES, 1.0, 0.03)
        liked = rng.choice(ITEMS, 18, replace=False, p=chance / chance.sum()).tolist()
        held[user] = set(liked[12:])
        weights = rng.exponential(2.0, 12)
        seen += [
            {"user_id": user, "item_id": item, "weight": weight}
            for item, weight in zip(liked[:12], weights, strict=True)
        ]
    random.Random(0).shuffle(seen)
    return pa.Table.from_pylist(seen), held


def ndcg(items: pa.Table, params: AlsFitParams, seen: pa.Table, held: dict[int, set[int]], k: int = 10) -> float:
    lists: dict[int, list[int]] = {}
    for row in recommend(items, seen, params, k, repeats=False).to_pylist():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
    gain = 1 / np.log2(np.arange(k) + 2)
    found = [sum(g for g, item in zip(gain, lists[user], strict=True) if item in held[user]) for user in held]
    return float(np.mean(found)) / gain[: min(k, 6)].sum()


def test_factors_of_mllib_are_as_good_as_those_of_implicit(spark: Engine) -> None:
    seen, held = planted()
    params = AlsFitParams(factors=12, iterations=8, num_threads=2)
    local, ours = (fit_factors(one, one.from_arrow(seen), params) for one in (LOCAL, spark))
    good, found = (ndcg(items, params, seen, held) for items in (local, ours))
    untrained = ndcg(fit_factors(LOCAL, LOCAL.from_arrow(seen), replace(params, iterations=0)), params, seen, held)
    assert good > 4 * untrained
    assert found == pytest.approx(good, rel=0.05)
    assert ours.schema == local.schema
    assert ours["item_id"].equals(local["item_id"])
    assert {len(vector) for vector in ours["factors"].to_pylist()} == {12}


def test_factors_of_string_ids_and_of_nothing(spark: Engine) -> None:
    pairs = pa.table({"user_id": ["b", "b", "ä", "ä"], "item_id": [2**62, 0, 0, -1], "weight": [1.0, 0.1, 2.0, 1.0]})
    params = AlsFitParams(factors=2, iterations=2, min_user_items=1, min_item_users=1)
    fitted = fit_factors(spark, spark.from_arrow(pairs), params)
    assert fitted["item_id"].to_pylist() == [-1, 0, 2**62]
    nothing = fit_factors(spark, spark.from_arrow(pairs.slice(0, 0)), params)
    assert (nothing.num_rows, nothing.schema) == (0, fitted.schema)


def test_a_function_gets_all_rows_of_its_users(spark: Engine) -> None:
    rows = pa.table({"user_id": [n % 7 for n in range(100)], "item_id": [*range(100)]})

    def counted(some: pa.Table) -> pa.Table:
        counts = some.group_by("user_id").aggregate([("item_id", "count")])
        return pa.table({"user_id": counts["user_id"], "items": counts["item_id_count"]})

    schema = pa.schema([("user_id", pa.int64()), ("items", pa.int64())])
    found = spark.map_users(spark.from_arrow(rows), counted, schema).collect(backend="polars").to_arrow()
    assert sorted(zip(*(found[name].to_pylist() for name in schema.names), strict=True)) == [
        (user, len(range(user, 100, 7))) for user in range(7)
    ]


def test_every_task_gets_its_share_of_the_users(spark: SparkEngine) -> None:
    def counted(some: pa.Table) -> pa.Table:
        from pyspark import TaskContext  # pyright: ignore[reportMissingImports] comes with the extra 'spark'

        task = TaskContext.get()
        assert task is not None
        return pa.table({"task": [task.partitionId()], "users": [some.num_rows]})

    users = spark.from_arrow(pa.table({"user_id": [*range(10_000)]}))
    schema = pa.schema([("task", pa.int64()), ("users", pa.int64())])
    found = spark.map_users(users, counted, schema).collect(backend="polars").to_arrow()
    shares = found.group_by("task").aggregate([("users", "sum")])["users_sum"].to_pylist()
    assert len(shares) == int(spark.session.conf.get("spark.sql.shuffle.partitions") or 0)
    assert sum(shares) == 10_000
    assert max(shares) < 1.2 * 10_000 / len(shares)
