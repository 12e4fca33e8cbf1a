"""Traces: sent where a setting says so, with nothing of users; whatever the collector does, requests are answered."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, FACTS
from recsys_assets_tests.api.test_metrics import DAY, by, measured

TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def collector(status: int = 200) -> Generator[tuple[str, list[bytes]]]:
    """An address that takes posts, and their bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spans(bodies: list[bytes]) -> list[Span]:
    found = [one for body in bodies for one in ExportTraceServiceRequest.FromString(body).resource_spans]
    return [span for one in found for scope in one.scope_spans for span in scope.spans]


def attributes(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_traced_request_is_one_span_with_nothing_of_users(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    release = publish(store_uri, DAY, CONTENT, **FACTS)
    with collector() as (url, bodies):
        with client_of(make_settings(api_traces_url=url, api_traces_share=0)) as client:
            sampled = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "X-Request-ID": "mine"}
            client.get("/recommendations/77777?k=50&exclude=424242", headers=sampled)
            client.get("/recommendations/77777?k=50")
            client.get("/popular", headers={"traceparent": "no trace at all"})
        (span,) = spans(bodies)
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, "b7ad6b7169203331")
        assert span.name == "GET /recommendations/{user_id}"
        assert attributes(span) == {
            "http.request.method": "GET",
            "http.route": "/recommendations/{user_id}",
            "http.response.status_code": 200,
            "recsys.request_id": "mine",
            "recsys.release_id": release,
            "recsys.mode": "fallback",
        }
        assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10**11
        assert not any(text in b"".join(bodies) for text in (b"77777", b"424242"))
        bodies.clear()
        with client_of(make_settings(api_traces_url=url, api_traces_share=1)) as client:
            for _ in range(30):
                client.get("/popular")
        assert sum(span.name == "GET /popular" for span in spans(bodies)) == 30


def test_a_collector_that_fails_is_counted_and_nothing_else(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with (
        collector(400) as (url, bodies),
        client_of(make_settings(api_traces_url=url, api_traces_share=1)) as client,
    ):
        assert client.get("/popular").status_code == 200
        app: Any = client.app
        app.state.traces.close()
        assert bodies
        assert by(measured(client), "recsys_errors_total", "part") == {("traces",): 1}


def test_nothing_is_loaded_or_sent_where_no_setting_says_so(
    make_settings: Callable[..., Settings], store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with collector() as (url, bodies):
        monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.removesuffix("/v1/traces"))
        with client_of(make_settings()) as client:
            assert client.get("/popular").status_code == 200
        assert bodies == []
    program = "import sys, recsys_api.app; recsys_api.app.create_app(); print('opentelemetry.sdk' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
