"""The plain route for recommendations answers as FastAPI's, which is in the OpenAPI document, and only what it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from fastapi.testclient import TestClient

from recsys_api.routes import plain
from recsys_api.routes.plain import PlainRecommendations
from recsys_api.settings import Settings
from recsys_assets.storage.catalogue import KnownItem
from recsys_assets_tests.api.conftest import client_of
from recsys_assets_tests.api.publishing import Content, publish

CONTENT = Content(
    recommendations={0: [10, 11, 12], 7: [5, 3], 8: list(range(1000, 1100))},
    top_popular={"all": [5, 3, 10, 2, 1], "category:a/b": [3, 2]},
    user_histories={7: [5]},
    items=[KnownItem(item, "a/b", "a", 1, True, float(item), None) for item in (1, 2, 3, 5, 10, 11)],
)
GOOD = [
    "7", "8?k=100", "7?k=1&offset=1", "-9?k=3", "7?mode=online", "7?mode=blend&explain=true", "7?exclude_seen=true&k=5",
    "7?exclude=5&exclude=3&k=4", "7?category=a%2Fb&k=2", "7?filter=price+%3C+4&k=9", "0?filter=item_id%20%21%3D%2010",
    "8?offset=100&k=100",
]  # fmt: skip
LEFT_TO_FASTAPI = [
    "x", "7?k=0", "7?k=101", "7?k=+5", "7?k=05", "7?k=5.0", "7?k=", "7?k=1&k=2", "7?offset=-1", "7?offset=201",
    "8?offset=150&k=100", "7?mode=", "7?mode=other", "7?placement=nowhere", "7?placement=", "7?category=", "7?filter=",
    "7?filter=price+%3C", f"7?category={'x' * 2001}", "7?exclude=x", "7?exclude=", "7?exclude_seen=maybe",
    "7?explain=1", "7?explain=TRUE", "7?unknown=1", "7?k=%FF", "7?filter=%FF", "99999999999999999999", "7/8",
    "7?" + "exclude=1&" * 1001,
]  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root: Path = tmp_path_factory.mktemp("plain")
    publish(root.as_uri(), "2015-08-02", CONTENT)
    with client_of(Settings(storage_uri=root.as_uri())) as client:
        yield client


def ask(client: TestClient, url: str) -> tuple[int, dict[str, Any], list[str], bool]:
    """Status, body and headers of an answer, without what names it, and whether the plain route gave it."""
    answers: list[bool] = []
    original = PlainRecommendations._answer  # pyright: ignore[reportPrivateUsage]

    async def observed(self: PlainRecommendations, *arguments: Any) -> bytes | None:
        body = await original(self, *arguments)
        answers.append(body is not None)
        return body

    with mock.patch.object(PlainRecommendations, "_answer", observed):
        response = client.get(url)
    body = response.json()
    for name in ("recommendation_id", "instance"):
        body.pop(name, None)
    return response.status_code, body, sorted(set(response.headers)), any(answers)


@pytest.mark.parametrize("url", [*GOOD, *LEFT_TO_FASTAPI])
def test_the_plain_route_answers_as_the_documented_one(client: TestClient, url: str) -> None:
    *found, by_plain = ask(client, f"/recommendations/{url}")
    again = ask(client, f"/recommendations/{url}")
    with mock.patch.object(plain, "_PREFIX", "/not here/"):
        *documented, not_plain = ask(client, f"/recommendations/{url}")
    assert found == documented
    assert list(again) == [*found, by_plain]  # what a query string wants is kept
    assert by_plain == (url in GOOD)
    assert not not_plain
