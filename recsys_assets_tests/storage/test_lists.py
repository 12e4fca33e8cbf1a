"""Ranked lists: what is written is what is read, without loading it, and bad tables and files are refused by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_assets.storage.lists import ListFormatError, RankedLists, list_files, write_lists

SCORES = st.floats(-1e6, 1e6, width=32)
INTS = st.integers(-(2**63), 2**63 - 1)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
SOURCES = st.sampled_from(["ranker", "fused", "popular"])
Lists = dict[int | str, list[tuple[int | str, float, str]]]


def lists_of(ids: st.SearchStrategy[int | str]) -> st.SearchStrategy[Lists]:
    return st.dictionaries(ids, st.lists(st.tuples(ids, SCORES, SOURCES), min_size=1, max_size=5), max_size=8)


def as_table(lists: Lists, dtype: pa.DataType) -> pa.Table:
    rows = [(key, rank, *row) for key in sorted(lists) for rank, row in enumerate(lists[key], 1)]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    types = {"key": dtype, "rank": pa.int64(), "item_id": dtype, "score": pa.float64(), "source": pa.string()}
    return pa.table({n: pa.array(v, t) for (n, t), v in zip(types.items(), columns, strict=True)})


def table(**columns: list[object]) -> pa.Table:
    base = {"user_id": [0, 0, 7], "rank": [1, 2, 1], "item_id": [5, 4, 5], "score": [0.75, 0.5, 0.125]}
    return pa.table({**base, **columns})


@pytest.mark.parametrize(("ids", "dtype"), [(INTS, pa.int64()), (STRINGS, pa.string()), (STRINGS, pa.large_string())])
def test_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, ids: st.SearchStrategy[int | str], dtype: pa.DataType
) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(lists_of(ids), st.lists(ids, max_size=8), st.integers(0, 7))
    def check(lists: Lists, probes: list[int | str], k: int) -> None:
        folder = tmp_path_factory.mktemp("lists")
        write_lists(as_table(lists, dtype), "key", "x", folder)
        opened = RankedLists.open(folder, "x")
        assert opened.keys.to_pylist() == sorted(lists)
        assert len(opened) == len(lists)
        assert opened.rows == sum(map(len, lists.values()))
        for key in [*lists, *probes]:
            assert opened.get(key, k) == lists.get(key, [])[:k]
            assert (key in opened) == (key in lists)

    check()


def test_equal_tables_give_equal_bytes_however_they_are_chunked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = pa.table(
        {
            "user_id": pa.array([f"u{n:04}" for n in np.repeat(np.arange(200), 5)], pa.string()),
            "rank": np.tile(np.arange(1, 6), 200),
            "item_id": rng.integers(0, 50, 1000),
            "score": rng.random(1000),
            "source": pa.array(rng.choice(["ranker", "fused"], 1000)),
        }
    )
    source = whole["source"].combine_chunks()
    reversed_names = pa.DictionaryArray.from_arrays(
        pa.array([["ranker", "fused"].index(s) for s in source.to_pylist()], pa.int32()), ["ranker", "fused"]
    )
    variants = {
        "whole": whole,
        "chunked": pa.concat_tables([whole[:333], whole[333:334], whole[334:]]),
        "sliced": pa.concat_tables([whole[:10], whole])[10:],
        "encoded": whole.set_column(4, "source", reversed_names),
        "extra": whole.append_column("ignored", pa.array(rng.random(1000))),
    }
    written = {}
    for name, variant in variants.items():
        (tmp_path / name).mkdir()
        written[name] = [p.read_bytes() for p in write_lists(variant, "user_id", "recs", tmp_path / name)]
    assert all(files == written["whole"] for files in written.values())


def test_without_a_source_column_rows_carry_the_name_of_the_lists(tmp_path: Path) -> None:
    paths = write_lists(table(), "user_id", "recs", tmp_path)
    assert [path.name for path in paths] == list(list_files("recs"))
    lists = RankedLists.open(tmp_path, "recs")
    assert lists.get(0, 10) == [(5, 0.75, "recs"), (4, 0.5, "recs")]
    assert lists.get(0, 1) == [(5, 0.75, "recs")]
    assert (lists.key_type, lists.item_type) == ("int64", "int64")


def test_key_and_item_columns_are_named_by_the_caller(tmp_path: Path) -> None:
    similar = table(similar_item_id=["b", "c", "a"]).drop_columns("user_id").set_column(1, "item_id", [["a", "a", "b"]])
    write_lists(similar, "item_id", "similar", tmp_path, item="similar_item_id")
    assert RankedLists.open(tmp_path, "similar").get("a", 9) == [("b", 0.75, "similar"), ("c", 0.5, "similar")]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (table().drop_columns("rank"), r"columns \['rank'\] are missing"),
        (table(user_id=[7, 7, 0]), "sorted by 'user_id', found 7 before 0"),
        (table(user_id=["b", "b", "a"]), "sorted by 'user_id', found b before a"),
        (table(rank=[2, 1, 1]), "found 2 for 0 where 1 is due"),
        (table(rank=[1, 3, 1]), "found 3 for 0 where 2 is due"),
        (table(rank=[1, 2, 3]), "found 3 for 7 where 1 is due"),
        (table(user_id=[0, 0, 0]), "found 1 for 0 where 3 is due"),
        (table(score=[0.9, None, 0.1]), "'score' must not be null"),
        (table(score=[0.9, float("nan"), 0.1]), "'score' must be finite"),
        (table(score=[0.9, float("inf"), 0.1]), "'score' must be finite"),
        (table(score=[1e39, 1.0, 0.1]), "'score' must be finite"),
        (table(item_id=[5.5, 4.0, 5.0]), "'item_id' must be int64 or string, found double"),
    ],
)
def test_refuses_a_bad_table_by_name(tmp_path: Path, bad: pa.Table, message: str) -> None:
    with pytest.raises(ListFormatError, match=message) as error:
        write_lists(bad, "user_id", "recs", tmp_path)
    assert str(error.value).startswith("recs:")
    assert not list(tmp_path.iterdir())


def test_refuses_files_that_are_not_ranked_lists(tmp_path: Path) -> None:
    keys, entries, rows = write_lists(table(), "user_id", "recs", tmp_path)
    good = rows.read_bytes()
    rows.write_bytes(b"not arrow at all")
    with pytest.raises(ListFormatError, match=r"recs\.rows\.arrow: not an Arrow IPC file"):
        RankedLists.open(tmp_path, "recs")
    with pa.OSFile(str(rows), "wb") as sink, pa.ipc.new_file(sink, table().schema) as writer:
        writer.write_table(table())
    with pytest.raises(ListFormatError, match=r"recs\.rows\.arrow: must be ranked lists of format 2, found none"):
        RankedLists.open(tmp_path, "recs")
    rows.write_bytes(keys.read_bytes())
    with pytest.raises(ListFormatError, match=r"recs\.rows\.arrow: must be one batch of \['entry', 'score'\]"):
        RankedLists.open(tmp_path, "recs")
    rows.write_bytes(good)
    other = tmp_path / "other"
    other.mkdir()
    for size, path in ((2, rows), (1, entries)):
        here, there = path.read_bytes(), write_lists(table()[:size], "user_id", "recs", other)
        path.write_bytes(there[[keys, entries, rows].index(path)].read_bytes())
        with pytest.raises(ListFormatError, match=r"belongs to lists of \d rows of \d entries, beside it are"):
            RankedLists.open(tmp_path, "recs")
        path.write_bytes(here)
    entries.unlink()
    with pytest.raises(FileNotFoundError):
        RankedLists.open(tmp_path, "recs")


@pytest.mark.parametrize(("items", "bytes_a_row"), [(200, 5), (60_000, 6), (120_000, 8)])
def test_a_ranked_row_takes_eight_bytes_at_most_and_an_item_is_stored_once_for_each_of_its_sources(
    tmp_path: Path, items: int, bytes_a_row: int
) -> None:
    users, k = 20_000, 10
    item_ids = np.arange(users * k) % items
    scores = np.random.default_rng(0).random(users * k).astype(np.float32)
    recommended = pa.table(
        {
            "user_id": np.repeat(np.arange(users), k),
            "rank": np.tile(np.arange(1, k + 1), users),
            "item_id": pa.array([f"item-{n:08}" for n in item_ids]),
            "score": scores,
            "source": pa.array(["als"]).take(pa.array(item_ids * 0)),
        }
    )
    keys, entries, rows = write_lists(recommended, "user_id", "recs", tmp_path)
    around = 1500  # schema, padding and footer
    assert rows.stat().st_size <= users * k * bytes_a_row + around
    assert entries.stat().st_size <= items * (8 + 13 + 1) + around
    assert keys.stat().st_size <= users * (8 + 4) + around
    last = [(f"item-{item_ids[n]:08}", float(scores[n]), "als") for n in range(users * k - k, users * k)]
    assert RankedLists.open(tmp_path, "recs").get(users - 1, k) == last


def test_opening_and_reading_does_not_load_the_lists(tmp_path: Path) -> None:
    users, k = 100_000, 50
    big = pa.table(
        {
            "user_id": pa.array(np.repeat([f"user-{n:06}" for n in range(users)], k)),
            "rank": np.tile(np.arange(1, k + 1), users),
            "item_id": np.arange(users * k),
            "score": np.zeros(users * k),
        }
    )
    files = write_lists(big, "user_id", "recs", tmp_path)
    size = sum(file.stat().st_size for file in files) / 1e6
    assert size > 80
    script = f"""
import pathlib, sys, pyarrow as pa
from recsys_assets.storage.lists import RankedLists
def resident():
    status = pathlib.Path("/proc/self/status").read_text()
    fields = dict(line.split(":") for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024  # mapped pages of the file are shared and evictable, so not counted
before = resident()
lists = RankedLists.open(pathlib.Path({str(tmp_path)!r}), "recs")
for n in range(0, {users}, {users // 20}):
    assert [row[0] for row in lists.get(f"user-{{n:06}}", 2)] == [n * {k}, n * {k} + 1]
assert "user-" not in lists and "user-999999" not in lists and 5 not in lists
assert "pandas" not in sys.modules
print(resident() - before, pa.total_allocated_bytes())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    grown_mb, allocated = map(float, run.stdout.split())
    assert grown_mb < 5, f"{size} MB of files"
    assert allocated < 1e5
