"""Filters over a catalogue: the masks are those of a row-by-row evaluation by SQL's three-valued logic."""

from __future__ import annotations

import json
import operator
import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_api.expressions import Filters
from recsys_assets.core.placements.expressions import FilterError
from recsys_assets.storage.catalogue import Catalogue, KnownItem
from recsys_assets_tests.api.catalogues import AS_OF, BRANDS, CATEGORIES, PRICES, ROOTS, catalogue_of, known_items

Verdict = bool | None
"""True, false or unknown."""
Naive = Callable[[KnownItem], Verdict]
Case = tuple[str, Naive]
"""A filter as text, and as a function of one item that knows nothing of trees and masks."""

OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
VALUES: dict[str, list[Any]] = {
    "item_id": [0, 1, 2, -5, 2**62],
    "category": [*CATEGORIES, "no such"],
    "root": ROOTS,
    "brand": [*BRANDS, "no such"],
    "depth": [0, 1, 2, 2.5],
    "available": [True, False],
    "price": [*PRICES, -1, 1e300],
    "age_days": [0, 1, 32, 0.5],
}


def value_of(item: KnownItem, field: str) -> Any:
    if field == "age_days":
        return None if item.first_seen is None else (AS_OF - item.first_seen).days
    return getattr(item, field)


def not_(verdict: Verdict) -> Verdict:
    return None if verdict is None else not verdict


def all_of(verdicts: list[Verdict]) -> Verdict:
    return False if False in verdicts else None if None in verdicts else True


def any_of(verdicts: list[Verdict]) -> Verdict:
    return True if True in verdicts else None if None in verdicts else False


def compared(field: str, symbol: str, value: Any) -> Case:
    def naive(item: KnownItem) -> Verdict:
        own = value_of(item, field)
        return None if own is None else OPERATORS[symbol](own, value)

    return f"{field} {symbol} {json.dumps(value)}", naive


def among(field: str, values: list[Any], negated: bool) -> Case:
    def naive(item: KnownItem) -> Verdict:
        own = value_of(item, field)
        return None if own is None else (own in values) != negated

    return f"{field} {'not ' * negated}in {json.dumps(values)}", naive


def null(field: str, negated: bool) -> Case:
    return f"{field} is {'not ' * negated}null", lambda item: (value_of(item, field) is None) != negated


def joined(word: str, cases: list[Case]) -> Case:
    join = all_of if word == "and" else any_of
    return f" {word} ".join(f"({text})" for text, _ in cases), lambda item: join([naive(item) for _, naive in cases])


@st.composite
def leaves(draw: st.DrawFn) -> Case:
    field = draw(st.sampled_from(sorted(VALUES)))
    value = st.sampled_from(VALUES[field])
    symbols = list(OPERATORS) if field in ("depth", "price", "age_days") else ["==", "!="]
    kind = draw(st.sampled_from(["compared", "among", "null"]))
    if kind == "compared":
        return compared(field, draw(st.sampled_from(symbols)), draw(value))
    if kind == "among":
        return among(field, draw(st.lists(value, max_size=3)), draw(st.booleans()))
    return null(field, draw(st.booleans()))


CASES = st.recursive(
    leaves(),
    lambda part: st.one_of(
        part.map(lambda case: (f"not ({case[0]})", lambda item: not_(case[1](item)))),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(part, min_size=2, max_size=3)).map(lambda c: joined(*c)),
    ),
    max_leaves=8,
)
INTS = known_items(st.sampled_from([0, 1, 2, 3, -5, 2**62, -(2**63)]))


@settings(max_examples=400, deadline=None)
@given(INTS, CASES)
def test_a_mask_is_what_each_item_by_itself_says(items: list[KnownItem], case: Case) -> None:
    text, naive = case
    filters = Filters(catalogue_of(items), AS_OF)
    expected = [naive(item) is True for item in items]
    assert filters.mask(text).tolist() == expected
    rows = np.array([*reversed(range(len(items))), -1])
    assert filters.passes(text, rows).tolist() == [*reversed(expected), False]


ITEMS = [
    KnownItem("a", "shoes", "clothes", 2, True, 9.5, date(2015, 7, 30)),
    KnownItem("b", None, None, None, False, None, None),
    KnownItem("c", "hats", "clothes", 1, True, 120.0, AS_OF),
]


def test_by_hand_on_string_ids() -> None:
    filters = Filters(catalogue_of(ITEMS), AS_OF)
    assert filters.mask('category == "shoes" and price < 100 and not root in ["x"]').tolist() == [True, False, False]
    assert filters.mask('item_id in ["b", "zz"] or age_days == 0').tolist() == [False, True, True]
    assert filters.mask("not price < 100").tolist() == [False, False, True], "without a price: neither true nor false"
    assert filters.mask("price is null").tolist() == [False, True, False]
    assert filters.mask("not available").tolist() == [False, True, False]


def test_masks_are_computed_once_and_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    filters = Filters(catalogue_of(ITEMS), AS_OF)
    first = filters.mask("price < 100")
    monkeypatch.setattr("recsys_api.expressions.parse", lambda *_: pytest.fail("parsed again"))
    assert filters.mask("price < 100") is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = False


def test_memory_that_grows_masks_are_bounded_by_bytes_and_the_least_used_go() -> None:
    filters = Filters(catalogue_of(ITEMS), AS_OF, most_bytes=3 * len(ITEMS))
    texts = [f"price < {n}" for n in range(3)]
    first, second, _ = (filters.mask(text) for text in texts)
    filters.mask(texts[0])
    for n in range(3, 5):
        filters.mask(f"price < {n}")
        assert sum(mask.nbytes for mask in filters._kept.values()) == filters._bytes <= 9  # pyright: ignore[reportPrivateUsage]
        assert filters.mask(texts[0]) is first
    assert filters.mask(texts[1]) is not second
    tiny = Filters(catalogue_of(ITEMS), AS_OF, most_bytes=0)
    assert tiny.mask("available") is tiny.mask("available"), "the newest is kept in any case"


def test_many_threads_get_the_same_answers() -> None:
    filters = Filters(catalogue_of(ITEMS), AS_OF, most_bytes=2 * len(ITEMS))
    wrong: list[str] = []

    def ask() -> None:
        for n in range(300):
            if filters.mask(f"price < {n % 7 * 20}").tolist() != [n % 7 > 0, False, n % 7 * 20 > 120]:
                wrong.append(f"{n}")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sum(mask.nbytes for mask in filters._kept.values()) == filters._bytes  # pyright: ignore[reportPrivateUsage]


def test_a_release_without_a_catalogue_refuses_filters_instead_of_leaving_everything_out() -> None:
    with pytest.raises(FilterError, match="this release has no catalogue"):
        Filters(Catalogue.absent("int64"), AS_OF).mask("available")
