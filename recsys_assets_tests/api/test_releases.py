"""What is served and what could be; moving the pointer over HTTP; from a release to its landing files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.api.conftest import client_of
from recsys_assets_tests.api.publishing import Content, publish, releases_at

KEY = {"X-API-Key": "an-admin-key-0123456789"}
FIRST, SECOND = (Content({1: [item]}, {}, {"all": [item, 9]}) for item in (3, 4))


@pytest.fixture
def client(make_settings: Callable[..., Settings], store_uri: str) -> Iterator[TestClient]:
    publish(store_uri, "2015-08-01", FIRST)
    publish(store_uri, "2015-08-02", SECOND)
    # Nothing is polled during a test: what is seen was done at once.
    with client_of(make_settings(api_admin_keys=KEY["X-API-Key"], api_poll_seconds=3600)) as client:
        yield client


def described(
    client: TestClient, method: str, path: str, url: str, status: int = 200, **request: Any
) -> dict[str, Any]:
    """The body of an answer, after holding it against the OpenAPI document."""
    response = client.request(method, url, **request)
    assert response.status_code == status, response.text
    document = client.get("/openapi.json").json()
    content = document["paths"][path][method.lower()]["responses"][str(status)]["content"]
    schema = content[response.headers["Content-Type"]]["schema"]
    jsonschema.validate(response.json(), {**schema, "components": document["components"]})
    return response.json()


def served(client: TestClient) -> int:
    return client.get("/recommendations/1?k=1").json()["items"][0]["item_id"]


def test_rollback_acts_at_once_and_withdraws_what_it_left(client: TestClient) -> None:
    assert served(client) == 4
    moved = described(client, "POST", "/admin/rollback", "/admin/rollback", json={}, headers=KEY)
    assert moved["as_of"] == "2015-08-01"
    assert served(client) == 3, "served before anything was polled"
    listed = described(client, "GET", "/releases", "/releases")
    assert listed["current"] == moved["release_id"]
    assert [(one["as_of"], one["withdrawn"]) for one in listed["releases"]] == [
        ("2015-08-02", True),
        ("2015-08-01", False),
    ]
    again = {"release_id": listed["releases"][0]["release_id"]}
    described(client, "POST", "/admin/rollback", "/admin/rollback", json=again, headers=KEY)
    assert served(client) == 4


def test_a_pinned_release_stays_until_it_is_unpinned(client: TestClient, store_uri: str) -> None:
    pinned = described(client, "POST", "/admin/pin", "/admin/pin", json={}, headers=KEY)
    assert pinned["pinned"] is True
    published = releases_at(store_uri)
    waiting = publish(store_uri, "2015-08-03", FIRST)
    assert published.current().release_id == pinned["release_id"]  # type: ignore[union-attr]
    described(client, "POST", "/admin/pin", "/admin/pin", json={"pinned": False}, headers=KEY)
    assert published.approve(waiting).release_id == waiting
    described(client, "POST", "/admin/reload", "/admin/reload", headers=KEY)
    assert client.get("/release").json()["release_id"] == waiting


@pytest.mark.parametrize("url", ["/admin/reload", "/admin/rollback", "/admin/pin"])
def test_administration_needs_its_key(client: TestClient, url: str) -> None:
    assert client.post(url, json={}).status_code == 401
    assert client.post(url, json={}, headers={"X-API-Key": "some-other-key-01234"}).status_code == 401
    assert served(client) == 4


def test_what_cannot_be_done_is_a_problem_that_says_so(client: TestClient) -> None:
    unknown = {"release_id": "2015-08-01-000000000000"}
    described(client, "POST", "/admin/rollback", "/admin/rollback", 404, json=unknown, headers=KEY)
    described(client, "POST", "/admin/rollback", "/admin/rollback", 422, json={"release_id": "../x"}, headers=KEY)
    described(client, "GET", "/lineage/{release_id}", "/lineage/2015-08-01-000000000000", 404)
    described(client, "POST", "/admin/rollback", "/admin/rollback", json={}, headers=KEY)
    described(client, "POST", "/admin/rollback", "/admin/rollback", 409, json={}, headers=KEY)


def test_a_release_is_traced_to_landing_files(
    make_settings: Callable[..., Settings], store_uri: str, tmp_path: Path
) -> None:
    store = open_store(store_uri)
    partitions = PartitionStore(store)

    def write(asset: str, inputs: tuple[Input, ...] = (), **params: Any) -> Input:
        file = tmp_path / asset
        file.write_text(f"{asset} {params}")
        record = Lineage(asset, "2015-08-02", 1, "1", params, inputs=inputs, run_id="a-run")
        return Input(asset, "2015-08-02", partitions.write(asset, "2015-08-02", file, record).sha256)

    events = write("clean_events", files=["d1", "d2"])
    gone = Input("bot_users", "2015-08-02", "ab" * 32)
    lists = write("recommendations", (events, gone))
    accepted = {"events.csv": {"kind": "events", "size": 7, "digest": "d1", "content": "cd" * 32, "name": "events.csv"}}
    store.put("staging/accepted.json", json.dumps({"files": accepted}).encode())
    release = publish(store_uri, "2015-08-02", SECOND, inputs={"recommendations": lists.sha256, "promotion": "ef" * 32})
    with client_of(make_settings()) as client:
        found = described(client, "GET", "/lineage/{release_id}", f"/lineage/{release}")
    assert [one["asset"] for one in found["partitions"]] == ["clean_events", "recommendations"]
    assert found["partitions"][1]["inputs"][1]["sha256"] == events.sha256
    assert [one["name"] for one in found["landing_files"]] == ["events.csv", None]
    assert sorted(one["asset"] for one in found["missing"]) == ["bot_users", "promotion"]
    assert found["changed"] == []
    assert found["truncated"] is False
