"""Posting events over HTTP: forms, faults by field, idempotence, reading back, deleting, and a disk that is full."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_api.events.edge import NewEvent
from recsys_api.events.event import event_key, new_event_ids
from recsys_api.settings import Settings
from recsys_assets.storage.erasure_requests import read_request
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish

KEY = "a-write-key-0123456789"
CONTENT = Content({1: [2, 3]}, {2: [3]}, {"all": [2, 3]})
STRINGS = Content({"ann": ["x"]}, {}, {"all": ["x"]}, ids={"user": "string", "item": "string"})
VIEW = {"user_id": 1, "item_id": 2, "event_type": "view"}


@pytest.fixture
def client(make_settings: Callable[..., Settings], store_uri: str) -> Iterator[TestClient]:
    publish(store_uri, "2015-08-02", CONTENT)
    with client_of(make_settings(api_write_keys=KEY, api_max_events=50)) as client:
        client.headers["X-API-Key"] = KEY
        yield client


def posted(client: TestClient, body: Any, status: int = 200) -> dict[str, Any]:
    """The answer to a post, after holding it against the OpenAPI document."""
    document = client.get("/openapi.json").json()
    response = client.post("/events", json=body)
    assert response.status_code == status, response.text
    described = document["paths"]["/events"]["post"]["responses"][str(status)]["content"]
    schema = described[response.headers["Content-Type"]]["schema"]
    jsonschema.validate(response.json(), {**schema, "components": document["components"]})
    return response.json()


def user_events(client: TestClient, user: object, **params: int) -> list[dict[str, Any]]:
    response = client.get(f"/events/{user}", params=params)
    assert response.status_code == 200
    assert response.json()["user_id"] == user
    return response.json()["events"]


def test_one_many_and_lines_are_stored_and_read_back_newest_first(client: TestClient) -> None:
    start = datetime.now(UTC) - timedelta(hours=1)
    times = [(start + timedelta(seconds=n)).isoformat() for n in range(6)]
    assert posted(client, {**VIEW, "event_id": "e0", "ts": times[0]})["accepted"] == 1
    many = [{**VIEW, "event_id": f"e{n}", "ts": times[n]} for n in (3, 1, 2)]
    assert posted(client, many) == {"accepted": 3, "duplicates": 0, "event_ids": ["e3", "e1", "e2"]}
    lines = b"\n".join(json.dumps({**VIEW, "event_id": f"e{n}", "ts": times[n]}).encode() for n in (4, 5)) + b"\n\n"
    packed = {"Content-Type": "application/x-ndjson; charset=utf-8", "Content-Encoding": "gzip"}
    assert client.post("/events", content=gzip.compress(lines), headers=packed).json()["accepted"] == 2
    events = user_events(client, 1)
    assert [event["event_id"] for event in events] == ["e5", "e4", "e3", "e2", "e1", "e0"]
    assert datetime.fromisoformat(events[-1]["ts"]) == start
    assert [event["event_id"] for event in user_events(client, 1, limit=2)] == ["e5", "e4"]
    assert user_events(client, 404) == []


def test_every_field_comes_back_and_the_time_is_now_where_it_is_absent(client: TestClient) -> None:
    texts = ("session_id", "recommendation_id", "release_id", "placement", "source", "order_id")
    full = {**VIEW, **{name: f"{name} ü→" for name in texts}, "position": 3, "quantity": 1.5, "price": 0}
    (made,) = posted(client, full)["event_ids"]
    ((event),) = user_events(client, 1)
    assert abs(datetime.fromisoformat(event.pop("ts")) - datetime.now(UTC)) < timedelta(minutes=1)
    assert event == {**full, "event_id": made}


def test_a_repeated_request_changes_nothing(client: TestClient) -> None:
    events = [{**VIEW, "event_id": f"e{n}"} for n in range(3)]
    assert posted(client, events[:2])["accepted"] == 2
    again = posted(client, [*events, events[2]])
    assert (again["accepted"], again["duplicates"]) == (1, 3)
    assert len(user_events(client, 1)) == 3
    assert posted(client, [VIEW, VIEW])["accepted"] == 2, "without ids, they are two"


FAR, OLD = "9999-01-01T00:00:00Z", "2015-01-01T00:00:00Z"
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "another id type": ({"user_id": "1"}, "user_id"),
    "a float": ({"item_id": 1.0}, "item_id"),
    "a boolean": ({"item_id": True}, "item_id"),
    "beyond int64": ({"user_id": 2**63}, "user_id"),
    "null": ({"user_id": None}, "user_id"),
    "an unknown type": ({"event_type": "View!"}, "event_type"),
    "no offset": ({"ts": "2026-01-01T00:00:00"}, "ts"),
    "a number as time": ({"ts": 1_767_225_600}, "ts"),
    "the future": ({"ts": FAR}, "ts"),
    "too old": ({"ts": OLD}, "ts"),
    "an empty id": ({"event_id": ""}, "event_id"),
    "a long id": ({"event_id": "x" * 129}, "event_id"),
    "control characters": ({"session_id": "a\x00b"}, "session_id"),
    "blanks around": ({"placement": " home"}, "placement"),
    "place 0": ({"position": 0}, "position"),
    "a negative price": ({"price": -1}, "price"),
    "an unknown field": ({"colour": "red"}, "colour"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_bad_event_is_named_by_index_and_field_and_nothing_is_stored(client: TestClient, misfit: str) -> None:
    change, field = MISFITS[misfit]
    assert [fault["field"] for fault in posted(client, {**VIEW, **change}, 422)["errors"]] == [field]
    faults = posted(client, [VIEW, {**VIEW, **change}, VIEW], 422)["errors"]
    assert [(fault["index"], fault["field"]) for fault in faults] == [(1, field)]
    lines = "\n".join(json.dumps(event) for event in (VIEW, VIEW, {**VIEW, **change}))
    response = client.post("/events", content=lines, headers={"Content-Type": "application/x-ndjson"})
    assert [(fault["index"], fault["field"]) for fault in response.json()["errors"]] == [(2, field)]
    assert user_events(client, 1) == []


def test_bodies_that_are_no_events_are_refused(client: TestClient) -> None:
    for body in ([], [VIEW] * 51, 5, "text", [None], [[VIEW]], {}):
        assert posted(client, body, 422)["errors"]
    for raw in (
        b"",
        b"null",
        b"{",
        b"\xff",
        b'{"user_id": "\\ud800", "item_id": 1, "event_type": "view"}',
        b"[" * 100_000,
    ):
        assert client.post("/events", content=raw, headers={"Content-Type": "application/json"}).status_code == 422
    form = client.post("/events", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (form.status_code, form.headers["Accept"]) == (415, "application/json")
    assert client.post("/events", json=[VIEW] * 50).json()["accepted"] == 50


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.datetimes().map(str)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
ALTERED = st.dictionaries(st.sampled_from([*NewEvent.model_fields, "other"]), VALUES, max_size=3)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.lists(ALTERED.map(lambda change: {**VIEW, **change}), max_size=3) | VALUES, form=st.booleans())
def test_whatever_is_posted_is_stored_or_refused_by_name(client: TestClient, body: Any, *, form: bool) -> None:
    media_type = "application/json" if form else "application/x-ndjson"
    response = client.post("/events", content=json.dumps(body).encode(), headers={"Content-Type": media_type})
    assert response.status_code in (200, 422), response.text
    assert response.json()["event_ids" if response.status_code == 200 else "errors"]
    stored = client.get("/events/1?limit=1000")
    assert stored.status_code == 200, "and can be read again"


def test_types_are_those_that_the_release_states(make_settings: Callable[..., Settings], store_uri: str) -> None:
    types = {"view": {"weight": 1.0, "target": False}, "Add to cart": {"weight": 5.0, "target": True}}
    publish(store_uri, "2015-08-02", CONTENT, event_types=types)
    with client_of(make_settings(api_open_writes=True)) as client:
        for known in (*types, "impression", "dislike"):
            assert posted(client, {**VIEW, "event_type": known})["accepted"] == 1
        (fault,) = posted(client, {**VIEW, "event_type": "buy"}, 422)["errors"]
        assert (fault["field"], "Add to cart, dislike, impression, view" in fault["message"]) == ("event_type", True)


def test_string_ids_of_any_script(make_settings: Callable[..., Settings], store_uri: str) -> None:
    publish(store_uri, "2015-08-02", STRINGS)
    with client_of(make_settings(api_open_writes=True)) as client:
        assert posted(client, {"user_id": "a/b ü→", "item_id": "1", "event_type": "view"})["accepted"] == 1
        assert len(client.get("/events/a%2Fb%20%C3%BC%E2%86%92").json()["events"]) == 1
        for field in ("user_id", "item_id"):
            (fault,) = posted(client, {"user_id": "a", "item_id": "b", "event_type": "view", field: 1}, 422)["errors"]
            assert fault["field"] == field


def test_deleting_forgets_a_user_and_asks_the_graph_to_erase(client: TestClient, store_uri: str) -> None:
    posted(client, [VIEW, VIEW, {**VIEW, "user_id": 7}])
    answer = client.delete("/users/1").json()
    assert (answer["user_id"], answer["deleted_events"]) == (1, 2)
    request = read_request(open_store(store_uri), answer["erasure_request"])
    assert request is not None
    assert request.user_id == 1
    assert datetime.fromisoformat(request.requested_at).tzinfo is not None
    assert (user_events(client, 1), len(user_events(client, 7))) == ([], 1)
    posted(client, VIEW)
    assert len(user_events(client, 1)) == 1, "a new beginning"
    assert client.delete("/users/1").json()["erasure_request"] == answer["erasure_request"]
    assert client.delete("/users/x").status_code == 422


def test_reading_and_writing_need_a_key_and_a_release(
    client: TestClient, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    for method, path in (("POST", "/events"), ("GET", "/events/1"), ("DELETE", "/users/1")):
        assert client.request(method, path, headers={"X-API-Key": "wrong"}).status_code == 401
    empty = (tmp_path / "empty").as_uri()
    with client_of(make_settings(storage_uri=empty, api_open_writes=True), wait_ready=False) as unready:
        for method, path in (("POST", "/events"), ("GET", "/events/1"), ("DELETE", "/users/1")):
            assert unready.request(method, path, json=VIEW).status_code == 503


def test_a_full_disk_is_a_507_and_everything_else_is_served(client: TestClient) -> None:
    posted(client, {**VIEW, "event_id": "before"})
    store: Any = cast(FastAPI, client.app).state.events

    def no_more_pages(connection: sqlite3.Connection) -> None:
        connection.execute("pragma max_page_count = 1")  # SQLite takes the present count where that is more

    client.portal.call(store._writer.run, no_more_pages)  # pyright: ignore[reportOptionalMemberAccess]
    bulky = [{**VIEW, "session_id": "x" * 256} for _ in range(50)]
    assert "full" in posted(client, bulky, 507)["detail"]
    assert [event["event_id"] for event in user_events(client, 1)] == ["before"]
    assert client.get("/recommendations/1").status_code == 200


def test_without_a_place_for_events_the_rest_is_served_and_the_setting_is_named(
    make_settings: Callable[..., Settings], store_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store_uri, "2015-08-02", CONTENT)
    broken = tmp_path / "broken"
    broken.write_text("no folder")
    with client_of(make_settings(api_open_writes=True, events_url=f"sqlite:///{broken}/events.sqlite")) as client:
        detail = posted(client, VIEW, 503)["detail"]
        assert "the event store: " in detail
        assert str(tmp_path) not in detail
        assert str(broken) in caplog.text, "the place is told in the log"
        assert client.get("/recommendations/1").status_code == 200
        broken.unlink()
        eventually(lambda: client.post("/events", json=VIEW).status_code == 200)
    on_s3 = make_settings(storage_uri="s3://bucket/x", api_open_writes=True)
    with client_of(on_s3, wait_ready=False) as client:
        assert "RECSYS_EVENTS_URL" in posted(client, VIEW, 503)["detail"]


def test_posted_events_become_files_of_the_landing_zone(
    make_settings: Callable[..., Settings], store_uri: str, tmp_path: Path
) -> None:
    publish(store_uri, "2015-08-02", CONTENT)
    with client_of(make_settings(api_open_writes=True, api_export_seconds=0.1)) as client:
        posted(client, [VIEW, {**VIEW, "event_type": "impression"}])
        eventually(lambda: len(list((tmp_path / "landing" / "served").glob("*-000000000001-*.jsonl.gz"))) == 2)


def test_made_ids_ascend_and_keep_their_bits() -> None:
    ids = [*new_event_ids(1000), *new_event_ids(10)]
    assert len(set(ids)) == len(ids)
    assert ids[:1000] == sorted(ids[:1000])
    keys = [event_key(event_id) for event_id in ids]
    assert {len(key) for key in keys} == {16}
    assert keys[:1000] == sorted(keys[:1000]), "so that they enter an index at its end"
    assert (
        len({event_key(name) for name in ("a", "A", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav")}) == 4
    )


def test_the_document_describes_an_event_field_by_field(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    content = document["paths"]["/events"]["post"]["requestBody"]["content"]
    assert content.keys() == {"application/json", "application/x-ndjson"}
    one = content["application/json"]["schema"]["anyOf"][0]
    assert one["properties"].keys() == NewEvent.model_fields.keys()
    assert one["required"] == ["user_id", "item_id", "event_type"]
