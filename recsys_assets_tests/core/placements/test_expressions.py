"""The language of filters: what is read, what is refused, and where an error says the fault lies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.core.contracts import IdType
from recsys_assets.core.placements.expressions import (
    FIELDS,
    MAX_DEPTH,
    MAX_LENGTH,
    AllOf,
    AnyOf,
    Comparison,
    FilterError,
    Membership,
    Nullness,
    fields_of,
    negate,
    parse,
)


def test_not_binds_closest_then_and_then_or() -> None:
    assert parse('available or not price < 5 and category == "a"', "int64") == AnyOf(
        (
            Comparison("available", "==", True),
            AllOf((Comparison("price", ">=", 5.0), Comparison("category", "==", "a"))),
        )
    )
    assert parse("(available or price < 5) and depth >= 2", "int64") == AllOf(
        (AnyOf((Comparison("available", "==", True), Comparison("price", "<", 5.0))), Comparison("depth", ">=", 2.0))
    )


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("item_id == 7", Comparison("item_id", "==", 7)),
        ("item_id in [-1, 0]", Membership("item_id", (-1, 0))),
        ('not root in ["x",\n"y"]', Membership("root", ("x", "y"), negated=True)),
        ("root not in []", Membership("root", (), negated=True)),
        ("price is null", Nullness("price")),
        ("NOT price IS NOT NULL", Nullness("price")),
        ("available != TRUE", Comparison("available", "!=", True)),
        ("age_days <= 1.5e1", Comparison("age_days", "<=", 15.0)),
        (r"category == 'it\'s \\ \"'", Comparison("category", "==", "it's \\ \"")),
        ('category == "and or not"', Comparison("category", "==", "and or not")),
        ("(" * 500 + "available" + ")" * 500, Comparison("available", "==", True)),
        ("not " * 501 + "available", Comparison("available", "!=", True)),
    ],
)
def test_what_is_read(text: str, tree: object) -> None:
    assert parse(text, "int64") == tree


@pytest.mark.parametrize(
    ("text", "message", "position"),
    [
        ("", "expected .*a field, not; found the end", 0),
        ("available and", "found the end", 13),
        (
            "colour == 1",
            r"unknown field 'colour' \(fields are item_id, category, root, depth, available, price, brand",
            0,
        ),
        ("available or Price < 1", "unknown field 'Price'", 13),
        ("__class__ == 1", "unknown field '__class__'", 0),
        ("price < 'x'", "price is compared with a number, found 'x'", 8),
        ("price < true", "price is compared with a number, found true", 8),
        ("price < 1e999", "finite number", 8),
        ("price << 1", "expected .*a number.*; found '< 1'", 7),
        ("price < 1 price", "expected .*and.*; found 'price'", 10),
        ("price(1)", "found '", 5),
        ("price", "price is not true or false: compare it with a value", 5),
        ("category == 1051", 'category is compared with a text in quotes, such as "1051", found 1051', 12),
        ("category == shoes", "expected .*a text in quotes.*; found 'shoes'", 12),
        ('category < "a"', "category is text, which == and != compare, not <", 9),
        ('category in ["a", 1]', "category is compared with a text in quotes", 18),
        ("available > false", "available is true or false, which == and != compare", 10),
        ("item_id < 5", "item_id is an id, which == and != compare", 8),
        ("item_id == 1.0", "item_id is compared with a 64-bit integer, found 1.0", 11),
        (f"item_id == {2**63}", "64-bit integer", 11),
        (f"item_id == {'9' * 4000}", "64-bit integer", 11),
        ('category == "open', "found '\"open'", 12),
        ("(" * 9 + "available", r"expected '\)'", 18),
        ("a" * (MAX_LENGTH + 1), f"at most {MAX_LENGTH} characters, found {MAX_LENGTH + 1}", MAX_LENGTH),
    ],
)
def test_an_error_says_what_is_wrong_and_where(text: str, message: str, position: int) -> None:
    with pytest.raises(FilterError, match=message) as raised:
        parse(text, "int64")
    assert raised.value.position == position
    assert str(raised.value).endswith(f"at character {position + 1}")


def test_ids_are_of_the_type_that_the_data_set_states() -> None:
    assert parse('item_id in ["7"]', "string") == Membership("item_id", ("7",))
    wrong: list[tuple[str, IdType]] = [("item_id == 7", "string"), ('item_id == "7"', "int64")]
    for text, ids in wrong:
        with pytest.raises(FilterError, match="item_id is compared with"):
            parse(text, ids)


def test_depth_is_limited() -> None:
    def nested(levels: int) -> str:
        text = "available"
        for level in range(levels):
            text = f"({text} {('or', 'and')[level % 2]} available)"
        return text

    parse(nested(MAX_DEPTH), "int64")
    with pytest.raises(FilterError, match=f"nested at most {MAX_DEPTH} deep"):
        parse(nested(MAX_DEPTH + 1), "int64")


def test_the_fields_of_a_filter_are_known() -> None:
    assert fields_of(parse('not (price < 1 or depth is null) and root in ["x"]', "int64")) == {"price", "depth", "root"}


WORDS = st.sampled_from([*FIELDS, *"()[],", "and", "or", "not", "in", "is", "null", "true", "==", "<", "1", '"a"', "x"])


@given(st.one_of(st.text(max_size=40), st.lists(WORDS, max_size=12).map(" ".join)))
def test_any_text_is_a_filter_or_refused_by_position(text: str) -> None:
    position = 0
    try:
        tree = parse(text, "int64")
        assert negate(negate(tree)) == tree
    except FilterError as error:
        position = error.position
    assert 0 <= position <= len(text)
