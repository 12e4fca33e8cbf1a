"""Every error is a problem document that names the field; keys, sizes, request ids and origins of browsers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from recsys_api.app import create_app
from recsys_api.limits import BodyLimit
from recsys_api.security import may_administer, may_write
from recsys_api.settings import Settings, SettingsError, load_settings

OLD, NEW, ADMIN = "old-key-0123456789", "new-key-0123456789", "admin-key-0123456789"
MOST = 4096


class Box(BaseModel):
    width: int


def with_routes(settings: Settings) -> FastAPI:
    """The application with routes that echo, fail and need keys."""
    app = create_app(settings)

    @app.post("/echo")
    async def echo(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    @app.post("/boxes")
    async def boxes(boxes: list[Box]) -> int:
        return len(boxes)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is hunter2")

    @app.get("/write", dependencies=[Depends(may_write)])
    async def write() -> str:
        return "written"

    @app.get("/admin", dependencies=[Depends(may_administer)])
    async def admin() -> str:
        return "done"

    return app


@pytest.fixture
def client(make_settings: Callable[..., Settings]) -> TestClient:
    keys: dict[str, object] = {"api_write_keys": f"{OLD}, {NEW}", "api_admin_keys": ADMIN}
    app = with_routes(make_settings(api_max_body_bytes=MOST, api_cors_origins="https://shop.example", **keys))
    return TestClient(app, raise_server_exceptions=False)


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert (body["type"], body["status"]) == ("about:blank", status)
    assert body["title"]
    assert body["instance"] == f"urn:request:{response.headers['X-Request-ID']}"
    return body


def test_every_error_is_a_problem_document(client: TestClient) -> None:
    assert problem(client.get("/nowhere"), 404)["title"] == "Not Found"
    problem(client.delete("/popular"), 405)
    assert client.delete("/popular").headers["Allow"] == "GET"
    problem(client.get("/popular"), 503)
    assert problem(client.get("/popular?k=0"), 422)["errors"] == [{"field": "k", "message": "expected at least 1"}]
    faulty = problem(client.post("/boxes", json=[{"width": 1}, {"width": "secret"}, {}]), 422)
    assert [(fault["index"], fault["field"]) for fault in faulty["errors"]] == [(1, "width"), (2, "width")]
    assert "secret" not in str(faulty), "a value may belong into no log"
    problem(client.post("/boxes", content=b"{", headers={"Content-Type": "application/json"}), 422)


def test_an_unexpected_error_says_nothing_of_the_inside(client: TestClient) -> None:
    response = client.get("/broken", headers={"X-Request-ID": "mine-7"})
    body = problem(response, 500)
    assert body["instance"] == "urn:request:mine-7"
    assert not {"hunter2", "RuntimeError", "Traceback"} & set(response.text.split())
    assert "hunter2" not in response.text


def test_the_openapi_document_states_problems_and_keys(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert not {"HTTPValidationError", "ValidationError"} & schemas.keys()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status not in ("200", "202", "204") and path != "/health/ready":
                    name = "InvalidRequest" if status == "422" else "Problem"
                    schema = response["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": f"#/components/schemas/{name}"}, (path, status)
    for path in ("/write", "/admin"):
        assert document["paths"][path]["get"]["security"] == [{"bearer": []}, {"key": []}]
    assert document["components"]["securitySchemes"].keys() == {"bearer", "key"}


def test_any_of_the_keys_opens_what_it_is_for(client: TestClient) -> None:
    for key in (OLD, NEW):
        assert client.get("/write", headers={"Authorization": f"Bearer {key}"}).json() == "written"
        assert client.get("/write", headers={"X-API-Key": key}).json() == "written"
        problem(client.get("/admin", headers={"X-API-Key": key}), 401)
    assert client.get("/admin", headers={"X-API-Key": ADMIN}).json() == "done"
    for headers in ({}, {"X-API-Key": OLD[:-1]}, {"X-API-Key": f"{OLD}, {NEW}"}, {"Authorization": f"Basic {OLD}"}):
        refused = client.get("/write", headers=headers)
        problem(refused, 401)
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert OLD[:-1] not in refused.text


def test_without_keys_nobody_writes_unless_that_is_wished(make_settings: Callable[..., Settings]) -> None:
    closed = TestClient(with_routes(make_settings()))
    assert "RECSYS_API_WRITE_KEYS" in problem(closed.get("/write", headers={"X-API-Key": OLD}), 403)["detail"]
    opened = TestClient(with_routes(make_settings(api_open_writes=True)))
    assert opened.get("/write").json() == "written"
    assert "RECSYS_API_ADMIN_KEYS" in problem(opened.get("/admin"), 403)["detail"]
    keyed = TestClient(with_routes(make_settings(api_open_writes=True, api_write_keys=OLD)))
    problem(keyed.get("/write"), 401)


def test_keys_are_long_and_never_shown(monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]) -> None:
    assert OLD not in repr(make_settings(api_write_keys=OLD))
    monkeypatch.setenv("RECSYS_API_WRITE_KEYS", f"{OLD},short-secret")
    with pytest.raises(SettingsError, match=r"RECSYS_API_WRITE_KEYS: .*at least 16 characters") as error:
        load_settings()
    assert "short-secret" not in str(error.value)


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    """A body of unknown length: the client sends it chunked."""
    yield from (data[start : start + size] for start in range(0, len(data), size))


def test_bodies_are_limited_with_and_without_a_length_and_when_unpacked(client: TestClient) -> None:
    full, more = b"x" * MOST, b"x" * (MOST + 1)
    packed = {"Content-Encoding": "gzip"}
    for body, headers in ((full, {}), (gzip.compress(full), packed)):
        assert client.post("/echo", content=body, headers=headers).json() == {"bytes": MOST}
        assert client.post("/echo", content=chunks(body, 100), headers=headers).json() == {"bytes": MOST}
    bomb = gzip.compress(b"\0" * (MOST * 500))
    assert len(bomb) < MOST
    for body, headers in ((more, {}), (gzip.compress(more), packed), (bomb, packed)):
        problem(client.post("/echo", content=body, headers=headers), 413)
        problem(client.post("/echo", content=chunks(body, 100), headers=headers), 413)
    problem(client.post("/boxes", content=chunks(more, 100), headers={"Content-Type": "application/json"}), 413)
    for body in (b"no gzip", gzip.compress(full)[:-1], gzip.compress(full) + b"rest", zlib.compress(full)):
        problem(client.post("/echo", content=body, headers=packed), 400)
    refused = client.post("/echo", content=full, headers={"Content-Encoding": "br"})
    problem(refused, 415)
    assert refused.headers["Accept-Encoding"] == "gzip"


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=5), size=st.integers(1, 30))
def test_gzip_is_unpacked_however_it_is_cut(parts: list[bytes], size: int) -> None:
    packed = b"".join(map(gzip.compress, parts))
    client = TestClient(BodyLimit(_echo, 1000))
    answer = client.post("/", content=chunks(packed, size), headers={"Content-Encoding": "gzip"})
    assert answer.content == b"".join(parts)


def test_a_sane_request_id_is_kept_and_others_are_replaced(client: TestClient) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": "a-1.b:2_c"}).headers["X-Request-ID"] == "a-1.b:2_c"
    replaced = {
        client.get("/health/live", headers={"X-Request-ID": bad}).headers["X-Request-ID"] for bad in ("", "a b")
    }
    assert len(replaced) == 2
    assert all(len(request_id) == 16 for request_id in replaced)
    assert len(client.get("/health/live", headers={"X-Request-ID": "x" * 129}).headers["X-Request-ID"]) == 16


def test_browsers_of_other_origins_are_let_in_by_setting_only(
    client: TestClient, make_settings: Callable[..., Settings]
) -> None:
    origin = {"Origin": "https://shop.example"}
    assert client.get("/health/live", headers=origin).headers["Access-Control-Allow-Origin"] == origin["Origin"]
    other = client.get("/health/live", headers={"Origin": "https://other.example"})
    assert "Access-Control-Allow-Origin" not in other.headers
    by_default = TestClient(create_app(make_settings())).get("/health/live", headers=origin)
    assert "Access-Control-Allow-Origin" not in by_default.headers
