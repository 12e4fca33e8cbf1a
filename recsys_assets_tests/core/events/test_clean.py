"""Sessions and duplicates by hand, and the same on another engine."""

from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import narwhals as nw
import pyarrow as pa

from recsys_assets.core.contracts import CLEAN_EVENTS, REJECTED_EVENTS, IdTypes, arrow_schema
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import CleanParams, clean_day, clean_properties, ingest_counts
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES
from recsys_assets.engines.polars import PolarsEngine

NOON = datetime(2015, 5, 5, 12, tzinfo=UTC)
SCHEMA = arrow_schema(PARSED_EVENTS, IdTypes())
ENGINE = PolarsEngine()


def events(*rows: tuple[int | None, int, float, str, int]) -> pa.Table:
    """Rows of user, item, minutes after noon, source file, source row."""
    cells = [
        {"user_id": u, "item_id": i, "event_type": "view", "ts": NOON + timedelta(minutes=m)}
        | {"source_file": f, "source_row": r}
        for u, i, m, f, r in rows
    ]
    return pa.Table.from_pylist([dict.fromkeys(SCHEMA.names) | cell for cell in cells], schema=SCHEMA)


def cleaned(frame: Frame) -> dict[tuple[str, int], Any]:
    """Minutes after noon at which each row's session starts, by source."""
    rows = clean_day(frame, CleanParams(30)).collect(backend="pyarrow").to_arrow().to_pylist()
    assert all(list(row) == list(CLEAN_EVENTS.columns) for row in rows)
    start = int(NOON.timestamp())
    return {
        (r["source_file"], r["source_row"]): None if r["session_id"] is None else (r["session_id"] - start) / 60
        for r in rows
    }


TABLE = events(
    (0, 1, 0.0, "b", 0),
    (0, 2, 30.0, "a", 5),  # exactly the gap: the same session
    (0, 3, 60.000001, "a", 4),  # a little more: a new one
    (0, 4, 60.000001, "a", 6),  # the same instant
    (0, 5, 5 * 60.0, "a", 7),
    (9, 1, 20.0, "a", 8),
    (None, 1, 0.0, "a", 9),
    (None, 2, 0.0, "a", 10),
    (0, 1, 0.0, "a", 11),  # the same as b 0, from a file that sorts first
    (0, 1, 0.0, "a", 12),
    (None, 1, 0.0, "b", 13),  # the same as a 9: null equals null
)
SESSIONS = {
    ("a", 11): 0,
    ("a", 5): 0,
    ("a", 4): 60,
    ("a", 6): 60,
    ("a", 7): 300,
    ("a", 8): 20,
    ("a", 9): None,
    ("a", 10): None,
}


def test_sessions_and_duplicates_by_hand():
    assert cleaned(ENGINE.from_arrow(TABLE)) == SESSIONS
    assert cleaned(ENGINE.from_arrow(TABLE.take(list(reversed(range(TABLE.num_rows)))))) == SESSIONS


def test_duckdb_gives_the_same():
    # Without a time zone, whose functions are an extension that DuckDB downloads.
    naive = TABLE.set_column(SCHEMA.get_field_index("ts"), "ts", TABLE["ts"].cast(pa.timestamp("us")))
    assert cleaned(nw.from_native(duckdb.connect().from_arrow(naive))) == SESSIONS


def test_events_that_differ_in_anything_are_not_duplicates():
    row = events((1, 1, 0.0, "a", 0)).to_pylist()[0]
    other = {"item_id": 2, "event_type": "cart", "order_id": "x", "quantity": 1.0, "price": 0.5, "user_id": 2}
    rows = [row, *({**row, name: value, "source_row": n} for n, (name, value) in enumerate(other.items(), 1))]
    frame = ENGINE.from_arrow(pa.Table.from_pylist(rows, schema=SCHEMA))
    assert len(cleaned(frame)) == len(rows)


def test_counts_are_counted_apart_by_file():
    rows = ENGINE.from_arrow(TABLE)
    bad = {"source_file": "c", "source_row": 0, "reason": "null ts", "raw": "{}"}
    rejected = ENGINE.from_arrow(pa.Table.from_pylist([bad], schema=arrow_schema(REJECTED_EVENTS, IdTypes())))
    clean = clean_day(rows, CleanParams())
    counts = {tuple(row.values()) for row in ingest_counts(rows, clean, rejected).collect().to_arrow().to_pylist()}
    assert counts == {("a", 9, 8, 1, 0), ("b", 2, 0, 2, 0), ("c", 1, 0, 0, 1)}
    lost = ingest_counts(rows, clean.filter(nw.col("source_row") != 5), rejected).collect().to_arrow().to_pylist()
    assert next(r for r in lost if r["source_file"] == "a")["clean"] == 7


def test_of_properties_stated_twice_the_last_stays():
    schema = arrow_schema(PARSED_PROPERTIES, IdTypes())
    stated = [
        (1, "price", "n1", "a", 0),
        (1, "price", "n3", "b", 0),
        (1, "price", "n2", "a", 1),
        (1, "category", "4", "a", 2),
    ]
    rows = [dict(zip(schema.names, (i, NOON, p, v, f, r), strict=True)) for i, p, v, f, r in stated]
    cleaned_rows = (
        clean_properties(ENGINE.from_arrow(pa.Table.from_pylist(rows, schema=schema))).collect().to_arrow().to_pylist()
    )
    assert {(r["property"], r["value"]) for r in cleaned_rows} == {("price", "n3"), ("category", "4")}
