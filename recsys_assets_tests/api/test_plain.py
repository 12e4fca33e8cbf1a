"""The plain routes answer as FastAPI's, which are in the OpenAPI document, and only what they can."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fastapi.testclient import TestClient

from recsys_api.events.store import StoreBusyError, StoreFullError
from recsys_api.routes.plain import PlainRoutes
from recsys_api.settings import Settings
from recsys_assets.storage.catalogue import KnownItem
from recsys_assets_tests.api.conftest import client_of
from recsys_assets_tests.api.publishing import Content, publish

CONTENT = Content(
    recommendations={0: [10, 11, 12], 7: [5, 3], 8: list(range(1000, 1100)), 9: [5, 3, 10, 11]},
    top_popular={"all": [5, 3, 10, 2, 1], "category:a/b": [3, 2]},
    user_histories={7: [5], 9: [3, 11]},
    purchased={9: [3]},
    items=[KnownItem(item, "a/b", "a", 1, True, float(item), None) for item in (1, 2, 3, 5, 10, 11)],
    sessions=[[1, 2, 3], [2, 3, 5]],
)
FACTS = {
    "event_types": {"view": {"weight": 1.0, "target": False}, "purchase": {"weight": 5.0, "target": True}},
    "rules": {"repeats": True, "exclude_purchased": True},
}
GOOD = [
    "7", "8?k=100", "7?k=1&offset=1", "-9?k=3", "7?mode=online", "7?mode=blend&explain=true", "7?exclude_seen=true&k=5",
    "7?exclude=5&exclude=3&k=4", "7?category=a%2Fb&k=2", "7?filter=price+%3C+4&k=9", "0?filter=item_id%20%21%3D%2010",
    "8?offset=100&k=100", "9", "%39?k=2", "6?k=4", "6?mode=online&explain=true",
]  # fmt: skip
LEFT_TO_FASTAPI = [
    "x", "7?k=0", "7?k=101", "7?k=+5", "7?k=05", "7?k=5.0", "7?k=", "7?k=1&k=2", "7?offset=-1", "7?offset=201",
    "8?offset=150&k=100", "7?mode=", "7?mode=other", "7?placement=nowhere", "7?placement=", "7?category=", "7?filter=",
    "7?filter=price+%3C", f"7?category={'x' * 2001}", "7?exclude=x", "7?exclude=", "7?exclude_seen=maybe",
    "7?explain=1", "7?explain=TRUE", "7?unknown=1", "7?k=%FF", "7?filter=%FF", "99999999999999999999", "7/8",
    "7?" + "exclude=1&" * 1001,
]  # fmt: skip
KEY = "a-write-key-0123456789"
BEARER = {"Authorization": f"bearer  {KEY}"}
VIEW = {"user_id": 6, "item_id": 2, "event_type": "view", "event_id": "one"}
JSON = {"Content-Type": "application/json"}
GOOD_POSTS: list[tuple[dict[str, str], bytes]] = [
    ({**JSON, **BEARER}, json.dumps(VIEW).encode()),
    ({**JSON, "X-API-Key": KEY}, json.dumps([VIEW, {**VIEW, "event_id": "two"}]).encode()),
    ({**JSON, **BEARER, "X-Request-ID": "mine"}, json.dumps(VIEW).encode()),
    ({**JSON, **BEARER}, b"{"),
    ({**JSON, **BEARER}, b""),
    ({**JSON, **BEARER}, b"[]"),
    ({**JSON, **BEARER}, json.dumps({**VIEW, "user_id": "x"}).encode()),
    ({**JSON, **BEARER}, json.dumps([VIEW, {**VIEW, "event_type": "other"}, {"price": -1}]).encode()),
    ({**JSON, **BEARER, "X-Request-ID": "mine"}, json.dumps({**VIEW, "price": -1}).encode()),
]
LEFT_POSTS: list[tuple[dict[str, str], bytes]] = [
    (JSON, json.dumps(VIEW).encode()),
    ({**JSON, "X-API-Key": "not-a-key-0123456789"}, json.dumps(VIEW).encode()),
    ({**JSON, **BEARER, "Content-Encoding": "gzip"}, b"no gzip"),
    ({**JSON, **BEARER}, b" " * 2000),
    ({"Content-Type": "application/json; charset=utf-8", **BEARER}, json.dumps(VIEW).encode()),
    ({"Content-Type": "application/x-ndjson", **BEARER}, json.dumps(VIEW).encode()),
    ({"Content-Type": "text/plain", **BEARER}, json.dumps(VIEW).encode()),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root: Path = tmp_path_factory.mktemp("plain")
    publish((root / "store").as_uri(), "2015-08-02", CONTENT, **FACTS)
    values: dict[str, Any] = {
        "storage_uri": (root / "store").as_uri(),
        "api_write_keys": KEY,
        "api_max_body_bytes": 1024,
    }
    with client_of(Settings(**values)) as client:
        known = [{**VIEW, "event_id": "one"}, {**VIEW, "event_id": "two"}]
        assert client.post("/events", json=known, headers=BEARER).status_code == 200
        yield client


def ask(
    client: TestClient, url: str, *, plain: bool = True, method: str = "GET", **request: Any
) -> tuple[int, Any, Mapping[str, str], bool]:
    """Status, body and headers of an answer, without what names it, and whether a plain route gave it."""
    answers: list[bool] = []
    original = PlainRoutes.answers

    async def observed(self: PlainRoutes, *arguments: Any) -> bool:
        answers.append(plain and await original(self, *arguments))
        return answers[-1]

    with mock.patch.object(PlainRoutes, "answers", observed):
        response = client.request(method, url, **request)
    body = response.json() if response.content else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in ("recommendation_id", "instance")}
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    if "X-Request-ID" not in request.get("headers", {}):
        headers.pop("x-request-id")  # of our own
    return response.status_code, body, headers, answers == [True]


@pytest.mark.parametrize("url", [*GOOD, *LEFT_TO_FASTAPI])
def test_recommendations_are_those_of_the_documented_route(client: TestClient, url: str) -> None:
    *found, by_plain = ask(client, f"/recommendations/{url}")
    again = ask(client, f"/recommendations/{url}")
    *documented, not_plain = ask(client, f"/recommendations/{url}", plain=False)
    assert found == documented
    assert list(again) == [*found, by_plain]  # what a query string wants is kept
    assert by_plain == (url in GOOD)
    assert not not_plain


@pytest.mark.parametrize(("headers", "body"), [*GOOD_POSTS, *LEFT_POSTS])
def test_events_are_taken_and_refused_as_by_the_documented_route(
    client: TestClient, headers: dict[str, str], body: bytes
) -> None:
    *found, by_plain = ask(client, "/events", method="POST", headers=headers, content=body)
    *documented, not_plain = ask(client, "/events", plain=False, method="POST", headers=headers, content=body)
    assert found == documented
    assert by_plain == ((headers, body) in GOOD_POSTS)
    assert not not_plain


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_left_to_the_application(client: TestClient, method: str) -> None:
    *found, by_plain = ask(client, "/recommendations/7", method=method)
    *documented, _ = ask(client, "/recommendations/7", plain=False, method=method)
    assert found == documented
    assert not by_plain


@pytest.mark.parametrize(
    ("error", "part", "status", "retry"),
    [(StoreFullError("the disk is full"), "events_full", 507, None), (StoreBusyError("wait"), "events_busy", 503, "5")],
)
def test_a_store_that_takes_no_more_is_told_and_counted_as_by_the_documented_route(
    client: TestClient, error: Exception, part: str, status: int, retry: str | None
) -> None:
    app: Any = client.app
    seen: list[tuple[Any, float]] = []
    for plain in (True, False):
        before = _errors(client, part)
        with mock.patch.object(type(app.state.events), "add", side_effect=error):
            *found, by_plain = ask(client, "/events", plain=plain, method="POST", headers=BEARER, json=VIEW)
            told = client.post("/events", headers=BEARER, json=VIEW)
        assert by_plain == plain
        assert told.headers.get("retry-after") == retry
        seen.append((found, _errors(client, part) - before))
    assert seen[0] == seen[1]
    assert (seen[0][0][0], seen[0][1]) == (status, 2)


def test_both_are_counted_and_logged_alike(client: TestClient) -> None:
    counts: list[dict[str, float]] = []
    lines: list[tuple[Any, ...]] = []
    for plain in (True, False):
        before = _counts(client)
        with mock.patch("recsys_api.observing.requests_log") as log:
            ask(client, "/recommendations/7?k=3", plain=plain)
            ask(client, "/recommendations/-1?k=3", plain=plain)
            ask(client, "/events", plain=plain, method="POST", headers=BEARER, json=VIEW)
            ask(client, "/events", plain=plain, method="POST", headers=BEARER, json={})
        after = _counts(client)
        counts.append({name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)})
        fields = [call.kwargs["extra"]["fields"] for call in log.info.call_args_list]
        told = ("method", "route", "status", "release_id", "mode")
        lines.append(tuple([line[name] for name in told] for line in fields if line["route"] != "/stats"))
    assert counts[0] == counts[1]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 4


def _counts(client: TestClient) -> dict[str, float]:
    counts = client.get("/stats").json()["counts"]
    return {
        f"{name} {sorted(row['labels'].items())}": row["value"]
        for name, rows in counts.items()
        for row in rows
        if "/stats" not in row["labels"].values() and not name.endswith("seconds_sum") and "cpu" not in name
    }


def _errors(client: TestClient, part: str) -> float:
    return sum(value for name, value in _counts(client).items() if part in name)
