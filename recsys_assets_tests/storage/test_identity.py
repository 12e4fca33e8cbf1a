"""A store is of one data set and of one type of ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.storage.identity import KEY, Identity, IdentityError, check_identity
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.releases import Releases

BOOKS = Identity("books", "int64", "string")


def test_another_data_set_is_refused_and_the_setting_is_named(store: ObjectStore) -> None:
    check_identity(store, BOOKS)
    check_identity(store, BOOKS)
    with pytest.raises(IdentityError, match=r"holds the data set 'books', .* 'shoes': set RECSYS_STORAGE_URI"):
        check_identity(store, Identity("shoes", "int64", "string"))
    assert Identity.from_json(store.get(KEY)) == BOOKS


@pytest.mark.parametrize("other", [Identity("books", "string", "string"), Identity("books", "int64", "int64")])
def test_other_types_of_ids_are_refused_and_say_what_to_do(store: ObjectStore, other: Identity) -> None:
    check_identity(store, BOOKS)
    with pytest.raises(IdentityError) as refused:
        check_identity(store, other)
    for part in ("user = 'int64'", f"user = '{other.user}'", f"item = '{other.item}'", "new store", "rebuilds"):
        assert part in str(refused.value)


def test_a_store_from_before_is_asked_for_the_data_set_that_it_serves(store: ObjectStore, tmp_path: Path) -> None:
    file = tmp_path / "lists"
    file.write_text("lists")
    facts = {"dataset": "books", "ids": {"user": "int64", "item": "string"}}
    Releases(store).publish("2025-01-01", {"lists": file}, facts)
    with pytest.raises(IdentityError, match="'books'"):
        check_identity(store, Identity("shoes", "int64", "string"))
    assert not store.exists(KEY)
    check_identity(store, BOOKS)
    assert store.exists(KEY)


def test_a_damaged_statement_is_named(store: ObjectStore) -> None:
    store.put(KEY, b'{"name": "books"}')
    with pytest.raises(IdentityError, match=r"dataset\.json: expected name, user and item"):
        check_identity(store, BOOKS)
