"""A store of another layout is refused, with an error that says how to go on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys_assets.storage.layout import KEY, LAYOUT, LayoutError, check_layout
from recsys_assets.storage.objects import ObjectStore

MARKER = f'{{"layout":{LAYOUT}}}\n'.encode()
ASSET = "assets/candidates/dt=2015-06-01/data.parquet"


def test_an_empty_store_is_marked_and_accepted_from_then_on(store: ObjectStore) -> None:
    check_layout(store)
    assert store.get(KEY) == MARKER
    store.put(ASSET, b"rows")
    before = store.list()
    check_layout(store)
    assert store.list() == before


def test_a_store_without_assets_may_hold_erasures(store: ObjectStore) -> None:
    """So that erased persons stay erased when everything else of an old store is removed."""
    store.put("erasures/suppressed.json", b"{}")
    check_layout(store)
    assert store.get(KEY) == MARKER


def test_assets_without_a_marker_are_refused(store: ObjectStore) -> None:
    store.put(ASSET, b"rows")
    with pytest.raises(LayoutError, match="written by an earlier version") as error:
        check_layout(store)
    for part in (store.uri(), "layout 1", f"has {LAYOUT}", "Landing files are not", "RECSYS_STORAGE_URI", "make run"):
        assert part in str(error.value)
    assert [meta.key for meta in store.list()] == [ASSET]


def test_another_layout_is_refused(store: ObjectStore) -> None:
    store.put(KEY, f'{{"layout": {LAYOUT + 1}}}'.encode())
    with pytest.raises(LayoutError, match="written by a later version: it has layout "):
        check_layout(store)
    store.put(KEY, b'{"layout": 1}')
    with pytest.raises(LayoutError, match="written by an earlier version: it has layout 1"):
        check_layout(store)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"layout": "two"}'])
def test_a_damaged_marker_is_named(store: ObjectStore, data: bytes) -> None:
    store.put(KEY, data)
    with pytest.raises(LayoutError, match=r"layout\.json: expected"):
        check_layout(store)


def test_processes_that_begin_at_once_agree(store: ObjectStore) -> None:
    def begin(number: int) -> None:
        check_layout(store)
        store.put(f"assets/a{number}/dt=2015-06-01/data.parquet", b"rows")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(begin, range(8)))
    assert store.get(KEY) == MARKER
