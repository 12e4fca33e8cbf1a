"""Every value parses to exactly what it says or to a reason, and every row lands on its own day."""

import io
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import narwhals as nw
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.edges import parse_categories
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.parse import Parsed, event_columns, parse_events, parse_properties
from recsys_assets.core.events.read import read_rows
from recsys_assets.core.events.values import EpochUnit, to_float64, to_int64, to_micros
from recsys_assets.core.written_times import parse_time, read_times

STATED: dict[str, Any] = {
    "name": "shop",
    "start_date": "2015-05-03",
    "end_date": "2015-05-10",
    "day_starts_at": "03:00",
    "events": {
        "files": ["*"],
        "format": "jsonl",
        "time_unit": "iso",
        "columns": {"user_id": "u", "item_id": "i", "ts": "t", "event_type": "e", "quantity": "q", "price": "p"},
        "types": {"view": {"weight": 1}, "5": {"name": "top", "weight": 2, "target": True}},
    },
    "properties": {
        "files": ["*"],
        "time_unit": "s",
        "format": "csv",
        "columns": {"item_id": "i", "ts": "t", "property": "n", "value": "v"},
        "names": {"category": "cat", "price": "790"},
        "numbers": {"affixes": ["n"]},
    },
    "categories": {"files": ["*"], "format": "csv", "columns": {"category_id": "c", "parent_id": "p"}},
}
GOOD = {"u": 1, "i": 2, "t": "2015-05-05T12:00:00", "e": "view"}


def shop(ids: dict[str, str] | None = None, **events: Any) -> Dataset:
    return Dataset.model_validate({**STATED, "ids": ids or {}, "events": {**STATED["events"], **events}})


def parse(rows: list[dict[str, Any]], dataset: Dataset) -> Parsed:
    every = [{column: row.get(column) for column in event_columns(dataset).values()} for row in rows]
    data = b"\n".join(orjson.dumps(row) for row in every)
    (batch,) = read_rows(io.BytesIO(data), "f", dataset.events, event_columns(dataset))
    return parse_events(batch, dataset, "f")


def values(texts: Sequence[str | None], parsed: nw.Expr) -> list[Any]:
    return nw.from_arrow(pa.table({"x": pa.array(texts, pa.string())}), backend="polars").select(parsed)["x"].to_list()


def test_integers_are_exact_or_null():
    texts = ["7", "-7", "+7", "007", "7.0", "7.", "-0", "0", "9223372036854775807", "-9223372036854775808"]
    assert values(texts, to_int64(nw.col("x"))) == [7, -7, 7, 7, 7, 7, 0, 0, 2**63 - 1, -(2**63)]
    assert values(["9007199254740993.0", "0" * 30 + "12"], to_int64(nw.col("x"))) == [2**53 + 1, 12]
    bad = ["9223372036854775808", "-9223372036854775809", "7.5", "1e3", "x", "", "-", "1 2", "٣", "0x1F", None, "true"]
    assert values(bad, to_int64(nw.col("x"))) == [None] * len(bad)


def test_floats_are_finite_or_null():
    assert values(["1.5", "-.5", "2e3", "3.", "-0"], to_float64(nw.col("x"))) == [1.5, -0.5, 2000.0, 3.0, 0.0]
    assert str(values(["-0"], to_float64(nw.col("x")))) == "[0.0]"
    assert values(["1e999", "nan", "inf", "1,5", "e5", None], to_float64(nw.col("x"))) == [None] * 6


@pytest.mark.parametrize(
    ("unit", "texts", "micros"),
    [
        ("s", ["881250949", "881250949.0", "1.5", "1.1234567", "0"], [881250949000000] * 2 + [1500000, 1123456, 0]),
        ("ms", ["1430622004384", "1430622004384.25"], [1430622004384000, 1430622004384250]),
        ("us", ["1430622004384123", "-1"], [1430622004384123, -1]),
        ("ns", ["1430622004384123999", "-1"], [1430622004384123, -1]),
        ("s", ["12-05-2015", "", "-1.5", "e9", "1e", "0x7"], [None] * 6),
        ("s", ["1.4e9", "1.735689600123456E+09", "17e8"], [1400000000000000, 1735689600123456, 1700000000000000]),
        ("ms", ["1.430622004384e12"], [1430622004384000]),
    ],
)
def test_times_in_units(unit: EpochUnit, texts: list[str], micros: list[int | None]):
    assert values(texts, to_micros(nw.col("x"), unit)) == micros


WRITTEN = st.tuples(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.sampled_from(["T", " "]),
    st.none() | st.integers(-23 * 60, 23 * 60),
    st.booleans(),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(WRITTEN, min_size=20))
def test_iso_times_agree_with_the_standard_library(written: list[tuple[datetime, str, int | None, bool]]):
    texts: list[str | None] = []
    due: list[int] = []
    for when, middle, offset, colon in written:
        zone = UTC if offset is None else timezone(timedelta(minutes=offset))
        text = when.replace(tzinfo=None if offset is None else zone).isoformat(middle)
        texts.append(text if colon or offset is None else text[:-3] + text[-2:])
        due.append((when.replace(tzinfo=zone) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))
    assert read_times(pa.array(texts)).micros.to_pylist() == due


def test_iso_times_that_are_short_long_or_impossible():
    day = 16560 * 86_400_000_000  # 2015-05-05
    good = ["2015-05-05", "2015-05-05T00:00", "2015-05-05 00:00:00Z", "2015-05-05T00:00:00.0000009 +00:00"]
    assert [parse_time(text) for text in good] == [day] * 4
    bad = ["2015-02-29", "2015-04-31", "2015-13-01", "2015-00-01", "2015-01-00", "2015-05-05T24:00:00", "2015-5-5"]
    bad += [
        "2015-05-05T12:60:00",
        "2015-05-05T12:00:60",
        "2015-05-05T12",
        "05.05.2015",
        "2015-05-05T12:00:00+24:00",
        "",
    ]
    assert [parse_time(text) for text in bad] == [None] * len(bad)


def test_the_first_fault_is_the_reason_and_the_raw_row_is_kept():
    faults: list[tuple[dict[str, Any], str]] = [
        ({"u": None}, "null user_id"),
        ({"u": " "}, "null user_id"),
        ({"u": "x", "i": "y", "t": 3}, "unparsable user_id"),
        ({"u": True}, "null user_id"),
        ({"i": ""}, "null item_id"),
        ({"i": "9223372036854775808"}, "unparsable item_id"),
        ({"e": None}, "null event_type"),
        ({"e": "VIEW"}, "unknown event type"),
        ({"t": None}, "null ts"),
        ({"t": "yesterday"}, "unparsable ts"),
        ({"t": "2015-05-03T02:59:59.999999"}, "time outside the allowed span"),
        ({"t": "2015-05-10T03:00:00"}, "time outside the allowed span"),
        ({"q": "many"}, "unparsable quantity"),
        ({"q": 0}, "non-positive quantity"),
        ({"q": -1}, "non-positive quantity"),
        ({"p": "free"}, "unparsable price"),
    ]
    rows = [{**GOOD, **fault} for fault, _ in faults]
    parsed = parse([GOOD, *rows], shop(positive_quantity=True))
    assert parsed.good.num_rows == 1
    result = parsed.rejected.to_pylist()
    assert [row["reason"] for row in result] == [reason for _, reason in faults]
    assert [row["source_row"] for row in result] == list(range(1, len(rows) + 1))
    for row, sent in zip(result, rows, strict=True):
        assert {k: v for k, v in orjson.loads(row["raw"]).items() if v is not None} == {
            k: v for k, v in sent.items() if v is not None
        }
        usable = sent["t"] == GOOD["t"] or sent["t"] == 3
        assert row["dt"] == (date(2015, 5, 5) if usable and sent["t"] != 3 else None)


def test_good_rows_are_canonical_and_days_start_at_the_boundary():
    times = ["2015-05-03T03:00:00", "2015-05-04T02:59:59.999999", "2015-05-04T03:00:00", "2015-05-10T04:59:59+02:00"]
    rows = [{**GOOD, "u": " -7.0 ", "i": 0, "t": t, "e": "5", "q": "2", "p": -0.5} for t in times]
    good = parse(rows, shop()).good
    assert good["dt"].to_pylist() == [date(2015, 5, 3), date(2015, 5, 3), date(2015, 5, 4), date(2015, 5, 9)]
    first = {**good.to_pylist()[0]}
    assert first.pop("ts") == datetime(2015, 5, 3, 3, tzinfo=UTC)
    assert first == {
        "user_id": -7,
        "item_id": 0,
        "event_type": "top",
        "order_id": None,
        "quantity": 2.0,
        "price": None,
        "source_file": "f",
        "source_row": 0,
        "dt": date(2015, 5, 3),
    }


def test_string_ids_stay_as_they_stand():
    rows = [{**GOOD, "u": u, "i": i} for u, i in (("007", " 79323P "), (0, "7.0"), ("Nane", "é, a"))]
    good = parse(rows, shop({"user": "string", "item": "string"})).good
    assert good["user_id"].to_pylist() == ["007", "0", "Nane"]
    assert good["item_id"].to_pylist() == ["79323P", "7.0", "é, a"]


@pytest.mark.parametrize("word", ["NULL", "None", "NaN", "<NA>", "\\N", "undefined", "(null)", False, True])
@pytest.mark.parametrize("kind", ["string", "int64"])
def test_a_word_for_no_value_makes_no_person_of_all_who_have_none(word: object, kind: str):
    rows = [{**GOOD, "u": word}, {**GOOD, "i": word}]
    ids: dict[str, Any] = {"user": kind, "item": kind}
    assert parse(rows, shop(ids)).rejected["reason"].to_pylist() == ["null user_id", "null item_id"]
    nobody = parse(rows, shop(ids, unknown={"user_id": [str(word).lower() if word in (True, False) else word]}))
    assert nobody.good["user_id"].to_pylist() == [None]


@pytest.mark.parametrize("unseen", ["\0", "\n", "\x1b", "\x85", "\u200b", "\u202e", "\u2028", "\u2060"])
def test_an_id_that_only_looks_like_another_one_is_told(unseen: str):
    rows = [
        {**GOOD, "u": f"u{unseen}1"},
        {**GOOD, "i": f"i{unseen}1"},
        {**GOOD, "u": "Zoë 7 👩\u200d💻", "i": "می\u200cخ"},
    ]
    parsed = parse(rows, shop({"user": "string", "item": "string"}))
    assert parsed.rejected["reason"].to_pylist() == ["unparsable user_id", "unparsable item_id"]
    assert (parsed.good["user_id"].to_pylist(), parsed.good["item_id"].to_pylist()) == (
        ["Zoë 7 👩\u200d💻"],
        ["می\u200cخ"],
    )


def test_unknown_users_stay_events_of_nobody_only_where_the_data_set_says_so():
    rows = [{**GOOD, "u": u} for u in (0, "0.0", " 0", 7, None, "guest")]
    said = parse(rows, shop(unknown={"user_id": ["0", "", "guest"]}))
    assert said.good["user_id"].to_pylist() == [None, None, None, 7, None, None]
    assert not said.rejected.num_rows
    unsaid = parse(rows, shop())
    assert unsaid.good["user_id"].to_pylist() == [0, 0, 0, 7]
    assert unsaid.rejected["reason"].to_pylist() == ["null user_id", "unparsable user_id"]
    strings = parse(rows, shop({"user": "string"}, unknown={"user_id": ["0"]}))
    assert strings.good["user_id"].to_pylist() == [None, "0.0", None, "7", "guest"]


def test_typed_parquet_columns_parse_like_text():
    zone = pa.timestamp("ns", tz="+02:00")
    when = datetime(2015, 5, 5, 12, tzinfo=UTC)
    table = pa.table(
        {
            "u": pa.array([1e15, 2.0, None, 2.5]),
            "i": pa.array(["a", "b", "c", "d"]).dictionary_encode(),
            "t": pa.array([when] * 4, zone),
            "e": pa.array([5, 5, 5, 5], pa.int8()),
            "q": pa.array([1, 2, None, 4]),
            "p": pa.array([1.5, float("nan"), 1e-7, 4]),
            "tags": pa.array([["x"]] * 4),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    dataset = shop({"item": "string"}, format="parquet")
    (batch,) = read_rows(sink, "f", dataset.events, event_columns(dataset))
    parsed = parse_events(batch, dataset, "f")
    result = [[*list(row.values())[:4], row["quantity"], row["price"]] for row in parsed.good.to_pylist()]
    assert result == [[10**15, "a", "top", when, 1.0, 1.5], [2, "b", "top", when, 2.0, None]]
    assert parsed.rejected["reason"].to_pylist() == ["null user_id", "unparsable user_id"]
    assert orjson.loads(parsed.rejected["raw"][0].as_py())["tags"] == ["x"]


def test_properties_keep_what_is_mapped():
    def at(*when: int) -> str:
        return str(int(datetime(*when, tzinfo=UTC).timestamp()))  # type: ignore[arg-type]

    lines = [
        f"{at(2015, 5, 4, 3)},1,790,n277.200",
        f"{at(2015, 5, 4)},1,cat, 1338 ",
        f"{at(2014, 1, 1)},2,cat,7",
        f"{at(2016, 1, 1)},2,cat,7",
        f"{at(2015, 5, 4)},2,888,n1",
        f"{at(2015, 5, 4)},x,790,n1",
        f"{at(2015, 5, 4)},2,790,",
        "1,2",
        f"{at(2015, 5, 4)},3,888,n1",
    ]
    dataset = shop()
    assert dataset.properties is not None
    data = "\n".join(["t,i,n,v", *lines]).encode()
    (batch,) = read_rows(io.BytesIO(data), "p", dataset.properties, dict(dataset.properties.columns))
    parsed = parse_properties(batch, dataset, dataset.properties, "p")
    result = [(r["item_id"], r["property"], r["value"], r["dt"], r["source_row"]) for r in parsed.good.to_pylist()]
    assert result == [
        (1, "price", "277.2", date(2015, 5, 4), 0),
        (1, "category", "1338", date(2015, 5, 3), 1),
        (2, "category", "7", date(2015, 5, 3), 2),
    ]
    assert parsed.good["ts"].to_pylist()[2] == datetime(2014, 1, 1, tzinfo=UTC)
    assert parsed.ignored == 2
    assert [(r["source_row"], r["reason"]) for r in parsed.rejected.to_pylist()] == [
        (3, "time outside the allowed span"),
        (5, "unparsable item_id"),
        (6, "null value"),
        (7, "wrong number of columns"),
    ]


def test_categories_are_edges():
    dataset = shop()
    assert dataset.categories is not None
    data = b"c,p\n1016,213\n809,169.0\n231,\n"
    (batch,) = read_rows(io.BytesIO(data), "c", dataset.categories, dict(dataset.categories.columns))
    edges = parse_categories(batch, dataset.categories, "c").to_pylist()
    assert [tuple(e.values()) for e in edges] == [
        ("1016", "213", "c", 0),
        ("809", "169", "c", 1),
        ("231", None, "c", 2),
    ]


@pytest.mark.parametrize(("data", "row"), [(b"c,p\n1016,213\n809,169,7\n", 1), (b"c,p\n1016\n809,169\n", 0)])
def test_a_tree_with_a_broken_row_is_refused_by_file_and_row(data: bytes, row: int):
    spec = shop().categories
    assert spec is not None
    (batch,) = read_rows(io.BytesIO(data), "tree.csv", spec, dict(spec.columns))
    with pytest.raises(DataFileError, match=rf"tree\.csv: row {row}: wrong number of columns") as refused:
        parse_categories(batch, spec, "tree.csv")
    assert "809" not in str(refused.value)
    assert "1016" not in str(refused.value)
