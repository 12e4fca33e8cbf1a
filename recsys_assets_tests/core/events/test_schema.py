"""Files whose schema changed are rejected with the expected and the actual schema. A few bad rows are no change."""

from __future__ import annotations

import gzip
import io
import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.core.events.file_faults import SchemaError
from recsys_assets.core.events.schema import differences
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import StagedFile, stage
from recsys_assets.storage.local import LocalStore

ROCKET = load_dataset("retailrocket")
START = datetime(2015, 5, 10, tzinfo=UTC)
Row = dict[str, Any]
Form = Callable[[list[Row]], bytes]


def rows(count: int = 60, **changed: Callable[[int], Any]) -> list[Row]:
    """Events of RetailRocket, an hour apart; ``changed`` gives other values by row number."""
    plain: dict[str, Callable[[int], Any]] = {
        "timestamp": lambda n: int((START + timedelta(hours=n)).timestamp() * 1000),
        "visitorid": lambda n: n % 7,
        "event": lambda n: ["view", "addtocart"][n % 2],
        "itemid": lambda n: n % 11,
        "transactionid": lambda n: "",
    }
    return [{name: value(n) for name, value in {**plain, **changed}.items()} for n in range(count)]


def csv(records: list[Row]) -> bytes:
    return "\n".join(",".join(map(str, line)) for line in [records[0], *(row.values() for row in records)]).encode()


def jsonl(records: list[Row]) -> bytes:
    return "\n".join(json.dumps(row) for row in records).encode()


def parquet(records: list[Row]) -> bytes:
    sink = io.BytesIO()
    texts = [{name: str(value) for name, value in row.items()} for row in records]
    try:
        table = pa.Table.from_pylist(records)
    except pa.ArrowException:  # a column of mixed types can only be one of text
        table = pa.Table.from_pylist(texts)
    pq.write_table(table, sink)
    return sink.getvalue()


FORMS: dict[str, Form] = {
    "events.csv": csv,
    "events.csv.gz": lambda records: gzip.compress(csv(records)),
    "events.jsonl": jsonl,
    "events.jsonl.gz": lambda records: gzip.compress(jsonl(records)),
    "events.parquet": parquet,
}


def dataset(**events: Any) -> Dataset:
    stated = ROCKET.model_dump()
    stated["events"] = {**stated["events"], "files": ["events*"], **events}
    return Dataset.model_validate(stated)


@pytest.fixture
def land(tmp_path: Path) -> Callable[..., StagedFile]:
    store = LocalStore(tmp_path)

    def staged(name: str, data: bytes, of: Dataset | None = None, kind: Any = "events") -> StagedFile:
        file = LandingFile(f"file:///{name}", name, len(data), str(hash(data)))
        return stage(kind, file, lambda: io.BytesIO(data), of or dataset(), store)

    return staged


def seconds(n: int) -> int:
    return int((START + timedelta(hours=n)).timestamp())


CHANGES: dict[str, tuple[list[Row], list[str]]] = {
    "lost": (
        [{k: v for k, v in row.items() if k != "event"} for row in rows()],
        ["column 'event' (event_type) is missing"],
    ),
    "renamed": (
        [{("item_id" if k == "itemid" else k): v for k, v in row.items()} for row in rows()],
        ["column 'itemid' (item_id) is missing", "its new name may be 'item_id'"],
    ),
    "item ids are text": (
        rows(itemid=lambda n: f"SKU-{n}"),
        [
            "column 'itemid' (item_id): expected int64, found a value like 'AAA-9' in row 0",
            'state ids.item = "string"',
            "in 60 of 60 rows",
        ],
    ),
    "most item ids are text": (
        rows(itemid=lambda n: n if n % 5 == 0 else f"SKU-{n}"),
        ["column 'itemid' (item_id): expected int64, found a value like 'AAA-9' in row 1", "so in 48 of 60 rows"],
    ),
    "seconds": (
        rows(timestamp=seconds),
        [
            "column 'timestamp' (ts) looks like seconds: row 0 would be 1970-01-17; expected milliseconds"
            ' (events.time_unit = "ms")'
        ],
    ),
    "mostly seconds": (
        rows(timestamp=lambda n: seconds(n) * (1000 if n < 20 else 1)),
        ["looks like seconds", "40 of 60"],
    ),
    "microseconds": (
        rows(timestamp=lambda n: seconds(n) * 10**6),
        ["looks like microseconds", "would be in the year 47"],
    ),
    "iso text": (
        rows(timestamp=lambda n: (START + timedelta(hours=n)).isoformat()),
        ["looks like ISO 8601 text: row 0 is none; expected milliseconds"],
    ),
    "no times": (
        rows(timestamp=lambda n: "yesterday"),
        ["(ts): expected milliseconds", "found a value like 'aaaaaaaaa' in row 0"],
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused_by_name(name: str, change: str, land: Callable[..., StagedFile]):
    records, messages = CHANGES[change]
    with pytest.raises(SchemaError) as error:
        land(name, FORMS[name](records))
    assert str(error.value).startswith(f"{name}: ")
    for part in messages:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("unit", "value", "message"),
    [
        ("s", lambda n: seconds(n) * 1000, "looks like milliseconds: row 0 would be in the year 47"),
        (
            "iso",
            lambda n: seconds(n) * 1000,
            "looks like milliseconds: row 0 is none; expected ISO 8601",
        ),
        ("iso", seconds, "looks like seconds"),
    ],
)
def test_units_are_told_apart_whichever_is_expected(
    unit: str, value: Callable[[int], Any], message: str, land: Callable[..., StagedFile]
):
    with pytest.raises(SchemaError) as error:
        land("events.csv", csv(rows(timestamp=value)), dataset(time_unit=unit))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("records", "reason", "count"),
    [
        (rows(timestamp=lambda n: seconds(n) * (1 if n < 20 else 1000)), "time outside the allowed span", 20),
        (rows(itemid=lambda n: f"SKU-{n}" if n < 25 else n), "unparsable item_id", 25),
        (rows(timestamp=lambda n: 978_307_200_000 if n else seconds(0) * 1000), "time outside the allowed span", 59),
        (rows(itemid=lambda n: n if n == 0 else ""), "null item_id", 59),
        (rows(event=lambda n: "look" if n else "view"), "unknown event type", 59),
    ],
    ids=["some seconds", "some text", "really of 2001", "pages without an item", "types that are not asked for"],
)
def test_bad_rows_that_are_no_change_stay_rejected_rows(
    records: list[Row], reason: str, count: int, land: Callable[..., StagedFile]
):
    staged = land("events.csv", csv(records))
    assert staged.reasons == {reason: count}
    assert staged.rows == 60 - count


def test_snapshots_in_seconds_are_not_taken_for_very_old_ones(land: Callable[..., StagedFile]):
    def properties(time: Callable[[int], int]) -> bytes:
        lines = [f"{time(n)},{n},categoryid,7" for n in range(30)]
        return "\n".join(["timestamp,itemid,property,value", *lines]).encode()

    name = "item_properties_part1.csv"
    message = rf"{name}: column 'timestamp' \(ts\) looks like seconds: row 0 would be 1970-01-17; expected milli"
    with pytest.raises(SchemaError, match=message):
        land(name, properties(seconds), ROCKET, "properties")
    old = land(name, properties(lambda n: 1_262_304_000_000), ROCKET, "properties")  # 2010: known on the first day
    assert (old.rows, list(old.days)) == (30, ["2015-05-03"])


def test_quantities_and_files_without_a_header(land: Callable[..., StagedFile]):
    shop = tomllib.loads("""
        name = "shop"
        start_date = 2015-05-01
        [events]
        files = ["events*"]
        column_names = ["u", "i", "t", "q"]
        event_type = "buy"
        time_unit = "s"
        types.buy = { weight = 1, target = true }
        columns = { user_id = "u", item_id = "i", ts = "t", quantity = "q" }
    """)
    of = Dataset.model_validate(shop)
    with pytest.raises(
        SchemaError, match=r"events\.csv: column 'q' \(quantity\): expected a number, found a value like 'aaa' in row 0"
    ):
        land("events.csv", "\n".join(f"1,2,{seconds(n)},two" for n in range(12)).encode(), of)
    with pytest.raises(
        SchemaError, match=r"row 0: expected as many columns as there are names \(u, i, t, q\), found another number"
    ):
        land("events.csv", "\n".join(f"1,2,{seconds(n)}" for n in range(12)).encode(), of)


@pytest.mark.parametrize("name", FORMS)
def test_the_columns_of_a_file_are_kept_and_compared(name: str, land: Callable[..., StagedFile]):
    before, after = (land(name, FORMS[name](rows(**more))) for more in ({}, {"page": lambda n: n / 2}))  # type: ignore[arg-type]
    assert set(before.columns) == {"timestamp", "visitorid", "event", "itemid", "transactionid"}
    kind = "double" if name.endswith("parquet") else "text"
    assert differences(after.columns, [before.columns]) == [f"new column 'page' ({kind})"]
    assert differences(before.columns, [after.columns]) == []
    assert differences(after.columns, [{}]) == []


def test_another_type_is_told_against_the_newest_file_that_had_the_column():
    earlier = [{"a": "int64", "b": "int64"}, {"a": "string"}]
    assert differences({"a": "int64", "b": "int64"}, earlier) == ["column 'a' is int64, was string"]
