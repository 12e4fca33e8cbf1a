"""The category tree: shape, orphans, and what is not a tree."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pytest

from recsys_assets.core.catalog.tree import CategoryTreeError, build_tree
from recsys_assets.core.contracts import CATEGORY_TREE, IdTypes, arrow_schema

REAL = Path(__file__).parents[4] / "shared/data/retailrocket/category_tree.csv"


def edges(*pairs: tuple[str | None, str | None]) -> pa.Table:
    schema = pa.schema([("category_id", pa.string()), ("parent_id", pa.string())])
    return pa.Table.from_pylist([{"category_id": c, "parent_id": p} for c, p in pairs], schema=schema)


def test_root_depth_and_path():
    tree = build_tree(edges(("9", "10"), ("10", "0"), ("0", None), ("7", ""), ("10", "0")))
    assert tree.orphans == ()
    assert tree.table.schema == arrow_schema(CATEGORY_TREE, IdTypes())
    assert [tuple(row.values()) for row in tree.table.to_pylist()] == [
        ("0", None, "0", 1, "0"),
        ("10", "0", "0", 2, "0/10"),
        ("7", None, "7", 1, "7"),
        ("9", "10", "0", 3, "0/10/9"),
    ]


def test_orphans_are_dropped_with_their_subtree_and_named():
    tree = build_tree(edges(("a", None), ("b", "lost"), ("c", "b"), ("d", "a")))
    assert tree.orphans == ("b", "c")
    assert tree.table["category_id"].to_pylist() == ["a", "d"]


@pytest.mark.parametrize("word", ["0", "-1", "", None, "NULL", "null", "None", "nan", "N/A", "\\N", "itself"])
def test_roots_are_known_by_what_exports_write_for_no_parent(word: str | None):
    top = {name: name if word == "itself" else word for name in ("1", "2")}
    tree = build_tree(edges(*top.items(), ("11", "1"), ("21", "2")))
    assert tree.orphans == ()
    found = [(row["category_id"], row["root_id"], row["depth"]) for row in tree.table.to_pylist()]
    assert found == [("1", "1", 1), ("11", "1", 2), ("2", "2", 1), ("21", "2", 2)]


def test_a_root_word_that_is_a_category_is_one_and_stated_words_replace_the_usual_ones():
    assert build_tree(edges(("0", ""), ("5", "0"))).table["depth"].to_pylist() == [1, 2]
    assert build_tree(edges(("5", "Top"), ("6", "0")), root=("top",)).orphans == ("6",)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("a", None), ("b", "c"), ("c", "d"), ("d", "b")], "cycle through or above row 1, row 2, row 3$"),
        ([("a", None), ("c", None), ("b", "a"), ("b", "c")], "one category has two parents: row 2 and row 3$"),
        ([("a", None), ("b", "a"), ("b", None)], "one category has two parents: row 1 and row 2$"),
        ([("a", None), (None, "a")], "row 1 has no category_id"),
    ],
)
def test_what_is_not_a_tree_is_refused_by_name(pairs: list[tuple[str | None, str | None]], message: str):
    with pytest.raises(CategoryTreeError, match=message):
        build_tree(edges(*pairs))


def test_errors_name_file_and_row_and_nothing_that_stands_there():
    places = {"source_file": ["a.csv", "a.csv", "b.csv"], "source_row": [0, 4, 7]}
    for parents, told in (
        (["secret-2", "secret-1", "secret-1"], "cycle through or above a.csv row 0, a.csv row 4"),
        ([None, "secret-1", "secret-9"], "two parents: a.csv row 4 and b.csv row 7"),
    ):
        rows = pa.table({"category_id": ["secret-1", "secret-2", "secret-2"], "parent_id": parents, **places})
        if told.startswith("cycle"):
            rows = rows.slice(0, 2)
        with pytest.raises(CategoryTreeError, match=told) as error:
            build_tree(rows)
        assert "secret" not in str(error.value)


def test_integer_ids_deep_chains_and_no_rows():
    deep = pa.table({"category_id": range(5000), "parent_id": [None, *range(4999)]})
    assert build_tree(deep).table["depth"].to_pylist() == [int(i) + 1 for i in sorted(map(str, range(5000)))]
    assert build_tree(edges()).table.num_rows == 0


@pytest.mark.skipif(not REAL.exists(), reason="the real tree is not on this machine")
def test_the_real_tree_has_its_known_shape():
    tree = build_tree(csv.read_csv(REAL).rename_columns(["category_id", "parent_id"]))
    assert tree.orphans == ()
    assert Counter(tree.table["depth"].to_pylist()) == {1: 25, 2: 174, 3: 702, 4: 665, 5: 90, 6: 13}
    assert len(set(tree.table["root_id"].to_pylist())) == 25
