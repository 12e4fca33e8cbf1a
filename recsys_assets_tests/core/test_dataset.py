"""A dataset.toml says what it must, or the error names the file and the field."""

from datetime import date
from pathlib import Path

import pytest

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.dataset import DatasetError, FileSpec, load_dataset, presets

MINIMAL = """
name = "shop"
start_date = 2024-01-01
[events]
files = ["orders/*.jsonl"]
event_type = "order"
time_unit = "iso"
types.order = { weight = 1, target = true }
columns = { user_id = "customer", item_id = "sku", ts = "at" }
"""


def test_presets_describe_the_known_data_sets():
    assert presets() == ["movielens", "online_retail", "retailrocket"]
    rocket, films, gifts = (load_dataset(name) for name in ("retailrocket", "movielens", "online_retail"))
    assert (rocket.start_date, rocket.end_date, rocket.boundary_hours) == (date(2015, 5, 3), date(2015, 9, 18), 3)
    assert {n: (t.weight, t.target) for n, t in rocket.event_types.items()} == {
        "view": (1, False),
        "addtocart": (5, True),
        "transaction": (10, True),
    }
    files = ["events.csv", "item_properties_part1.csv.gz", "category_tree.csv", "README.md"]
    assert [rocket.kind_of(f"2015/{file}") for file in files] == ["events", "properties", "categories", None]
    assert not films.repeats
    assert {n for n, t in films.event_types.items() if t.target} == {"rating_4", "rating_5"}
    assert (gifts.ids, gifts.repeats, gifts.events.unknown.user_id) == (IdTypes(item="string"), True, ("0",))


def test_a_data_set_of_ones_own(tmp_path: Path):
    path = tmp_path / "dataset.toml"
    path.write_text(MINIMAL)
    shop = load_dataset(path)
    assert shop == load_dataset(str(path))
    assert (shop.ids, shop.session_gap_minutes, shop.end_date, shop.repeats) == (IdTypes(), 30, None, True)
    assert shop.event_types["order"].target
    assert (shop.kind_of("orders/1.jsonl"), shop.kind_of("1.jsonl")) == ("events", None)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "shop"', "", "name: is missing"),
        ('name = "shop"', 'name = "a shop"', "name:"),
        ("start_date = 2024-01-01", 'start_date = "soon"', "start_date:"),
        ("start_date = 2024-01-01", "start_date = 2024-01-01\nend_date = 2024-01-01", "end_date"),
        ("start_date = 2024-01-01", 'start_date = 2024-01-01\nday_starts_at = "03:30"', "day_starts_at:"),
        ("start_date = 2024-01-01", 'start_date = 2024-01-01\nids.user = "uuid"', "ids.user:"),
        ("start_date = 2024-01-01", "start_date = 2024-01-01\nbots.hours = 25", "bots.hours: expected at most 24"),
        (
            "start_date = 2024-01-01",
            "start_date = 2024-01-01\nbots.per_minutes = 9",
            "bots.per_minutes: is not known; did you mean per_minute?",
        ),
        (
            "start_date = 2024-01-01",
            'start_date = 2024-01-01\nids.users = "int64"',
            "expected user and item, found users",
        ),
        ('user_id = "customer", ', "", "events.columns.user_id: is missing"),
        ('ts = "at"', 'ts = "at", when = "at"', "events.columns.when:"),
        ('time_unit = "iso"', 'time_unit = "minutes"', "events.time_unit:"),
        ("weight = 1", "weight = -1", "events.types.order.weight:"),
        ("target = true", "target = false", "at least one must be a target"),
        ('event_type = "order"', "", "either columns.event_type or event_type"),
        ('event_type = "order"', 'event_type = "buy"', "event_type 'buy' is not in types ['order']"),
        ('files = ["orders/*.jsonl"]', "files = []", "events.files:"),
        ('event_type = "order"', 'event_type = "order"\npositive_quantity = true', "positive_quantity needs"),
        ("[events]", "[events", "not TOML"),
    ],
)
def test_a_mistake_is_an_error_that_names_file_and_field(tmp_path: Path, old: str, new: str, said: str):
    path = tmp_path / "dataset.toml"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(DatasetError) as error:
        load_dataset(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_an_unknown_name_lists_the_presets():
    with pytest.raises(
        DatasetError, match=r"retailrokcet: expected a preset \(movielens, online_retail, retailrocket\)"
    ):
        load_dataset("retailrokcet")


def test_format_comes_from_the_name_unless_stated():
    spec = FileSpec(files=("*",))
    found = [spec.format_of(n) for n in ("a.csv", "b/a.CSV.gz", "a.tsv.xz", "a.ndjson.zst", "a.v2.parquet")]
    assert found == ["csv", "csv", "tsv", "jsonl", "parquet"]
    assert FileSpec(files=("*",), format="tsv").format_of("u.data") == "tsv"
    with pytest.raises(DatasetError, match=r"u\.data: cannot tell the format"):
        spec.format_of("u.data")
