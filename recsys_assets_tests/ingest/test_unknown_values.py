"""A value that nobody mapped is told and never given a meaning; what a data set states is read as it says."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from recsys_assets.core.dataset import DatasetError, load_dataset
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.vocabulary import MOST_UNKNOWN, OTHERS
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.core.test_dataset import MINIMAL
from recsys_assets_tests.ingest.hostile import HEADER, shop, staged


def properties(
    store: LocalStore, name: str, values: list[Any], **spec: Any
) -> tuple[list[Any], dict[str, dict[str, int]]]:
    """What values of a property become, in the order of the file, and the unknown ones with their rows."""
    lines = [{"item": n, "time": "2025-01-02", "property": name, "value": value} for n, value in enumerate(values)]
    data = b"\n".join(orjson.dumps(line) for line in lines)
    done, good, bad = staged(store, "props.jsonl", data, shop(properties=spec), "properties")
    assert (done.total, bad) == (len(values), [])
    return [row["value"] for row in good], done.unknown


def events(store: LocalStore, times: list[str], **spec: Any) -> tuple[list[datetime | None], Any]:
    """The times of events, None where one was rejected; and what was staged."""
    data = "\n".join([HEADER.replace(",", "\t"), *(f"u\t{n}\tview\t{text}" for n, text in enumerate(times))]).encode()
    done, good, _ = staged(store, "events.tsv", data, shop(spec))
    by_item = {row["item_id"]: row["ts"] for row in good}
    return [by_item.get(n) for n in range(len(times))], done


YES = [
    *("in stock", "In_Stock", "InStock", "IN-STOCK", "https://schema.org/InStock", "http://schema.org/PreOrder"),
    *("preorder", "pre-order", "backorder", "BackOrder", "LimitedAvailability", "true", "TRUE", True, "yes", "Y"),
    *(1, 1.0, "t"),
]
NO = [
    *("out of stock", "out_of_stock", "OutOfStock", "https://schema.org/OutOfStock", "SoldOut", "sold out"),
    *("Discontinued", "false", "False", False, "no", "N", 0, 0.0, "f", "unavailable"),
]


def test_availability_in_the_words_of_common_exports(tmp_path: Path) -> None:
    assert properties(LocalStore(tmp_path / "yes"), "stock", YES) == (["1"] * len(YES), {})
    assert properties(LocalStore(tmp_path / "no"), "stock", NO) == (["0"] * len(NO), {})


def test_other_words_are_unknown_and_counted_until_they_are_mapped(tmp_path: Path) -> None:
    words = ["lieferbar", "ausverkauft", "17", "lieferbar", "preorder"]
    known = (["1", None, None, "1", "0"], {"available": {"17": 1, "ausverkauft": 1}})
    unmapped = {"available": {"17": 1, "ausverkauft": 1, "lieferbar": 2}}
    assert properties(LocalStore(tmp_path / "not"), "stock", words) == ([None, None, None, None, "1"], unmapped)
    stated = {"available": ["Lieferbar"], "unavailable": ["preorder"]}
    assert properties(LocalStore(tmp_path / "mapped"), "stock", words, availability=stated) == known


def test_the_list_of_unknown_values_is_short_however_many_there_are(tmp_path: Path) -> None:
    _, unknown = properties(LocalStore(tmp_path), "stock", [f"{n}{'x' * 500}" for n in range(100)])
    assert len(unknown["available"]) == MOST_UNKNOWN + 1
    assert unknown["available"][OTHERS] == 100 - MOST_UNKNOWN
    assert max(map(len, unknown["available"])) <= 60


PRICES = [
    "-11062.06",
    "0",
    "0.0",
    "1e308",
    "12,50",
    "1,234.50",
    "19.99 EUR",
    "-0.0",
    "9" * 400,
    "nan",
    "inf",
    "1e400",
    "5",
]


def test_a_price_is_a_number_from_nothing_to_a_billion(tmp_path: Path) -> None:
    values, unknown = properties(LocalStore(tmp_path), "price", PRICES)
    assert values == [None, "0", "0", None, None, None, None, "0", None, None, None, None, "5"]
    assert sum(unknown["price"].values()) == 9


@pytest.mark.parametrize(
    ("numbers", "texts", "due"),
    [
        ({"decimal": ","}, ["12,50", "1.234,5", "3", "12.5"], ["12.5", None, "3", None]),
        (
            {"decimal": ",", "thousands": "."},
            ["1.234,50", "1.234.567", "12.34", "1234,5"],
            ["1234.5", "1234567", None, "1234.5"],
        ),
        (
            {"decimal": ",", "thousands": " "},
            ["1 234,5", "1\xa0234,5", "1\u202f234", "12 34"],
            ["1234.5", "1234.5", "1234", None],
        ),
        ({"thousands": ","}, ["1,234.50", "1,23"], ["1234.5", None]),
        ({"thousands": "'"}, ["1'234.50"], ["1234.5"]),
        ({"affixes": ["EUR", "€"]}, ["19.99 EUR", "€ 5", "eur7", "5 USD", "EUR"], ["19.99", "5", "7", None, None]),
    ],
)
def test_numbers_are_read_as_stated(numbers: Any, texts: list[str], due: list[str | None], tmp_path: Path) -> None:
    values, unknown = properties(LocalStore(tmp_path), "price", texts, numbers=numbers)
    assert values == due
    assert sum(unknown.get("price", {}).values()) == due.count(None)


def test_a_price_of_an_event_that_is_none_leaves_the_event(tmp_path: Path) -> None:
    columns = {"user_id": "user", "item_id": "item", "event_type": "action", "ts": "time", "price": "price"}
    prices = ["5", "-5", "inf", "1e999", "free", ""]
    data = "\n".join(
        [f"{HEADER},price", *(f"u,{n},view,2025-01-02,{price}" for n, price in enumerate(prices))]
    ).encode()
    done, good, (bad,) = staged(LocalStore(tmp_path), "events.csv", data, shop({"columns": columns}))
    assert [row["price"] for row in good] == [5.0, None, None, None, None]
    assert done.unknown == {"price": {"-5": 1, "1e999": 1, "inf": 1}}
    assert (bad["source_row"], bad["reason"]) == (4, "unparsable price")


FAR = [123456789012345678901234, 123456789012345678901235, 18446744073709551616, 9007199254740993, 2**63]


def test_integers_of_any_length_in_json_stay_the_ids_they_are(tmp_path: Path) -> None:
    def line(n: object) -> str:
        return f'{{"user": {n}, "item": 1, "action": "view", "time": "2025-01-02", "more": {{"deep": [{n}]}}}}'

    _, good, _ = staged(LocalStore(tmp_path / "ints"), "events.jsonl", "\n".join(map(line, FAR)).encode())
    assert [row["user_id"] for row in good] == [str(n) for n in FAR]
    written = ["9007199254740993.0", "0.12345678901234567890", "1E3"]
    _, good, _ = staged(LocalStore(tmp_path / "written"), "events.jsonl", "\n".join(map(line, written)).encode())
    assert [row["user_id"] for row in good] == written


WHEN = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("2025-01-02 03:04:05 UTC", "2025-01-02 03:04:05+00", "2025-01-02T03:04:05z", "2025-01-02t03:04:05Z"),
        *(
            "20250102T030405Z",
            "20250102T030405",
            "2025-01-02T03:04:05+00:00[UTC]",
            "2025-01-02T04:04:05[Europe/Berlin]",
        ),
        *(
            "2025-01-02 08:34:05+0530",
            "2025-01-02T03:04:05.0000001Z",
            "2025-01-02 03:04:05 GMT",
            "2025-01-01T22:04:05-05",
        ),
    ],
)
def test_times_with_one_meaning_are_read_without_being_stated(text: str, tmp_path: Path) -> None:
    assert events(LocalStore(tmp_path), [text])[0] == [WHEN]


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        *(("dd.mm.yyyy hh:mm:ss", "02.01.2025 03:04:05"), ("dd.mm.yyyy hh:mm:ss", "2.1.2025 3:04:05.000")),
        *(("mm/dd/yyyy hh:mm:ss", "01/02/2025 03:04:05"), ("dd/mm/yy hh:mm:ss", "02/01/25 03:04:05")),
        *(("mm/dd/yyyy hh:mm:ss am", "1/2/2025 3:04:05 AM"), ("dd-mon-yyyy hh:mm:ss", "02-JAN-2025 03:04:05")),
        *(("yyyymmddhhmmss", "20250102030405"), ("yyyy/mm/dd hh:mm:ss", "2025/01/02 04:04:05+01:00")),
    ],
)
def test_times_are_read_as_stated(pattern: str, text: str, tmp_path: Path) -> None:
    assert events(LocalStore(tmp_path), [text], time_unit=None, time_format=pattern)[0] == [WHEN]


@pytest.mark.parametrize("text", ["02.01.2025 03:04:05", "01/02/2025 03:04", "03:04", "2. Januar 2025", "45659.1"])
def test_times_with_several_meanings_are_never_guessed(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"column 'time' \(ts\)") as error:
        events(LocalStore(tmp_path), [text])
    assert text not in str(error.value)


def test_hours_that_clocks_skip_are_rejected_and_those_they_repeat_are_the_first(tmp_path: Path) -> None:
    texts = [
        "30.03.2025 01:59:59",
        "30.03.2025 02:30:00",
        "30.03.2025 03:00:00",
        "26.10.2025 02:30:00",
        "26.10.2025 03:00:00",
    ]
    stated = {"time_unit": None, "time_format": "dd.mm.yyyy hh:mm:ss", "time_zone": "Europe/Berlin"}
    found, done = events(LocalStore(tmp_path), texts, **stated)
    hours = [(when.month, when.day, when.hour, when.minute) if when else None for when in found]
    assert hours == [(3, 30, 0, 59), None, (3, 30, 1, 0), (10, 26, 0, 30), (10, 26, 2, 0)]
    assert done.reasons == {"ts that the clock skips in this time zone": 1}
    assert done.repeated_hour == 1
    assert done.notes() == ["1 rows in an hour that clocks repeat; taken as the first of the two"]


def test_units_since_1970_as_exports_of_floats(tmp_path: Path) -> None:
    texts = ["1735787045", "1735787045.0", "1.735787045e9", "1.735787045E+09"]
    assert events(LocalStore(tmp_path), texts, time_unit="s")[0] == [WHEN] * 4


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ('time_format = "dd.mm.yyyy"', "state either time_unit (s, ms, us, ns or iso) or time_format"),
        ('time_zone = "Berlin"', "events.time_zone: expected a time zone such as Europe/Berlin"),
        ('encoding = "utf8mb4"', "events.encoding: expected the name of a text encoding in Python"),
        ('numbers = { decimal = ",", thousands = "," }', "decimal and thousands must differ"),
        ('numbers = { price = { decimal = ";" } }', "events.numbers.price.decimal: expected '.' or ','"),
        ("numbers = { prize = {} }", "events.numbers.prize: is not known; did you mean price?"),
    ],
)
def test_a_wrong_option_is_named(stated: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text(MINIMAL.replace('time_unit = "iso"', f'time_unit = "iso"\n{stated}'))
    with pytest.raises(DatasetError) as error:
        load_dataset(path)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("dd.mm.yyyy xx", "expected yyyy, yy, mm, mon, dd, hh, ss, am and signs, found 'xx' in it"),
        ("%d.%m.%Y", "expected yyyy"),
        ("dd.mm", "expected year (yyyy or yy), month (mm or mon) and day (dd)"),
        ("dd.mm.yyyy ss", "expected hours (hh) before minutes"),
        ("dd.dd.mm.yyyy", "expected each part of a time once"),
    ],
)
def test_a_format_that_is_none_is_named(pattern: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "dataset.toml"
    path.write_text(MINIMAL.replace('time_unit = "iso"', f'time_format = "{pattern}"'))
    with pytest.raises(DatasetError) as error:
        load_dataset(path)
    assert said in str(error.value)


def test_another_vocabulary_stages_a_file_again(tmp_path: Path) -> None:
    store, values = LocalStore(tmp_path), ["lieferbar"]
    assert properties(store, "stock", values)[0] == [None]
    assert properties(store, "stock", values, availability={"available": values})[0] == ["1"]
