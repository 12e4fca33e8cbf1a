"""A catalogue with changes answers as one that was written with them, whatever comes in which portions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_api.events.item_change import ItemChange, property_value
from recsys_api.expressions import Filters
from recsys_api.items.catalogue import ChangedCatalogue
from recsys_api.items.newest import ItemChanges
from recsys_assets.storage.catalogue import Catalogue, KnownItem
from recsys_assets_tests.api.catalogues import AS_OF, BRANDS, CATEGORIES, PRICES, catalogue_of, known_items

INTS, TEXTS = st.integers(-5, 5), st.sampled_from(["", "a", "b/ü", "10", "9", "�", "𝄞"])
FILTERS = [
    "available == true",
    "price < 50",
    "price is null",
    'category == "shoes"',
    'category != "shoes"',
    'category in ["hats", "new"]',
    "category is null",
    'root == "food"',
    "root is null",
    "depth >= 2",
    "age_days is null",
    'brand == "Ada"',
    'not brand in ["x", "new"]',
    "brand is null",
    'not (category == "hats" or price >= 1)',
]


def changes_of(ids: st.SearchStrategy[Any]) -> st.SearchStrategy[list[ItemChange]]:
    stated = st.one_of(
        st.tuples(st.just("available"), st.booleans()),
        st.tuples(st.just("price"), st.sampled_from([*PRICES, 7.5])),
        st.tuples(st.just("category"), st.sampled_from([*CATEGORIES, "new", "newer"])),
        st.tuples(st.just("brand"), st.sampled_from([*BRANDS, "new"])),
        st.tuples(st.just("title"), st.sampled_from(["a title", "another"])),
    )
    pairs = st.tuples(ids, stated)
    return st.lists(pairs.map(lambda pair: ItemChange(pair[0], pair[1][0], pair[1][1], 0)), max_size=12)


def expected(items: Sequence[KnownItem], changes: Sequence[ItemChange]) -> list[KnownItem]:
    """The items after the changes, one by one."""
    known = {item.item_id: item for item in items}
    for change in changes:
        item = known.get(change.item_id) or KnownItem(change.item_id, None, None, None, True, None, None)
        values: dict[str, Any] = {change.field: change.value}
        if change.field == "category":
            alike = next((one for one in items if one.category == change.value), None)
            values |= {"root": alike and alike.root, "depth": alike and alike.depth}
        known[change.item_id] = replace(item, **values)
    return list(known.values())


@pytest.mark.parametrize("ids", [INTS, TEXTS], ids=["int64", "string"])
@settings(deadline=None)
@given(data=st.data())
def test_a_changed_catalogue_is_one_that_was_written_with_the_changes(ids: Any, data: st.DataObject) -> None:
    items = data.draw(known_items(ids))
    base = catalogue_of(items) if items else Catalogue.absent("string" if ids is TEXTS else "int64")
    changes = data.draw(changes_of(ids))
    cut = data.draw(st.integers(0, len(changes)))
    before = {item.item_id: base.item(item.item_id) for item in items}
    at_once = ChangedCatalogue(base, changes)
    in_two = ChangedCatalogue(ChangedCatalogue(base, changes[:cut]), changes[cut:])
    known = {item.item_id: item for item in expected(items, changes)}
    asked: list[Any] = [*known, "unknown", 10**6, 2**70]
    for catalogue in (at_once, in_two):
        assert len(catalogue) == len(known)
        assert {item: catalogue.item(item) for item in asked} == {item: known.get(item) for item in asked}
        rows = catalogue.positions(asked)
        assert (rows >= 0).tolist() == [item in known for item in asked]
        assert [catalogue.id_at(row) for row in rows[rows >= 0].tolist()] == list(known)
        if catalogue.released:
            written = catalogue_of(sorted(known.values(), key=lambda item: item.item_id)) if known else base
            filters, alike = Filters(catalogue, AS_OF), Filters(written, AS_OF)
            for text in FILTERS:
                passing = {catalogue.id_at(row) for row in np.flatnonzero(filters.mask(text)).tolist()}
                assert passing == {written.id_at(row) for row in np.flatnonzero(alike.mask(text)).tolist()}, text
    # By id: an answer that is filled up from the catalogue is the same from each worker.
    assert [at_once.id_at(row) for row in range(len(at_once))] == [in_two.id_at(row) for row in range(len(in_two))]
    assert {item.item_id: base.item(item.item_id) for item in items} == before, "the one before is as it was"


def test_columns_without_a_change_are_shared() -> None:
    base = catalogue_of([KnownItem(n, "shoes", None, None, True, 1.0, None) for n in range(3)])
    changed = ChangedCatalogue(base, [ItemChange(1, "price", 2.0, 0)])
    assert changed.available is base.available
    assert changed.category.codes is base.category.codes
    assert changed.first_seen is base.first_seen


@given(changes=changes_of(INTS), data=st.data())
def test_the_newest_changes_count_however_often_they_arrive(changes: list[ItemChange], data: st.DataObject) -> None:
    arrived = list(enumerate((replace(change, ts=n) for n, change in enumerate(changes)), 1))
    latest, cursor = ItemChanges(), 0
    while cursor < len(arrived):
        start, stop = data.draw(st.integers(0, cursor)), data.draw(st.integers(cursor + 1, len(arrived)))
        news = latest.take(arrived[start:stop])
        assert news == [change for _, change in arrived[cursor:stop]]
        cursor = stop
    newest = {(change.item_id, change.field): change for _, change in arrived}
    kept = sorted(newest.values(), key=lambda change: change.ts)
    assert latest.all() == kept
    oldest, most = data.draw(st.integers(0, 12)), data.draw(st.integers(1, 12))
    left = [change for change in kept if change.ts >= oldest][-most:]
    assert latest.forget(oldest, most) == len(kept) - len(left)
    assert latest.all() == left


@given(price=st.floats(0, allow_nan=False, allow_infinity=False))
def test_prices_are_written_as_numbers_that_the_graph_reads(price: float) -> None:
    text = property_value(price)
    assert set(text) <= {*"0123456789."}
    assert float(text) == price
