"""``recsys check``: the draft it writes reads the files, and all that is odd is told."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_assets.cli.check import main
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.ingest import parse_file

OWN_DATA = Path(__file__).parents[2] / "docs" / "own-data.md"
Captured = pytest.CaptureFixture[str]
EVENTS = [
    "visitor;sku;what;at",
    *(
        f"{user};A-{item};{('view', 'purchase')[item % 2]};{1_750_000_000 + 90_000 * item}"
        for user in range(5)
        for item in range(8)
    ),
]


def write(folder: Path, name: str, lines: list[str]) -> str:
    path = folder / name
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return str(path)


def drafted(captured: str) -> Dataset:
    return Dataset.model_validate(tomllib.loads(captured))


def test_the_draft_reads_the_files(tmp_path: Path, capsys: Captured) -> None:
    assert main([write(tmp_path, "clicks-2025-06-15.csv.gz", EVENTS)]) == 0
    out, err = capsys.readouterr()
    dataset = drafted(out)
    assert dataset.kind_of("clicks-2025-06-16.csv.gz") == "events"
    assert (dataset.ids.user, dataset.ids.item) == ("int64", "string")
    assert {name: (kind.weight, kind.target) for name, kind in dataset.event_types.items()} == {
        "view": (1, False),
        "purchase": (10, True),
    }
    assert not dataset.repeats
    assert "40 events of 5 users and 8 items on 8 days from 2025-06-15 to 2025-06-22; 0 rejected" in err


def test_what_would_be_rejected_is_told_and_stray_early_times_are_no_first_day(
    tmp_path: Path, capsys: Captured
) -> None:
    odd = ["1;A-1;view;never", "1;;view;1750000000", "1;A-1;view;1000000000", ";A-1;view;1750000000"]
    assert main([write(tmp_path, "clicks.csv", EVENTS * 1 + odd)]) == 0
    out, err = capsys.readouterr()
    dataset = drafted(out)
    assert dataset.start_date.isoformat() == "2025-06-15"
    assert dataset.events.unknown.user_id == ("",)
    assert "41 events of 5 users" in err
    assert "3 rejected (" in err
    for reason in ("1 unparsable ts", "1 null item_id", "1 time outside the allowed span"):
        assert reason in err


def test_kinds_of_files_are_told_apart(tmp_path: Path, capsys: Captured) -> None:
    files = [
        write(tmp_path, "events.jsonl", [json.dumps({"user": "u1", "item": 7, "time": "2025-01-01T10:00:00Z"})]),
        write(tmp_path, "events_properties.csv", ["itemid,timestamp,property,value", "7,1735722000,Category,3"]),
        write(tmp_path, "tree.csv", ["categoryid,parentid", "3,1", "1,"]),
    ]
    assert main(files) == 0
    dataset = drafted(capsys.readouterr().out)
    assert [dataset.kind_of(Path(file).name) for file in files] == ["events", "properties", "categories"]
    assert dataset.properties is not None
    assert dataset.properties.names == {"category": "Category"}


def test_a_bad_file_stops_no_other_and_its_content_is_not_shown(tmp_path: Path, capsys: Captured) -> None:
    bad = write(tmp_path, "a.csv", ["secret\x00\x01" * 50])
    unnamed = write(tmp_path, "b.csv", ["colour;size", "red;1", "blue;2"])
    assert main([bad, unnamed, str(tmp_path / "missing.csv"), write(tmp_path, "clicks.csv", EVENTS)]) == 1
    out, err = capsys.readouterr()
    assert "secret" not in err
    assert "a.csv: is neither parquet nor text" in err
    assert "is not used: no column found for user_id, item_id, ts; --column user_id=NAME names one" in err
    assert "missing.csv" in err
    assert drafted(out).kind_of("clicks.csv") == "events"


def test_columns_without_telling_names_can_be_named(tmp_path: Path, capsys: Captured) -> None:
    file = write(tmp_path, "x.csv", ["who,thing,moment", "1,2,2025-01-01", "2,3,2025-01-02"])
    assert main([file]) == 1
    assert main([file, "--column", "user_id=who", "--column", "item_id=thing"]) == 0
    assert drafted(capsys.readouterr().out).events.columns.user_id == "who"
    assert main([file, "--column", "usr=who"]) == 1
    assert "--column usr: expected one of" in capsys.readouterr().err


def test_files_are_checked_against_a_description_that_exists(tmp_path: Path, capsys: Captured) -> None:
    file = write(tmp_path, "clicks.csv", EVENTS)
    assert main([file]) == 0
    (tmp_path / "dataset.toml").write_text(capsys.readouterr().out.replace('"view" = ', '"look" = '))
    assert main([file, "--dataset", str(tmp_path / "dataset.toml")]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "20 rejected (20 unknown event type)" in err
    other = write(tmp_path, "other.csv", EVENTS)
    assert main([other, "--dataset", str(tmp_path / "dataset.toml")]) == 1
    assert "other.csv: the data set names no such file" in capsys.readouterr().err


def test_how_times_and_prices_are_written_is_drafted(tmp_path: Path, capsys: Captured) -> None:
    rows = [
        "kunde;artikel;aktion;zeit;preis",
        *(
            f"{user};{item};kauf;{day:02}.01.2025 1{user}:00:00;1.{item}00,50"
            for user in range(5)
            for item, day in ((2, 9), (3, 28))
        ),
    ]
    file = write(tmp_path, "export.csv", rows)
    named = ("user_id=kunde", "item_id=artikel", "event_type=aktion", "price=preis")
    assert main([file, *(part for one in named for part in ("--column", one))]) == 0
    out, err = capsys.readouterr()
    events = drafted(out).events
    assert (events.time_unit, events.time_format, events.time_zone) == (None, "dd.mm.yyyy hh:mm:ss", "UTC")
    assert (events.numbers.decimal, events.numbers.thousands) == (",", ".")
    assert "10 events of 5 users and 2 items on 2 days from 2025-01-09 to 2025-01-28; 0 rejected" in err


@pytest.mark.parametrize(
    ("prices", "quantities", "drafted_numbers"),
    [
        (
            ("1.234,50", "3,99"),
            ("1.5", "2"),
            'numbers = { decimal = ",", thousands = ".", quantity = { decimal = ".", thousands = "" } }',
        ),
        (("12.50", "3"), ("1,5", "0,25"), 'numbers = { quantity = { decimal = ",", thousands = "." } }'),
        (("12", "3"), ("1,5", "0,25"), 'numbers = { decimal = ",", thousands = "." }'),
        (("1.234,50", "3,99"), ("1", "2"), 'numbers = { decimal = ",", thousands = "." }'),
    ],
)
def test_columns_whose_numbers_are_written_in_two_ways_are_drafted_and_read(
    prices: tuple[str, str], quantities: tuple[str, str], drafted_numbers: str, tmp_path: Path, capsys: Captured
) -> None:
    rows = ["user;item;ts;price;quantity"]
    rows += [f"{n};{n};2025-01-02;{prices[n % 2]};{quantities[n % 2]}" for n in range(4)]
    path = Path(write(tmp_path, "events.csv", rows))
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert drafted_numbers in out.splitlines()
    with path.open("rb") as stream:
        found = pa.concat_tables(part.good for _, part in parse_file("events", path.name, stream, drafted(out)))

    def number(text: str) -> float:
        return float(text.replace(".", "").replace(",", ".") if "," in text else text)

    assert found["price"].to_pylist() == [number(prices[n % 2]) for n in range(4)]
    assert found["quantity"].to_pylist() == [number(quantities[n % 2]) for n in range(4)]


def test_a_form_of_times_that_the_rows_leave_open_is_said(tmp_path: Path, capsys: Captured) -> None:
    assert main([write(tmp_path, "a.csv", ["user,item,time", "1,2,01/02/2025", "2,2,03/04/2025"])]) == 0
    out = capsys.readouterr().out
    assert 'time_format = "mm/dd/yyyy"  # the rows that were looked at also fit "dd/mm/yyyy"' in out
    drafted(out)


def test_columns_and_types_of_a_german_export_are_found(tmp_path: Path, capsys: Captured) -> None:
    rows = ["Zeitpunkt;Kundennr;Artikelnr;Aktion;Stück"]
    types = ("Ansicht", "Warenkorb", "Kauf")
    rows += [f"0{n}.01.2025 10:00:00;K{n};A-{n};{types[n % 3]};{n}" for n in range(1, 9)]
    assert main([write(tmp_path, "klicks.csv", rows)]) == 0
    events = drafted(capsys.readouterr().out).events
    columns = events.columns
    assert (columns.user_id, columns.item_id, columns.ts) == ("Kundennr", "Artikelnr", "Zeitpunkt")
    assert (columns.event_type, columns.quantity) == ("Aktion", "Stück")
    assert {name: (one.weight, one.target) for name, one in events.types.items()} == {
        "Ansicht": (1, False),
        "Warenkorb": (5, True),
        "Kauf": (10, True),
    }


def test_a_column_that_may_hold_the_types_of_events_is_told(tmp_path: Path, capsys: Captured) -> None:
    rows = ["user,item,time,what", *(f"{n},{n},2025-01-0{n},{'ab'[n % 2]}" for n in range(1, 9))]
    file = write(tmp_path, "log.csv", rows)
    assert main([file]) == 0
    said = "every row counts as the same type of event; if 'what' holds the types (a, b): --column event_type=what"
    out, err = capsys.readouterr()
    assert said in err
    assert drafted(out).events.event_type == "interaction"
    assert main([file, "--column", "event_type=what"]) == 0
    out, err = capsys.readouterr()
    assert "the same type" not in err
    assert set(drafted(out).events.types) == {"a", "b"}


def test_a_catalogue_with_a_row_per_item_is_read_after_the_query_of_the_docs(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = ["item_id,title,category,price,available", "1,Mug,kitchen,4.50,yes", "2,,garden,7,no"]
    clicks = write(tmp_path, "clicks.csv", EVENTS)
    assert main([clicks, write(tmp_path, "items.csv", items)]) == 1
    assert "items.csv" in (err := capsys.readouterr().err)
    assert "is not used: one row per item (category, available, price, title); properties are read from rows" in err
    query = OWN_DATA.read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(query)
    assert main([clicks, "item_properties_2025-01-01.csv"]) == 0
    out, err = capsys.readouterr()
    assert "7 properties; 0 that the data set does not name; 0 rejected" in err
    properties = drafted(out).properties
    assert properties is not None
    assert properties.names == {name: name for name in ("category", "available", "price", "title")}


def test_how_prices_and_availability_of_properties_are_written_is_drafted_and_the_rest_is_told(
    tmp_path: Path, capsys: Captured
) -> None:
    rows = ["item_id;ts;property;value"]
    words = ("ja", "nein", "auf Lager", "demnächst")
    rows += [f"A-{n};2025-01-01;lieferbar;{words[n % 4]}" for n in range(8)]
    rows += [f"A-{n};2025-01-01;Preis;1.{n}00,50" for n in range(8)]
    assert main([write(tmp_path, "clicks.csv", EVENTS), write(tmp_path, "properties.csv", rows)]) == 0
    out, err = capsys.readouterr()
    properties = drafted(out).properties
    assert properties is not None
    assert properties.names == {"available": "lieferbar", "price": "Preis"}
    assert (properties.numbers.decimal, properties.numbers.thousands) == (",", ".")
    assert properties.availability.available == ("auf Lager", "ja")
    assert properties.availability.unavailable == ("nein",)
    assert "available: 2 rows with values that mean nothing that is known: demnächst" in err
    assert "price:" not in err


def test_ratings_between_two_colons_are_read(tmp_path: Path, capsys: Captured) -> None:
    rows = [f"{user}::{item}::{item % 5 + 1}::{978300760 + item}" for user in range(1, 4) for item in range(1, 6)]
    assert main([write(tmp_path, "ratings.dat", rows)]) == 0
    out, err = capsys.readouterr()
    assert "15 events of 3 users and 5 items on 1 days from 2000-12-31 to 2000-12-31; 0 rejected" in err
    assert set(drafted(out).events.types) == {"1", "2", "3", "4", "5"}


def test_columns_that_hold_lists_do_not_hide_the_others(tmp_path: Path, capsys: Captured) -> None:
    row = {"event_timestamp": 1_700_000_000_000_000, "event_name": "view_item", "user_pseudo_id": "1.2", "item_id": "A"}
    lines = [json.dumps(row), json.dumps({**row, "items": [{"price": 3}]})]
    assert main([write(tmp_path, "ga.jsonl", lines)]) == 0
    out, err = capsys.readouterr()
    assert "lists or records, which are not read" in err
    assert "2 events of 1 users" in err
    assert drafted(out).events.columns.user_id == "user_pseudo_id"


@pytest.mark.parametrize(
    ("time", "asked"), [("2025-01-0{} 10:00:00", True), ("2025-01-0{}T10:00:00Z", False), ("173572200{}", False)]
)
def test_the_zone_of_times_that_name_none_is_asked_for(
    time: str, asked: bool, tmp_path: Path, capsys: Captured
) -> None:
    rows = ["user,item,time", *(f"{n},{n},{time.format(n)}" for n in range(1, 9))]
    assert main([write(tmp_path, "log.csv", rows)]) == 0
    assert ("time_zone = " in capsys.readouterr().out) is asked
