"""The united frames hold every row of the frames that they are made of, and leave each as it is by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from recsys_assets_tests.core.world import Row
from recsys_assets_tests.engines.drawn import SETTINGS
from recsys_assets_tests.engines.frames import INTS, RAW, STRINGS, TREE, Raw, embedded, extreme_ids, shop, unicode
from recsys_assets_tests.engines.function_inputs import tables_of_days
from recsys_assets_tests.engines.same import assert_same, plain
from recsys_assets_tests.engines.united import NAMES, UNITED, parts, unite

PARTS = [pytest.param(united, name, id=name) for united in NAMES for name in parts(united)]
IDS = ("user_id", "item_id", "other_item_id", "target_item_id")
OF_ONE_ITEM = ("item_properties", "user_activity", "item_activity", "item_pairs", "clean_events")
"""Tables whose rows are made of the events or properties of one item, or of two that a session has together."""


def test_every_frame_is_in_one_of_them() -> None:
    assert sorted(name for names in NAMES.values() for name in names) == sorted(RAW)
    assert {raw().ids for raw in UNITED.values()} == {raw().ids for raw in RAW.values()} == {INTS, STRINGS}
    assert sum(map(len, map(parts, NAMES))) == len(RAW) + 2 * SETTINGS.max_examples


def rows_of(raw: Raw) -> list[tuple[str, Row]]:
    """All that landing files say, with the table that each row is in."""
    tables = {"events": raw.events, "properties": raw.properties, "rejected": raw.rejected}
    return [(table, row) for table, rows in tables.items() for row in rows]


def renamed(united: str, name: str) -> dict[str, dict[Any, Any]]:
    """Each id of a frame and what the united frame calls it, by column; fails where a row is lost or another one."""
    names: dict[str, dict[Any, Any]] = {"user_id": {}, "item_id": {}, "category": {}}
    expected = rows_of(parts(united)[name])
    found = [(table, row) for table, row in rows_of(UNITED[united]()) if row["source_file"].startswith(f"{name}/")]
    assert len(found) == len(expected)
    for (there, new), (here, old) in zip(found, expected, strict=True):
        assert there == here
        assert new.keys() == old.keys()
        assert new["source_file"] == f"{name}/{old['source_file']}"
        for column in old.keys() - {"source_file"}:
            kind = "category" if column == "value" and old["property"] == "category" else column
            if kind in names and old[column] is not None:
                assert names[kind].setdefault(old[column], new[column]) == new[column]
            else:
                assert repr(new[column]) == repr(old[column])
    return names


@pytest.mark.parametrize("united", NAMES)
def test_no_row_is_lost_and_no_two_frames_share_an_id(united: str) -> None:
    names, whole = {name: renamed(united, name) for name in parts(united)}, UNITED[united]()
    assert len(rows_of(whole)) == sum(len(rows_of(raw)) for raw in parts(united).values())
    for kind in ("user_id", "item_id", "category"):
        old = sum(len(of[kind]) for of in names.values())
        assert len({new for of in names.values() for new in of[kind].values()}) == old > 0
    for rows, alone in ((whole.tree, TREE), (whole.embeddings, embedded(whole.ids))):
        assert rows is not None
        assert len({(row.get("item_id"), row.get("category_id")) for row in rows}) == len(alone) * len(names)


@cache
def united_days(united: str) -> Mapping[str, pa.Table]:
    return tables_of_days(UNITED[united]())


@pytest.mark.parametrize(("united", "name"), PARTS)
def test_what_is_made_of_a_frame_alone_is_made_of_it_among_others(united: str, name: str) -> None:
    names, alone, among = renamed(united, name), tables_of_days(parts(united)[name]), united_days(united)
    items = {"item_id": [*names["item_id"].values()]}
    of_frame = pl.DataFrame(items, schema={"item_id": pl.DataFrame(among["item_activity"])["item_id"].dtype})
    for table in OF_ONE_ITEM:
        expected, found = (pl.DataFrame(one[table]) for one in (alone, among))
        for column in expected.columns:
            kind = "user_id" if column == "user_id" else "item_id"
            if column in IDS and names[kind]:
                expected = expected.with_columns(pl.col(column).replace(names[kind]))
            if column == "source_file":
                expected = expected.with_columns(pl.format(f"{name}/{{}}", column))
            if column == "value" and names["category"]:
                category = pl.when(property="category").then(pl.col(column).replace(names["category"]))
                expected = expected.with_columns(category.otherwise(column).alias(column))
        assert_same(plain(found.join(of_frame, on="item_id", how="semi")), plain(expected))


def test_frames_that_cannot_be_united_are_refused() -> None:
    with pytest.raises(ValueError, match="one type of ids"):
        unite({"one": shop(), "other": unicode()})
    with pytest.raises(OverflowError):
        tables_of_days(unite({"one": shop(), "other": extreme_ids()}))
