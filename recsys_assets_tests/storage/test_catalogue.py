"""The catalogue: what is written is what is read, without copies, and bad tables and files are refused by name."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.storage.catalogue import COLUMNS, NEVER, OPTIONAL, Catalogue, CatalogueFormatError, KnownItem
from recsys_assets.storage.catalogue_writer import with_listed, write_catalogue

INTS = st.integers(-(2**63), 2**63 - 1)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NAMES = st.none() | STRINGS
DETAILS = st.tuples(
    NAMES,
    NAMES,
    st.none() | st.integers(1, 9),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
    st.none() | st.dates(date(1960, 1, 1), date(2100, 1, 1)),
    NAMES,
    NAMES,
)
TYPES = (pa.string(), pa.string(), pa.int64(), pa.bool_(), pa.float64(), pa.date32(), pa.string(), pa.string())
ALL = (*COLUMNS, *OPTIONAL)


def as_table(items: dict[Any, tuple[Any, ...]], ids: pa.DataType) -> pa.Table:
    rows = [(key, *items[key]) for key in sorted(items)]
    types = dict(zip(ALL, (ids, *TYPES), strict=True))
    return pa.table({name: pa.array([row[c] for row in rows], types[name]) for c, name in enumerate(ALL)})


def table(**columns: Any) -> pa.Table:
    two = as_table(
        {
            1: ("b", "r", 2, True, 1.0, date(2015, 1, 2), "Ada", "Shoes"),
            5: (None, None, None, False, None, None, None, None),
        },
        pa.int64(),
    )
    for name, values in columns.items():
        two = two.set_column(ALL.index(name), name, pa.array(values))
    return two


@pytest.mark.parametrize(("ids", "dtype"), [(INTS, pa.int64()), (STRINGS, pa.string()), (STRINGS, pa.large_string())])
def test_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, ids: st.SearchStrategy[int | str], dtype: pa.DataType
) -> None:
    folder = tmp_path_factory.mktemp("catalogue")

    @settings(max_examples=60, deadline=None)
    @given(st.dictionaries(ids, DETAILS, max_size=8), st.lists(ids, max_size=8))
    def check(items: dict[int | str, tuple[Any, ...]], probes: list[int | str]) -> None:
        catalogue = Catalogue.open(write_catalogue(as_table(items, dtype), folder))
        assert catalogue.item_ids.to_pylist() == sorted(items)
        assert len(catalogue) == len(items)
        asked = [*probes, *items]
        order = sorted(items)
        assert catalogue.positions(asked).tolist() == [order.index(i) if i in items else -1 for i in asked]
        for item in asked:
            assert catalogue.item(item) == (KnownItem(item, *items[item]) if item in items else None)

    check()


def test_ids_of_the_other_type_or_beyond_int64_are_unknown(tmp_path: Path) -> None:
    ints = Catalogue.open(write_catalogue(table(), tmp_path))
    assert ints.positions(["1", 5, 2**63, -(2**63) - 1, 10**400, 1]).tolist() == [-1, 1, -1, -1, -1, 0]
    # many at once take another way
    for asked in (["1", 5], [2**63, 5], [-(2**63) - 1, 5], [10**400, 5], [2**63 - 1, 5], [-(2**63), 5]):
        assert ints.positions([*asked, *asked * 9]).tolist() == [-1, 1] * 10
    strings = Catalogue.open(write_catalogue(table(item_id=["1", "5"]), tmp_path))
    assert strings.positions([1, "5", "1", "", "9"]).tolist() == [-1, 1, 0, -1, -1]


def test_columns_are_views_of_the_mapped_bytes_with_a_stated_value_under_each_null(tmp_path: Path) -> None:
    catalogue = Catalogue.open(write_catalogue(table(), tmp_path))
    assert [catalogue.depth[1], catalogue.first_seen[1], catalogue.category.codes[1]] == [0, NEVER, -1]
    assert np.isnan(catalogue.price[1])
    for column in (catalogue.depth, catalogue.price, catalogue.first_seen):
        assert not column.flags.owndata
        assert not column.flags.writeable


def test_columns_that_say_nothing_are_left_out_and_a_catalogue_from_before_them_is_read(tmp_path: Path) -> None:
    older = write_catalogue(table().drop_columns([*OPTIONAL]), tmp_path).read_bytes()
    nothing = pa.nulls(2, pa.string())
    assert write_catalogue(table(brand=nothing, title=nothing), tmp_path).read_bytes() == older
    catalogue = Catalogue.open(tmp_path / "catalogue.arrow")
    assert catalogue.item(1) == KnownItem(1, "b", "r", 2, True, 1.0, date(2015, 1, 2))
    assert catalogue.brand.codes.tolist() == [-1, -1]
    titled = Catalogue.open(write_catalogue(table(brand=nothing), tmp_path))
    assert titled.item(1) == KnownItem(1, "b", "r", 2, True, 1.0, date(2015, 1, 2), title="Shoes")


def test_other_tools_read_it_as_it_was(tmp_path: Path) -> None:
    original = table()
    path = write_catalogue(original, tmp_path)
    assert (
        pl.read_ipc(path).cast(dict.fromkeys(("category_id", "root_id", "brand"), pl.String)).to_dicts()
        == original.to_pylist()
    )
    with pa.memory_map(str(path)) as source:
        read = pa.ipc.open_file(source).read_all()
    read.validate(full=True)
    assert read.cast(original.schema).to_pylist() == original.to_pylist()


def test_equal_tables_give_equal_bytes_however_they_are_chunked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = np.array([None, "a", "b", "c"])
    days = pa.array(rng.integers(0, 9000, 500).astype(np.int32), mask=rng.random(500) < 0.3)
    whole = pa.table(
        {
            "item_id": np.arange(500),
            "category_id": pa.array(rng.choice(names, 500), pa.string()),
            "root_id": pa.array(rng.choice(names, 500), pa.large_string()),
            "depth": pa.array(rng.integers(1, 5, 500), mask=rng.random(500) < 0.3),
            "available": rng.random(500) < 0.5,
            "price": pa.array(rng.random(500), mask=rng.random(500) < 0.3),
            "first_seen": days.view(pa.date32()),
            "brand": pa.array(rng.choice(names, 500), pa.string()),
            "title": pa.array(rng.choice(names, 500), pa.string()),
            "ignored": rng.random(500),
        }
    )
    variants = (whole, pa.concat_tables([whole[:7], whole[7:300], whole[300:]]), pa.concat_tables([whole, whole])[:500])
    assert len({write_catalogue(variant, tmp_path).read_bytes() for variant in variants}) == 1


def test_items_that_only_lists_name_are_added_once_and_available() -> None:
    listed = [pa.chunked_array([[5, 3]]), pa.chunked_array([[9], [3, 1]]), pa.chunked_array([], pa.int64())]
    both = with_listed(table().append_column("days_known", pa.array([1, 1])), listed)
    assert both["item_id"].to_pylist() == [1, 3, 5, 9]
    assert both.filter(pa.array([True, False, True, False])).equals(table())
    assert both.to_pylist()[1] == {**dict.fromkeys(ALL), "item_id": 3, "available": True}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (table(item_id=[5, 1]), "'item_id' must ascend without repeats, found 5 before 1"),
        (table(item_id=[1, 1]), "'item_id' must ascend without repeats, found 1 before 1"),
        (table(item_id=[1, None]), "'item_id' must not be null, found 1 nulls"),
        (table(item_id=[1.0, 2.0]), "'item_id' must be large_string, found double"),
        (table(available=[True, None]), "'available' must not be null, found 1 nulls"),
        (table(available=["yes", "no"]), "'available' must be bool, found string"),
        (table(price=[1.0, float("inf")]), "'price' must be finite or null"),
        (table(price=["1.0", "2.0"]), "'price' must be double, found string"),
        (table(category_id=[1, 2]), "'category_id' must be string, found int64"),
        (table().drop_columns(["depth"]), r"columns \['depth'\] are missing"),
    ],
)
def test_bad_tables_are_refused_by_name(bad: pa.Table, message: str, tmp_path: Path) -> None:
    with pytest.raises(CatalogueFormatError, match=message):
        write_catalogue(bad, tmp_path)


def test_files_of_another_format_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Catalogue.open(tmp_path / "none.arrow")
    path = tmp_path / "catalogue.arrow"
    path.write_bytes(b"ARROW1 no")
    with pytest.raises(CatalogueFormatError, match="not an Arrow IPC file"):
        Catalogue.open(path)
    for metadata, message in (
        (None, "must be a catalogue of format 1, found none"),
        ({"recsys.catalogue": "2"}, "must be a catalogue of format 1, found 2"),
        ({"recsys.catalogue": "1"}, "must be one batch of"),
    ):
        schema = table().schema.with_metadata(metadata)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(table())
        with pytest.raises(CatalogueFormatError, match=message):
            Catalogue.open(path)


@pytest.mark.parametrize("ids", ["int64", "string"])
def test_a_release_without_a_catalogue_knows_no_item(ids: str) -> None:
    catalogue = Catalogue.absent(ids)
    assert (catalogue.released, catalogue.item_type, len(catalogue)) == (False, ids, 0)
    assert catalogue.positions([1, "a"]).tolist() == [-1, -1]
    assert catalogue.item("a") is None
