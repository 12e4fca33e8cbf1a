"""A quote that was lost or left over makes nobody new and takes no row with it, in files of every kind."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.file_specs import CategoriesSpec
from recsys_assets.ingest.undated import read_table, stage_table
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.ingest.hostile import HEADER, LINES, parquet, shop, staged

pytestmark = pytest.mark.faults

STRAY = "a quote in an id that nothing opens or closes"
STRING_IDS = shop().model_copy(update={"ids": IdTypes(user="string", item="string")})


def with_tree() -> Dataset:
    columns = {"category_id": "category", "parent_id": "parent"}
    tree = CategoriesSpec.model_validate({"files": ["tree*"], "columns": columns})
    return shop().model_copy(update={"categories": tree})


def edges(store: LocalStore, text: str) -> list[tuple[str, str | None]]:
    stage_table("categories", "tree.csv", "digest", lambda: io.BytesIO(text.encode()), with_tree(), store)
    table = read_table("categories", "digest", store)
    return [(row["category_id"], row["parent_id"]) for row in table.to_pylist()]


@pytest.mark.parametrize("row", ['u5",i5', 'u"5,i5', '"u5"",i5', 'u5,i5"', '"u5""",i5', 'u5"""x,i5'])
def test_an_id_with_a_stray_quote_is_nobody(row: str, tmp_path: Path) -> None:
    """The row has its day and its reason, as every other that is rejected."""
    good_rows = ['"u1",i1,view,2025-01-02', '"the ""best"" u",i2,view,2025-01-02']
    text = "\n".join([HEADER, *good_rows, f"{row},view,2025-01-03", ""])
    done, good, bad = staged(LocalStore(tmp_path), "events.csv", text.encode(), STRING_IDS)
    assert {row["user_id"] for row in good} == {"u1", 'the "best" u'}
    if row != '"u5"",i5':  # that quote is open
        assert (done.total, done.reasons, bad[0]["source_row"]) == (3, {STRAY: 1}, 2)
    assert done.total == len(good) + sum(done.reasons.values())


def test_a_quote_is_a_part_of_an_id_where_it_has_no_meaning(tmp_path: Path) -> None:
    """In files without quotes, if the data set says so, and in formats that have none."""
    plain = STRING_IDS.model_copy(update={"events": STRING_IDS.events.model_copy(update={"quote": ""})})
    text = f'{HEADER}\nu1,1/2",view,2025-01-02\n'
    _, (good,), _ = staged(LocalStore(tmp_path), "events.csv", text.encode(), plain)
    table = parquet({"user": ["u1"], "item": ['1/2"'], "action": ["view"], "time": ["2025-01-02"]})
    _, (same,), _ = staged(LocalStore(tmp_path), "events.parquet", table, STRING_IDS)
    assert (good["item_id"], same["item_id"]) == ('1/2"', '1/2"')


def test_items_and_categories_of_properties_have_no_stray_quote(tmp_path: Path) -> None:
    rows = ['2025-01-02,i1",price,5', '2025-01-02,i2,category,c2"', '2025-01-02,i3,title,24" screen']
    text = "\n".join(["time,item,property,value", *rows])
    done, (good,), bad = staged(LocalStore(tmp_path), "props.csv", text.encode(), STRING_IDS, kind="properties")
    assert (good["item_id"], good["value"]) == ("i3", '24" screen'), "a text may hold what it likes"
    assert [row["reason"] for row in bad] == [STRAY, f"{STRAY} of a category"]
    assert done.total == 3


def test_a_quote_that_looks_like_rows_elsewhere_changes_no_count(tmp_path: Path) -> None:
    """Every single quote of a file is left out once: each row is there or rejected, and no id is new."""
    lines = [",".join(f'"{one}"' for one in line.split(",")) for line in LINES]
    text = "\n".join([HEADER, *lines, ""])
    users = {f"u{n}" for n in range(10)}
    for place in [place for place, sign in enumerate(text) if sign == '"']:
        done, good, bad = staged(LocalStore(tmp_path), "events.csv", (text[:place] + text[place + 1 :]).encode())
        assert {row["user_id"] for row in good} <= users, place
        assert (len(good) >= 8, done.total) == (True, len(good) + sum(done.reasons.values())), (place, bad)


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (['1,0,"Shoes', "2,1,Boots", '3,1,"Bags"'], "row 0: a quote that is not closed, so that a value holds other"),
        (["1,0,a", '2,1,"Boots', "3,1,b"], "row 1: a quote that is not closed"),
        (['1,,"Shoes', "2,,Boots", '3,,"Bags"'], "row 0: a quote that is not closed"),
        (['a,,"Shoes', "b,,Boots", 'c,b,"Bags"', "d,b,Hats"], "row 0: a quote that is not closed"),
        (['1,"0', '2,"1,Boots'], "row 0: "),
        (['"1,0,a', '2,1,"b', '3",1,c'], "row 0: "),
        (["1,0,a", '2",1,b'], f"row 1: {STRAY}"),
        (["1,0,a", '2,1",b'], f"row 1: {STRAY}"),
        (["1,0,a", '"2\n4",1,b'], "row 1: an id of several lines"),
    ],
)
def test_a_tree_in_which_a_quote_took_rows_in_is_at_fault_by_row(rows: list[str], fault: str, tmp_path: Path) -> None:
    text = "\n".join(["category,parent,name", *rows, ""])
    with pytest.raises(DataFileError, match=f"^tree.csv: {fault}") as told:
        edges(LocalStore(tmp_path), text)
    assert "Boots" not in str(told.value)


def test_names_of_several_lines_are_no_rows_of_a_tree(tmp_path: Path) -> None:
    names = ['"Red,\nblue, green"', '"a\nb,c,d\ne"', '"\n"', '"x, 1, y\nz"', '"of ""all""\nkinds"', '"5\n"']
    rows = [f"{number},{number and 1},{name}" for number, name in enumerate(names, 1)]
    text = "\n".join(["category,parent,name", *rows])
    assert edges(LocalStore(tmp_path), text) == [(str(number), "1") for number in range(1, 7)]
