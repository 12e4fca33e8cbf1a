"""``PUT /items``: forms, faults by field, and a catalogue that every answer knows at once and after each reload."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from recsys_api.reloader import Reloader
from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.api.test_answers import CONTENT, DAY, FACTS, ITEMS, act, ask, items
from recsys_assets_tests.api.test_metrics import by, samples

KEY = "a-write-key-0123456789"
NEVER_ENDS = "2100-01-01T00:00:00+00:00"
PINNED = """
[[rules]]
name = "the bargain"
action = "pin"
items = [48, 777]
position = 1
"""


@pytest.fixture
def client(make_settings: Callable[..., Settings], store_uri: str) -> Iterator[TestClient]:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings(api_write_keys=KEY, api_max_events=50)) as client:
        client.headers["X-API-Key"] = KEY
        yield client


def put(client: TestClient, body: Any, item: object = None, status: int = 200) -> dict[str, Any]:
    """The answer to a request, after holding it against the OpenAPI document."""
    document = client.get("/openapi.json").json()
    response = client.put("/items" if item is None else f"/items/{item}", json=body)
    assert response.status_code == status, response.text
    route = document["paths"]["/items" if item is None else "/items/{item_id}"]["put"]
    schema = route["responses"][str(status)]["content"][response.headers["Content-Type"]]["schema"]
    jsonschema.validate(response.json(), {**schema, "components": document["components"]})
    return response.json()


def known(client: TestClient, item: object) -> dict[str, Any]:
    return client.get(f"/items/{item}").json()


def test_one_many_and_lines_change_what_is_known_at_once(client: TestClient) -> None:
    assert known(client, 5)["changed"] == {}
    answer = put(client, {"price": 1.5, "available": False}, 5)
    assert (answer["items"], answer["changes"]) == (1, 2)
    assert datetime.now(UTC) - datetime.fromisoformat(answer["ts"]) < timedelta(minutes=1)
    body = known(client, 5)
    assert (body["price"], body["available"], body["category"]) == (1.5, False, "hats")
    assert body["changed"] == dict.fromkeys(("available", "price"), answer["ts"])
    many = [{"item_id": 5, "price": 2}, {"item_id": 6, "category": "shoes"}, {"item_id": 5, "price": 3}]
    answer = put(client, many)
    assert (answer["items"], answer["changes"]) == (2, 3)
    assert known(client, 5)["price"] == 3, "of an item that comes twice, the last counts"
    lines = b"\n".join(json.dumps({"item_id": n, "price": n}).encode() for n in (8, 9)) + b"\n\n"
    packed = {"Content-Type": "application/x-ndjson; charset=utf-8", "Content-Encoding": "gzip"}
    assert client.put("/items", content=gzip.compress(lines), headers=packed).json()["items"] == 2
    assert known(client, 9)["price"] == 9
    body = known(client, 6)
    assert (body["category"], body["root"], body["depth"]) == ("shoes", "clothes", 2), (
        "the root is that of the category"
    )
    changes = by(samples(client.get("/metrics").text), "recsys_item_changes_total", "field")
    assert changes == {("price",): 5, ("available",): 1, ("category",): 1}


MISFITS: dict[str, tuple[Any, str]] = {
    "a text as price": ({"price": "1"}, "price"),
    "a negative price": ({"price": -0.01}, "price"),
    "null": ({"price": None}, "price"),
    "a number as flag": ({"available": 1}, "available"),
    "an empty category": ({"category": ""}, "category"),
    "control characters": ({"category": "a\x00b"}, "category"),
    "an unknown field": ({"price": 1, "colour": "red"}, "colour"),
    "nothing": ({}, "body"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_bad_item_is_named_by_index_and_field_and_nothing_is_changed(client: TestClient, misfit: str) -> None:
    fields, field = MISFITS[misfit]
    assert [fault["field"] for fault in put(client, fields, 5, 422)["errors"]] == [field]
    good = {"item_id": 4, "price": 0.5}
    faults = put(client, [good, {"item_id": 5, **fields}, good], status=422)["errors"]
    assert [(fault["field"], fault["index"]) for fault in faults] == [(field, 1)]
    assert known(client, 4)["changed"] == known(client, 5)["changed"] == {}


def test_bodies_and_ids_that_cannot_be_used_are_refused(client: TestClient) -> None:
    good = {"price": 1}
    assert put(client, good, "x", 422)["errors"][0]["field"] == "item_id"
    assert put(client, [{"item_id": "5", **good}], status=422)["errors"][0]["field"] == "item_id"
    assert put(client, [good], status=422)["errors"][0]["field"] == "item_id"
    for body in ([], [{"item_id": 1, **good}] * 51):
        assert put(client, body, status=422)["errors"][0]["field"] == "body"
    assert put(client, [good], 5, 422)["errors"][0]["field"] == "body"
    assert client.put("/items/5", content=b"{", headers={"Content-Type": "application/json"}).status_code == 422
    assert client.put("/items/5", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    lines = {"Content-Type": "application/x-ndjson"}
    assert client.put("/items/5", content=b"{}", headers=lines).status_code == 415
    assert client.put("/items/5", json=good, headers={"X-API-Key": "another-key-0123456789"}).status_code == 401
    assert client.put("/items", json=good, headers={"X-API-Key": "another-key-0123456789"}).status_code == 401
    assert known(client, 5)["changed"] == {}


def test_string_ids_are_those_that_the_graph_can_read(make_settings: Callable[..., Settings], store_uri: str) -> None:
    content = Content({"ann": ["a/ü", "c"]}, {}, {"all": ["a/ü", "b"]}, ids={"user": "string", "item": "string"})
    publish(store_uri, DAY, content)
    with client_of(make_settings(api_open_writes=True)) as client:
        put(client, {"available": False}, "a%2F%C3%BC")
        assert items(client.get("/popular").json()) == ["b"], "a release without a catalogue leaves it out too"
        assert known(client, "a%2F%C3%BC")["available"] is False
        assert items(client.get("/recommendations/ann?k=1").json()) == ["c"]
        assert put(client, {"price": 1}, "%20a", 422)["errors"][0]["field"] == "item_id"


def everywhere(client: TestClient) -> dict[str, list[int]]:
    """Items by each way on which they are shown. Somebody clicked on 21 and 22, whom the models follow."""
    session = {"seen": [21, 22], "k": 20}
    cheap = {"mode": "offline", "k": 40}
    return {
        "offline": items(ask(client, 1, mode="offline", k=5)),
        "filtered": items(ask(client, 1, filter='category == "shoes"', **cheap)),
        "online": items(client.post("/sessions/recommendations", json={**session, "mode": "online"}).json()),
        "blend": items(ask(client, 1, k=20)),
        "cold": items(ask(client, 404, k=15)),
        "popular": items(client.get("/popular?k=20").json()),
        "category": items(client.get("/popular?category=hats").json()),
        "similar": items(client.get("/similar/20?k=3").json()),
        "similar to several": items(client.post("/similar", json={"items": [20, 58], "k": 6}).json()),
        "placement": items(ask(client, 2, placement="mixed", k=20)),
    }


def test_unavailable_items_that_show(client: TestClient) -> None:
    """An item that was made unavailable is shown nowhere, and is shown again once it is available again."""
    for item in (21, 22):
        act(client, 1, item)
    before = everywhere(client)
    for way, shown in before.items():
        gone = shown[0]
        put(client, {"available": False}, gone)
        without = everywhere(client)
        assert [name for name, some in without.items() if gone in some] == [], way
        assert without[way][:1] != []
        put(client, {"available": True}, gone)
        assert everywhere(client) == before
    put(client, [{"item_id": item, "available": False} for item in range(30, 45)])
    assert items(client.get("/popular?k=3").json()) == [45, 46, 47], "the list goes on"
    assert items(ask(client, 1, mode="offline", k=3)) == [5, 6, 7]
    # What is reranked is the caller's list, whatever is available.
    assert items(client.post("/rerank", json={"items": [30, 50]}).json()) == [30, 50]


def test_an_item_that_the_release_has_as_unavailable_comes_back_by_what_happens_now(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    """No list of last night has it: models and visitors bring it. The same holds for an item that is new."""
    publish(store_uri, DAY, CONTENT, **FACTS, trending_half_life_days=0.25)
    with client_of(make_settings(api_open_writes=True)) as client:
        act(client, 1, 38)
        ways: dict[str, Callable[[], list[int]]] = {
            "similar": lambda: items(client.get("/similar/58?k=3").json()),
            "session": lambda: items(ask(client, 1, mode="online", k=3)),
            "filter": lambda: items(ask(client, 404, filter="price == 39")),
            "stranger": lambda: items(ask(client, 404, k=1)),
        }
        assert [way for way, shown in ways.items() if 39 in shown()] == []
        put(client, [{"item_id": 39, "available": True}, {"item_id": 777, "price": 1}])
        assert [way for way, shown in ways.items() if 39 in shown()] == ["similar", "session", "filter"]
        for item in (39, 39, 777):
            for user in (901, 902, 903):
                act(client, user, item)
        eventually(lambda: items(ask(client, 404, k=2)) == [39, 777])


def test_what_trends_and_is_not_available_is_not_shown(make_settings: Callable[..., Settings], store_uri: str) -> None:
    content = replace(CONTENT, top_popular={"all": [1, 2, 3], "trending": [7, 8, 9]}, fallback="trending")
    publish(store_uri, DAY, content, **FACTS)
    with client_of(make_settings(api_open_writes=True)) as client:

        def first() -> int:
            return items(ask(client, 404, k=1))[0]

        for item in (39, 38):  # the release has 39 as unavailable
            for user in (901, 902, 903):
                act(client, user, item)
        eventually(lambda: first() == 38)
        assert 39 not in items(ask(client, 404, k=10))
        put(client, {"available": False}, 38)
        assert first() == 7
        put(client, [{"item_id": item, "available": True} for item in (38, 39)])
        assert first() == 38
        eventually(lambda: 39 in items(ask(client, 404, k=2)))


def test_filters_boosts_and_rules_see_changes(client: TestClient) -> None:
    cheap = items(ask(client, 1, filter="price < 1", k=5))
    put(client, [{"item_id": 9, "price": 0.25}, {"item_id": 0, "price": 80}])
    assert cheap == [0]
    assert items(ask(client, 1, filter="price < 1", k=5)) == [9]
    put(client, {"category": "sandals"}, 8)
    assert items(ask(client, 1, filter='category == "sandals"')) == [8]
    boosted = client.post(
        "/recommendations",
        json={
            "users": [{"user_id": 1}],
            "boost": [{"filter": 'category == "sandals"', "factor": 9}],
            "mode": "offline",
        },
    )
    assert items(boosted.json()["answers"][0])[0] == 8


def test_brand_and_title(make_settings: Callable[..., Settings], store_uri: str) -> None:
    branded = [replace(item, brand="xy"[int(item.item_id) % 2], title=f"No. {item.item_id}") for item in ITEMS]
    publish(store_uri, DAY, replace(CONTENT, items=branded), **FACTS)
    example = 'category == "shoes" and price < 100 and not brand in ["x"]'
    with client_of(make_settings(api_open_writes=True)) as client:
        assert {item % 2 for item in items(ask(client, 404, filter=example, k=20))} == {1}
        assert (known(client, 30)["brand"], known(client, 30)["title"]) == ("x", "No. 30")
        put(client, [{"item_id": 30, "brand": "z", "title": "Now a z"}, {"item_id": 777, "title": "New"}])
        assert items(ask(client, 404, filter='brand == "z"')) == [30]
        assert [item for item in items(ask(client, 404, filter=example, k=20)) if item % 2 == 0] == [30]
        assert (known(client, 30)["brand"], known(client, 30)["title"]) == ("z", "Now a z")
        assert (known(client, 777)["brand"], known(client, 777)["title"]) == (None, "New")
        assert put(client, {"title": "t" * 1025}, 30, 422)["errors"][0]["field"] == "title"


def test_a_new_item_is_known_passes_filters_and_can_be_pinned(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, replace(CONTENT, placements=PINNED), **FACTS)
    with client_of(make_settings(api_open_writes=True)) as client:
        assert items(ask(client, 1, k=3))[0] == 48
        assert known(client, 777)["known"] is False
        put(client, {"category": "hats", "price": 4000}, 777)
        body = known(client, 777)
        assert (body["known"], body["available"], body["root"], body["first_seen"]) == (True, True, "clothes", None)
        assert items(ask(client, 1, filter="price > 3000")) == [777]
        put(client, {"available": False}, 48)
        assert items(ask(client, 1, k=3))[0] == 777
        put(client, {"available": False}, 777)
        assert not {48, 777} & {*items(ask(client, 1, k=60))}


def test_a_data_set_that_shows_what_is_not_available_goes_on_to(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, CONTENT, **{**FACTS, "rules": {"exclude_unavailable": False}})
    with client_of(make_settings(api_open_writes=True)) as client:
        before = everywhere(client)["popular"]
        put(client, {"available": False}, before[0])
        assert everywhere(client)["popular"] == before
        assert known(client, before[0])["available"] is False
        assert before[0] not in items(ask(client, 404, filter="available == true", k=20))


def test_a_reload_keeps_what_is_newer_than_the_release_and_forgets_the_rest(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    first = publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings(api_open_writes=True)) as client:

        def serves(release: str) -> bool:
            return client.get("/release").json()["release_id"] == release

        put(client, [{"item_id": 5, "available": False, "price": 1.5}, {"item_id": 777, "price": 2}])
        second = publish(store_uri, "2015-08-03", CONTENT, **{**FACTS, "as_of_end": "2015-08-04T00:00:00+00:00"})
        eventually(lambda: serves(second))
        assert (known(client, 5)["price"], known(client, 777)["price"]) == (1.5, 2)
        assert 5 not in items(ask(client, 1, mode="offline"))
        last = publish(store_uri, "2015-08-04", CONTENT, **{**FACTS, "as_of_end": NEVER_ENDS})
        eventually(lambda: serves(last))
        assert (known(client, 5)["price"], known(client, 5)["changed"], known(client, 777)["known"]) == (5, {}, False)
        assert 5 in items(ask(client, 1, mode="offline"))
        put(client, {"price": 3}, 5)
        assert known(client, 5)["price"] == 5, "the release says that it knows this moment"
    assert first != second


def test_changes_outlive_the_process_and_are_known_before_the_first_answer(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings(api_open_writes=True)) as client:
        put(client, [{"item_id": item, "available": False} for item in range(30, 39)])
    with client_of(make_settings(api_open_writes=True)) as client:
        assert items(client.get("/popular?k=2").json()) == [40, 41]


def test_memory_that_grows(client: TestClient) -> None:
    """Changes beyond the limits are forgotten, and what is served is the release with those that are left."""
    put(client, [{"item_id": item, "price": 0.5, "available": False} for item in (30, 31, 777)])
    put(client, {"price": 0.25}, 40)
    reloader: Reloader = cast(FastAPI, client.app).state.reloader
    assert reloader.forget_items(0, 3) == 4
    assert (known(client, 30)["changed"], known(client, 30)["price"]) == ({}, 30)
    assert items(client.get("/popular?k=3").json()) == [30, 31, 32]
    assert (known(client, 777)["available"], known(client, 40)["price"]) == (False, 0.25)
    assert reloader.forget_items(2**62, 3) == 3
    assert (known(client, 777)["known"], known(client, 40)["price"]) == (False, 40)
    put(client, {"price": 7}, 40)
    assert known(client, 40)["price"] == 7


def test_changes_become_files_of_the_landing_zone(
    make_settings: Callable[..., Settings], store_uri: str, tmp_path: Path
) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings(api_open_writes=True, api_export_seconds=0.1)) as client:
        put(client, [{"item_id": 5, "price": 1.5, "available": False}])
        eventually(lambda: len(list((tmp_path / "landing" / "served").glob("items-*.jsonl.gz"))) == 1)
    (file,) = (tmp_path / "landing" / "served").iterdir()
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert [(row["item_id"], row["property"], row["value"]) for row in rows] == [
        (5, "available", "0"),
        (5, "price", "1.5"),
    ]
