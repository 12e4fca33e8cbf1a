"""The two roads of the Polars engine's sink, in memory and by way of the disk, write one and the same file."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.engines import parquet
from recsys_assets.engines import polars as module
from recsys_assets.engines.parquet import write_parquet
from recsys_assets.engines.polars import PolarsEngine

SCHEMA = pa.schema(
    [
        pa.field("user", pa.string()),
        pa.field("ts", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
SORT = ("ts", "user", "row")


def rows(count: int) -> list[dict[str, object]]:
    rng = random.Random(count)
    return [
        {"user": rng.choice([None, "", "a", "ü", "z" * 40]), "ts": rng.randrange(30), "row": row}
        for row in rng.sample(range(count), count)
    ]


def table(of: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(of, SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 3_000])
def test_both_roads_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    engine, events = PolarsEngine(), table(rows(count))
    assert engine.sink(engine.from_arrow(events), tmp_path / "memory", SCHEMA, SORT) == count
    monkeypatch.setattr(module, "SORTED_IN_MEMORY", 100)
    monkeypatch.setattr(module, "ROW_GROUP", 64)
    assert engine.sink(engine.from_arrow(events), tmp_path / "disk", SCHEMA, SORT) == count
    assert (tmp_path / "memory").read_bytes() == (tmp_path / "disk").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "memory"]


def test_nulls_come_last_within_their_moment(tmp_path: Path) -> None:
    engine, events = PolarsEngine(), rows(2_000)
    engine.sink(engine.from_arrow(table(events)), tmp_path / "data", SCHEMA, SORT)
    # Python compares strings by code points, which is the order of their bytes in UTF-8.
    wanted = sorted(events, key=lambda row: (row["ts"], row["user"] is None, row["user"] or "", row["row"]))
    assert pq.read_table(tmp_path / "data").equals(table(wanted))


@pytest.mark.parametrize("limit", [10, 10_000])
def test_a_fault_while_rows_are_made_is_told_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(module, "SORTED_IN_MEMORY", limit)

    def fails(_: pa.Table) -> pa.Table:
        raise ValueError("no such row")

    engine = PolarsEngine()
    with pytest.raises(Exception, match="no such row"):
        engine.sink(
            engine.map_batches(engine.from_arrow(table(rows(500))), fails, SCHEMA), tmp_path / "data", SCHEMA, SORT
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spread", [1, 2**31, 2**62])
def test_whole_numbers_of_any_size_are_sorted(tmp_path: Path, spread: int) -> None:
    rng = random.Random(spread)
    pairs = sorted((a * spread, b * spread) for a in (-2, -1, 0, 1) for b in (-2, 0, 1))
    schema = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("a", "b")])
    engine, files = PolarsEngine(), set[bytes]()
    for order in (pairs, pairs[::-1], rng.sample(pairs, len(pairs))):
        found = pa.Table.from_pylist([{"a": a, "b": b} for a, b in order], schema)
        engine.sink(iter([engine.from_arrow(found)]), tmp_path / "data", schema, ("a", "b"))
        assert pq.read_table(tmp_path / "data").to_pylist() == [{"a": a, "b": b} for a, b in pairs]
        files.add((tmp_path / "data").read_bytes())
    assert len(files) == 1


def test_columns_are_added_to_rows_that_are_in_order_and_stay_there() -> None:
    engine, rng = PolarsEngine(), random.Random(3)
    pairs = rng.sample([(a, b) for a in range(200) for b in "xyz"], 600)
    frame = engine.from_arrow(pa.table({"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}))
    names = engine.from_arrow(pa.table({"b": ["y", "x"], "name": ["why", "ex"]}))
    wide = engine.add_columns(frame, ["a", "b"], lambda rows: rows.join(names, on="b", how="left"))
    expected = [{"a": a, "b": b, "name": {"x": "ex", "y": "why", "z": None}[b]} for a, b in sorted(pairs)]
    assert wide.collect(backend="polars").to_arrow().to_pylist() == expected


@pytest.mark.parametrize(
    ("keys", "repeated"),
    [
        ([], 0),
        ([(1, "a")], 0),
        ([(1, "a"), (1, "b"), (2, "a")], 0),
        ([(2, "a"), (1, "b"), (1, "a")], 0),
        ([(1, "a"), (1, "b"), (1, "b"), (2, "a"), (2, "a"), (2, "a")], 2),
        ([(1, "a"), (2, "a"), (1, "a")], 1),
        ([(1, None), (1, None), (2, None), (2, "a")], 1),
    ],
)
def test_repeated_keys_are_found_in_any_order(keys: list[tuple[int, str | None]], repeated: int) -> None:
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    engine, table = PolarsEngine(), pa.Table.from_pylist([{"a": a, "b": b} for a, b in keys], schema)
    assert engine.repeated(engine.from_arrow(table), ["a", "b"]) == repeated


def test_numbers_that_repeat_are_written_with_a_dictionary_and_the_file_does_not_depend_on_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 4_096)
    rng, count = np.random.default_rng(0), 10_000
    schema = pa.schema(
        [("item", pa.int64()), ("rank", pa.int32()), ("score", pa.float32()), ("text", pa.string()), ("no", pa.int64())]
    )
    columns = [
        rng.integers(0, 300, count),
        np.arange(count) % 100,
        rng.random(count),
        [f"{n}" for n in range(count)],
        np.arange(count),
    ]
    whole = pa.table(columns, schema=schema)
    assert write_parquet([whole], tmp_path / "whole", schema) == count
    assert write_parquet((whole.slice(at, 999) for at in range(0, count, 999)), tmp_path / "parts", schema) == count
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()
    file = pq.ParquetFile(tmp_path / "whole")
    assert file.read().equals(whole)
    metadata = file.metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [4_096, 4_096, 1_808]
    chunks = [metadata.row_group(0).column(n) for n in range(metadata.num_columns)]
    with_dictionary = [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page]
    assert with_dictionary == ["item", "rank", "text"]
