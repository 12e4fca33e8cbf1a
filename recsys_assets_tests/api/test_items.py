"""``GET /items``: what the release knows of an item; an unknown one, or no catalogue at all, is an answer too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date
from urllib.parse import quote

import pytest

from recsys_api.settings import Settings
from recsys_assets.storage.catalogue import KnownItem
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.api.test_routes import conforms

DAY = "2015-08-02"
FIELDS = ("category", "root", "depth", "available", "price", "brand", "title", "first_seen", "age_days")
NOTHING = dict.fromkeys(FIELDS)
SHOE = {
    "category": "shoes",
    "root": "clothes",
    "depth": 2,
    "available": False,
    "price": 9.5,
    "brand": "Ada",
    "title": "A shoe",
}


Id = int | str


@pytest.mark.parametrize(("ids", "known", "bare", "other"), [("int64", 0, 7, 8), ("string", "a/ü", "b", "c")])
def test_what_is_known_of_an_item_is_said_and_an_unknown_one_is_no_error(
    make_settings: Callable[..., Settings],
    store_uri: str,
    ids: str,
    known: int | str,
    bare: int | str,
    other: int | str,
) -> None:
    items = [
        KnownItem(known, "shoes", "clothes", 2, False, 9.5, date(2015, 7, 30), "Ada", "A shoe"),
        KnownItem(bare, None, None, None, True, None, None),
    ]
    content = Content({}, top_popular={"all": [known, bare]}, ids={"user": ids, "item": ids}, items=items)
    release_id = publish(store_uri, DAY, content)
    with client_of(make_settings()) as client:

        def ask(item: Id) -> dict[str, object]:
            return conforms(client, "/items/{item_id}", f"/items/{quote(str(item), safe='')}")

        base = {"release_id": release_id, "as_of": DAY, "has_catalogue": True, "changed": {}}
        assert ask(known) == {
            **base, **SHOE, "item_id": known, "known": True, "first_seen": "2015-07-30", "age_days": 3,
        }  # fmt: skip
        assert ask(bare) == {**base, **NOTHING, "item_id": bare, "known": True, "available": True}
        assert ask(other) == {**base, **NOTHING, "item_id": other, "known": False}
        if ids == "int64":
            assert client.get("/items/x").json()["errors"][0]["field"] == "item_id"


def test_a_release_without_a_catalogue_is_served_and_says_so(
    make_settings: Callable[..., Settings], store_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    release_id = publish(store_uri, DAY, Content({1: [5]}, top_popular={"all": [5]}))
    with caplog.at_level(logging.INFO, "uvicorn.recsys"), client_of(make_settings()) as client:
        body = conforms(client, "/items/{item_id}", "/items/5")
        assert (body["known"], body["has_catalogue"]) == (False, False)
        assert client.get("/recommendations/1?k=1").json()["items"][0]["item_id"] == 5
    assert f"{release_id} as of {DAY}, which has no catalogue: no item of it is known" in caplog.text


def test_a_catalogue_of_another_id_type_is_refused(make_settings: Callable[..., Settings], store_uri: str) -> None:
    items = [KnownItem("5", None, None, None, True, None, None)]
    publish(store_uri, DAY, Content({}, top_popular={"all": [5]}, items=items))
    with client_of(make_settings(), wait_ready=False) as client:
        eventually(lambda: "catalogue" in client.get("/health/ready").json()["problem"])
        body = client.get("/health/ready").json()
    assert not body["ready"]
    assert "catalogue: by the manifest ids must be int64, found string" in body["problem"]
