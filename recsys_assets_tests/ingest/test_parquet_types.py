"""Columns of every type of parquet: the right value, or a fault that names file, column and type."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.ingest.hostile import parquet, shop, staged

pytestmark = pytest.mark.faults

NOON = datetime(2025, 1, 2, 12, tzinfo=UTC)
UUIDS = [uuid.UUID(int=0xA0EEBC999C0B4EF8BB6D6BB9BD380000 + n) for n in range(3)]
GOOD = {
    "user": pa.array(["a", "b", "c"]),
    "item": pa.array([1, 2, 3]),
    "action": pa.array(["view", "view", "buy"]),
    "time": pa.array([NOON] * 3, pa.timestamp("us", "UTC")),
}
TEXT, IDS = ["a", "b", "c"], [1, 2, 3]


def times(unit: str, zone: str | None = None) -> pa.Array:
    return pa.array([NOON if zone else NOON.replace(tzinfo=None)] * 3, pa.timestamp(unit, zone))


def decimals(kind: pa.DataType) -> pa.Array:
    return pa.array([Decimal(n) for n in IDS], kind)


READ: dict[str, tuple[str, Any, list[Any]]] = {
    "uuid": ("user", pa.array([one.bytes for one in UUIDS], pa.uuid()), [str(one) for one in UUIDS]),
    "large_string": ("user", pa.array(TEXT, pa.large_string()), TEXT),
    "string_view": ("user", pa.array(TEXT, pa.string_view()), TEXT),
    "binary of text": ("user", pa.array([text.encode() for text in TEXT]), TEXT),
    "binary_view": ("user", pa.array([text.encode() for text in TEXT], pa.binary_view()), TEXT),
    "dictionary": ("user", pa.array(TEXT).dictionary_encode(), TEXT),
    "dictionary of int8": (
        "user",
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), pa.array(TEXT)),
        TEXT,
    ),
    "dictionary of large_string": ("user", pa.array(TEXT, pa.large_string()).dictionary_encode(), TEXT),
    "int64 as text": ("user", pa.array([2**63 - 1, -5, 0]), [str(2**63 - 1), "-5", "0"]),
    "uint64 as text": ("user", pa.array([2**64 - 1, 0, 5], pa.uint64()), [str(2**64 - 1), "0", "5"]),
    "uint64": ("item", pa.array(IDS, pa.uint64()), IDS),
    "int8": ("item", pa.array(IDS, pa.int8()), IDS),
    "float16": ("item", pa.array(np.array(IDS, np.float16)), IDS),
    "float32": ("item", pa.array(IDS, pa.float32()), IDS),
    "float64": ("item", pa.array(IDS, pa.float64()), IDS),
    "decimal of 38 digits": ("item", decimals(pa.decimal128(38, 0)), IDS),
    "decimal of 70 digits": ("item", decimals(pa.decimal256(70, 0)), IDS),
    "decimal with scale": ("item", decimals(pa.decimal128(20, 2)), IDS),
    "decimal32": ("item", decimals(pa.decimal32(5, 0)), IDS),
    **{f"time in {unit}": ("time", times(unit), [NOON] * 3) for unit in ("s", "ms", "us", "ns")},
    **{f"time in {unit} in Tokyo": ("time", times(unit, "Asia/Tokyo"), [NOON] * 3) for unit in ("s", "ms", "us", "ns")},
    "date32": ("time", pa.array([date(2025, 1, 2)] * 3), [NOON.replace(hour=0)] * 3),
    "date64": ("time", pa.array([date(2025, 1, 2)] * 3, pa.date64()), [NOON.replace(hour=0)] * 3),
}
COLUMN = {"user": "user_id", "item": "item_id", "time": "ts"}


@pytest.mark.parametrize("stored", [True, False], ids=["with Arrow's schema", "without"])
@pytest.mark.parametrize("case", READ)
def test_what_has_one_obvious_reading_is_read(case: str, stored: bool, tmp_path: Path) -> None:
    column, values, due = READ[case]
    data = parquet({**GOOD, column: values}, store_schema=stored)
    _, good, bad = staged(LocalStore(tmp_path), "events.parquet", data)
    assert ([row[COLUMN[column]] for row in good], bad) == (due, [])


FAULTS: dict[str, tuple[str, Any, str]] = {
    "list": ("user", pa.array([["a"]] * 3), "list<"),
    "struct": ("user", pa.array([{"id": "a"}] * 3), "struct<id: string>"),
    "map": ("user", pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int8())), "map<"),
    "list of structs": ("action", pa.array([[{"a": [1]}]] * 3), "list<"),
    "time of day": ("time", pa.array([1] * 3, pa.time32("s")), "time32"),
    "bytes": ("user", pa.array([b"\xff\xfe"] * 3), "binary that is not UTF-8"),
    "strings of bytes": ("user", pa.array([b"a", b"\xff", b"c"]).view(pa.string()), "string that is not UTF-8"),
    "floats beyond integers": ("user", pa.array([1.0, 2.0**53, 3.0]), "double beyond 2^53"),
    "fixed bytes": ("user", pa.array([one.bytes for one in UUIDS], pa.binary(16)), "fixed_size_binary[16]"),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("dictionary", [True, False], ids=["with dictionaries", "without"])
def test_what_has_none_is_a_fault_with_file_column_and_type(case: str, dictionary: bool, tmp_path: Path) -> None:
    column, values, kind = FAULTS[case]
    data = parquet({**GOOD, column: values}, use_dictionary=dictionary)
    with pytest.raises(DataFileError) as error:
        staged(LocalStore(tmp_path), "events.parquet", data)
    assert str(error.value).startswith(f"events.parquet: column {column!r} ")
    assert kind in str(error.value)


def test_columns_that_nobody_asks_for_may_be_anything(tmp_path: Path) -> None:
    more = {f"more {name}": values for name, (_, values, _) in FAULTS.items()}
    nanoseconds = pa.array([1, -(2**63) + 1, 2**62 + 1], pa.timestamp("ns"))
    users = pa.array(["a", None, "c"])
    data = parquet({**GOOD, "user": users, **more, "nanoseconds": nanoseconds, "nothing": pa.nulls(3)})
    _, good, (bad,) = staged(LocalStore(tmp_path), "events.parquet", data)
    assert [row["user_id"] for row in good] == ["a", "c"]
    assert bad["reason"] == "null user_id"


def test_a_column_of_nothing_rejects_its_rows(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"^events\.parquet: none of 3 rows is good: \{'null user_id': 3\}"):
        staged(LocalStore(tmp_path), "events.parquet", parquet({**GOOD, "user": pa.nulls(3)}))


def test_old_timestamps_of_96_bits_and_times_beyond_the_calendar(tmp_path: Path) -> None:
    data = parquet({**GOOD, "time": times("us")}, use_deprecated_int96_timestamps=True, store_schema=False)
    assert [row["ts"] for row in staged(LocalStore(tmp_path / "96"), "events.parquet", data)[1]] == [NOON] * 3
    micros = int(NOON.timestamp()) * 1_000_000
    far = pa.array([micros, 2**62, -(2**62)], pa.timestamp("us"))
    _, good, bad = staged(LocalStore(tmp_path / "far"), "events.parquet", parquet({**GOOD, "time": far}))
    assert ([row["ts"] for row in good], {row["reason"] for row in bad}) == ([NOON], {"unparsable ts"})


def test_numbers_are_times_in_the_stated_unit_and_times_need_none(tmp_path: Path) -> None:
    millis = pa.array([int(NOON.timestamp() * 1000)] * 3)
    dataset = shop({"time_unit": "ms"})
    for name, values in (("int", millis), ("float", millis.cast(pa.float64())), ("time", times("us", "UTC"))):
        data = parquet({**GOOD, "time": values})
        assert [row["ts"] for row in staged(LocalStore(tmp_path / name), "events.parquet", data, dataset)[1]] == [
            NOON
        ] * 3


def test_times_without_a_zone_are_of_the_stated_one(tmp_path: Path) -> None:
    data = parquet({**GOOD, "time": times("ms")})
    _, good, _ = staged(LocalStore(tmp_path), "events.parquet", data, shop({"time_zone": "Europe/Berlin"}))
    assert [row["ts"] for row in good] == [NOON.replace(hour=11)] * 3


@pytest.mark.parametrize("twice", ["user", "more"])
def test_two_columns_of_one_name(twice: str, tmp_path: Path) -> None:
    table = pa.table({**GOOD, "more": pa.array(IDS)})
    again = pa.table([*table.columns, table[twice]], names=[*table.column_names, twice])
    data = parquet(again)
    if twice == "user":
        with pytest.raises(DataFileError, match=r"^events\.parquet: column 'user' \(user_id\) appears more than once"):
            staged(LocalStore(tmp_path), "events.parquet", data)
    else:
        assert len(staged(LocalStore(tmp_path), "events.parquet", data)[1]) == 3


def test_damage_anywhere_is_a_fault_of_the_file(tmp_path: Path) -> None:
    data, store = parquet(GOOD, compression="zstd"), LocalStore(tmp_path)
    outcomes: set[str] = set()
    for place in range(0, len(data), 5):
        for damaged in (data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :], data[:place]):
            try:
                staged(store, "events.parquet", damaged)
                outcomes.add("read")
            except DataFileError as error:
                outcomes.add(str(error)[: len("events.parquet")])
    assert outcomes == {"read", "events.parquet"}
    encrypted = data[:-4] + b"PARE"
    with pytest.raises(DataFileError, match=r"^events\.parquet: cannot be read as parquet"):
        staged(store, "events.parquet", encrypted)
