"""Traces of requests: a span for each one that is sampled, sent to a collector by OTLP (JSON over HTTP).

Imported only where ``RECSYS_API_TRACES_URL`` is set; MLflow brings OpenTelemetry's SDK. FastAPI's own traces stay off:
they hold paths and parameters, and thus ids of users. These hold what a line of the log does.
"""

from __future__ import annotations

import logging
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

logger = logging.getLogger("uvicorn.recsys.traces")

_SECONDS = 10.0
_CARRIED = (b"traceparent", b"tracestate")
_SERVER = 2
"""OTLP's number for spans of a server."""


class Traces:
    """Makes spans and sends them in the background.

    Args:
        url: of the collector, such as ``http://localhost:4318/v1/traces``.
        share: of the requests that are sampled; one that names a trace is sampled if that trace is.
        on_error: called when spans could not be sent; they are lost.
    """

    def __init__(self, url: str, share: float, on_error: Callable[[], None]) -> None:
        resource = Resource.create({"service.name": "recsys-api"})
        sampler = ParentBased(TraceIdRatioBased(share))
        self._provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_OtlpJson(url, on_error)))
        self._tracer = self._provider.get_tracer("recsys_api")
        self._propagator = TraceContextTextMapPropagator()

    def request(self, scope: Scope, method: str, route: str, status: int, seconds: float) -> None:
        """Trace a request that was just answered.

        Args:
            scope: of the request; only the trace that it belongs to and what the answer says of itself are read.
            method: one of HTTP's.
            route: template of its path.
            status: of the answer.
            seconds: until the answer was sent.
        """
        end = time.time_ns()
        carrier = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CARRIED}
        span = self._tracer.start_span(
            f"{method} {route}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            start_time=end - round(seconds * 1e9),
        )
        if span.is_recording():
            state = scope.get("state", {})
            told = {f"recsys.{name}": state.get(name) for name in ("request_id", "release_id", "mode")}
            span.set_attributes({name: value for name, value in told.items() if value is not None})
            span.set_attributes(
                {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            )
        span.end(end)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


class _OtlpJson(SpanExporter):
    """Sends spans as OTLP's JSON: the packages of the lock have none of OpenTelemetry's own exporters for it."""

    def __init__(self, url: str, on_error: Callable[[], None]) -> None:
        self._url, self._on_error, self._failed = url, on_error, ""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans once; a collector that does not answer must not keep them in memory."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, _document(spans), headers)  # noqa: S310 - the setting is http
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310
        except (OSError, HTTPException) as error:
            self._on_error()
            if self._failed != str(error):
                logger.warning("traces cannot be sent to %s: %s", self._url, error)
            self._failed = str(error)
            return SpanExportResult.FAILURE
        self._failed = ""
        return SpanExportResult.SUCCESS


def _document(spans: Sequence[ReadableSpan]) -> bytes:
    resource = {"attributes": _attributes(spans[0].resource.attributes)}
    scoped = {"scope": {"name": "recsys_api"}, "spans": [_span(span) for span in spans]}
    return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]})


def _span(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.get_span_context() or INVALID_SPAN_CONTEXT, span.parent
    attributes = span.attributes or {}
    status = attributes.get("http.response.status_code")
    return {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        **({"parentSpanId": f"{parent.span_id:016x}"} if parent else {}),
        "name": span.name,
        "kind": _SERVER,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(attributes),
        "status": {"code": StatusCode.ERROR.value if isinstance(status, int) and status >= 500 else 0},
    }


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}
        for name, value in attributes.items()
    ]
