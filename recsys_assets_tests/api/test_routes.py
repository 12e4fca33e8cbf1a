"""What a caller gets: lists, fill-up, limits, unknown ids, and answers that the OpenAPI document describes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish

POPULAR = [5, 3, 10, 2, 1]
INT_CONTENT = Content(
    recommendations={0: [10, 11, 12], 7: [5, 3], 8: list(range(1000, 1100))},
    similar_items={0: [5, 3], 5: [0]},
    top_popular={"all": POPULAR, "trending": [1], "category:a/b": [3, 2]},
)
STRING_CONTENT = Content(
    recommendations={"ann": ["x"]},
    similar_items={"x": ["p1"]},
    top_popular={"all": ["p1", "p2"], "category:ü/1": ["p2"]},
    ids={"user": "string", "item": "string"},
)


TRENDING_CONTENT = Content(
    recommendations={7: [5, 3]},
    top_popular={"all": POPULAR, "trending": [4, 5, 6], "category:a/b": [3, 2]},
    fallback="trending",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Content], TestClient]]:
    """Clients of applications that serve given content, shared by the tests of this module."""
    with ExitStack() as stack:
        clients: dict[int, TestClient] = {}

        def serve(content: Content) -> TestClient:
            if id(content) not in clients:
                root: Path = tmp_path_factory.mktemp("served")
                publish(root.as_uri(), "2015-08-02", content)
                clients[id(content)] = stack.enter_context(client_of(Settings(storage_uri=root.as_uri())))
            return clients[id(content)]

        yield serve


@pytest.fixture
def ints(served: Callable[[Content], TestClient]) -> TestClient:
    return served(INT_CONTENT)


@pytest.fixture
def strings(served: Callable[[Content], TestClient]) -> TestClient:
    return served(STRING_CONTENT)


def items(body: dict[str, Any]) -> list[Any]:
    assert [item["rank"] for item in body["items"]] == list(range(1, len(body["items"]) + 1))
    return [item["item_id"] for item in body["items"]]


def sources(body: dict[str, Any]) -> list[str]:
    return [item["source"] for item in body["items"]]


def conforms(client: TestClient, path: str, url: str) -> dict[str, Any]:
    """The body of a GET, after holding it against the schema that the OpenAPI document gives for its status."""
    document = client.get("/openapi.json").json()
    response = client.get(url)
    content = document["paths"][path]["get"]["responses"][str(response.status_code)]["content"]
    schema = content[response.headers["Content-Type"]]
    jsonschema.validate(
        response.json(),
        {**schema["schema"], "components": document["components"]},
        format_checker=jsonschema.FormatChecker(),
    )
    return response.json()


def test_a_known_user_gets_their_own_list(ints: TestClient) -> None:
    body = ints.get("/recommendations/0?k=3").json()
    assert body["personalised"] is True
    assert body["user_id"] == 0
    assert body["as_of"] == "2015-08-02"
    assert body["items"][:2] == [
        {"item_id": 10, "score": 1.0, "rank": 1, "source": "ranker"},
        {"item_id": 11, "score": 0.5, "rank": 2, "source": "ranker"},
    ]
    assert body["release_id"] == ints.get("/release").json()["release_id"]
    assert len(items(ints.get("/recommendations/8").json())) == 10, "the default of k"


def test_a_short_list_is_filled_with_popular_items_that_it_does_not_hold(ints: TestClient) -> None:
    body = ints.get("/recommendations/0?k=5").json()
    assert items(body) == [10, 11, 12, 5, 3]
    assert sources(body) == ["ranker"] * 3 + ["popular"] * 2
    held_is_popular = ints.get("/recommendations/7?k=4").json()
    assert items(held_is_popular) == [5, 3, 10, 2]
    assert items(ints.get("/recommendations/7?k=100").json()) == [5, 3, 10, 2, 1], "all that the release has"


def test_an_unknown_user_gets_popular_items_always_the_same(ints: TestClient) -> None:
    bodies = [ints.get(f"/recommendations/{user}?k=3").json() for user in (1, -1, 1, 2**63 - 1, -(2**63))]
    assert all(items(body) == POPULAR[:3] and sources(body) == ["popular"] * 3 for body in bodies)
    assert not any(body["personalised"] for body in bodies)
    assert [{**body, "recommendation_id": ""} for body in bodies[:1]] == [{**bodies[2], "recommendation_id": ""}]


def test_unknown_users_popular_and_short_lists_follow_the_list_that_the_release_states(
    served: Callable[[Content], TestClient],
) -> None:
    client = served(TRENDING_CONTENT)
    for path in ("/recommendations/404", "/popular"):
        body = client.get(path).json()
        assert (items(body), sources(body)) == ([4, 5, 6], ["trending"] * 3)
    short = client.get("/recommendations/7?k=4").json()
    assert (items(short), sources(short)) == ([5, 3, 4, 6], ["ranker"] * 2 + ["trending"] * 2)
    in_category = client.get("/popular?category=a/b").json()
    assert (items(in_category), sources(in_category)) == ([3, 2], ["popular"] * 2)
    assert client.get("/release").json()["facts"]["fallback_segment"] == "trending"


def test_similar_and_popular(ints: TestClient) -> None:
    similar = ints.get("/similar/0?k=1").json()
    assert (similar["item_id"], items(similar), sources(similar)) == (0, [5], ["fused"])
    assert items(ints.get("/similar/999").json()) == []
    assert items(ints.get("/popular?k=2").json()) == POPULAR[:2]
    assert sources(ints.get("/popular").json()) == ["popular"] * 5
    in_category = ints.get("/popular", params={"category": "a/b"}).json()
    assert (in_category["category"], items(in_category)) == ("a/b", [3, 2])
    assert items(ints.get("/popular?category=nowhere").json()) == []
    assert ints.get("/popular?category=").json() == ints.get("/popular").json()


@pytest.mark.parametrize("path", ["/recommendations/0", "/similar/0", "/popular"])
def test_k_is_1_to_100(ints: TestClient, path: str) -> None:
    assert [ints.get(f"{path}?k={k}").status_code for k in (1, 100)] == [200, 200]
    for k in ("0", "101", "-1", "ten", "1.5", "", str(10**30)):
        response = ints.get(f"{path}?k={k}")
        assert response.status_code == 422
        assert [error["field"] for error in response.json()["errors"]] == ["k"]
    assert len(ints.get("/recommendations/8?k=100").json()["items"]) == 100


@pytest.mark.parametrize(("path", "field"), [("/recommendations", "user_id"), ("/similar", "item_id")])
def test_an_id_that_is_no_int64_is_refused_by_name(ints: TestClient, path: str, field: str) -> None:
    for text in ("x", "1.0", " 1", "1_0", "٣", "1e3", "+1", "0x1", str(2**63), str(-(2**63) - 1), "1/2", "9" * 5000):
        response = ints.get(f"{path}/{quote(text, safe='')}")
        assert response.status_code == 422, text
        assert [error["field"] for error in response.json()["errors"]] == [field]


def test_unknown_string_ids_and_categories(strings: TestClient) -> None:
    assert items(strings.get("/recommendations/nobody").json()) == ["p1", "p2"]
    assert items(strings.get("/similar/nothing").json()) == []
    assert items(strings.get("/popular", params={"category": "ü/1"}).json()) == ["p2"]


def test_answers_are_what_the_openapi_document_says(ints: TestClient, strings: TestClient) -> None:
    for client in (ints, strings):
        user, item = "/recommendations/{user_id}", "/similar/{item_id}"
        for path, url in (
            (user, "/recommendations/0"),
            (user, "/recommendations/404?k=2"),
            (user, "/recommendations/0?k=0"),
            (item, "/similar/0"),
            (item, "/similar/404"),
            ("/popular", "/popular"),
            ("/popular", "/popular?category=a/b"),
            ("/release", "/release"),
            ("/health/live", "/health/live"),
            ("/health/ready", "/health/ready"),
        ):
            conforms(client, path, url)
    conforms(ints, user, "/recommendations/x")


def test_every_operation_is_documented(ints: TestClient) -> None:
    document = ints.get("/openapi.json").json()
    assert ints.get("/docs").status_code == 200
    every = [(path, operation) for path, by_method in document["paths"].items() for operation in by_method.values()]
    for path, operation in every:
        assert operation["summary"], path
        assert operation["description"], path
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), path
    assert document["components"]["schemas"]["RankedItem"]["properties"]["source"]["examples"]


def test_release_names_the_bytes_that_answers_are_made_of(ints: TestClient) -> None:
    body = ints.get("/release").json()
    assert body["rows"] == {"recommendations": 105, "similar_items": 3, "top_popular": 8, "user_histories": 0}
    assert body["facts"]["inputs"] == {"recommendations": "ab" * 32}
    assert {file["name"] for file in body["files"]} >= {"recommendations.keys.arrow", "top_popular.rows.arrow"}


@pytest.mark.parametrize(("days_ago", "beyond"), [(6.9, False), (7.1, True)])
def test_release_says_whether_it_serves_beyond_its_horizon(
    make_settings: Callable[..., Settings], store_uri: str, days_ago: float, beyond: bool
) -> None:
    end = datetime.now(UTC) - timedelta(days=days_ago)
    facts = {"as_of_end": end.isoformat(), "horizon_days": 7}
    publish(store_uri, end.date().isoformat(), Content({1: [2]}, {}, {"all": [2]}), **facts)
    with client_of(make_settings()) as client:
        assert conforms(client, "/release", "/release")["beyond_horizon"] is beyond


def test_before_the_first_release_503_says_why_and_then_it_is_served(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    with client_of(make_settings(), wait_ready=False) as client:
        eventually(lambda: "nothing has been published" in client.get("/health/ready").json()["problem"])
        assert client.get("/health/live").json() == {"status": "alive"}
        ready = conforms(client, "/health/ready", "/health/ready")
        assert (ready["ready"], ready["release_id"]) == (False, None)
        for path, url in (
            ("/recommendations/{user_id}", "/recommendations/0"),
            ("/similar/{item_id}", "/similar/0"),
            ("/popular", "/popular"),
            ("/release", "/release"),
        ):
            response = client.get(url)
            assert response.status_code == 503
            assert int(response.headers["Retry-After"]) >= 1
            assert "nothing has been published at the store" in conforms(client, path, url)["detail"]
        release_id = publish(store_uri, "2015-08-02", INT_CONTENT)
        eventually(lambda: client.get("/health/ready").status_code == 200)
        assert client.get("/recommendations/0").json()["release_id"] == release_id
