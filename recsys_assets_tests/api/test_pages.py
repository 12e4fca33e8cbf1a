"""What a browser gets: documentation that asks no other host, and an index whose links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, DAY, FACTS


@pytest.fixture
def client(make_settings: Callable[..., Settings], store_uri: str) -> Iterator[TestClient]:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings()) as client:
        yield client


def test_the_documentation_comes_from_here_alone(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert "//" not in re.sub(r"^\s*//.*$", "", page.text, flags=re.MULTILINE), "an address of another host"
    assert '"validatorUrl": null' in page.text, "or the page would have a service on the internet check the document"
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 3
    kinds = [client.get(asset).headers["content-type"].partition(";")[0] for asset in named]
    assert sorted(kinds) == ["image/png", "text/css", "text/javascript"]
    assert re.search(r"url: '/openapi.json'", page.text)
    script = next(client.get(asset).text for asset in named if asset.endswith(".js"))
    version = re.search(r'PACKAGE_VERSION:"(\d+)\.', script)
    assert version, "not Swagger UI"
    assert int(version[1]) >= 5, "too old to show OpenAPI 3.1"
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_the_index_leads_to_what_is_there(client: TestClient) -> None:
    links = client.get("/").json()["links"]
    assert {"documentation", "metrics", "ready", "release", "stats"} <= set(links)
    assert {client.get(path).status_code for path in links.values()} == {200}


def test_metrics_are_in_the_form_that_prometheus_reads(client: TestClient) -> None:
    kind = client.get("/metrics").headers["content-type"]
    assert re.fullmatch(r"text/plain; version=[\d.]+; charset=utf-8", kind)
