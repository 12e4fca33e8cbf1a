"""Traces of requests: a span for each one that is sampled, sent to a collector by OTLP over HTTP.

Imported only where ``RECSYS_API_TRACES_URL`` is set. FastAPI's own traces stay off:
they hold paths and parameters, and thus ids of users. These hold what a line of the log does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

_CARRIED = (b"traceparent", b"tracestate")


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
        self._provider.add_span_processor(BatchSpanProcessor(_Counted(url, on_error)))
        self._tracer = self._provider.get_tracer("recsys_api")
        self._propagator = TraceContextTextMapPropagator()

    def request(self, scope: Scope, method: str, route: str, status: int, seconds: float) -> None:
        """Trace a request that was just answered.

        Args:
            scope: of the request; only its trace context and the attributes of its answer are read.
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
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


class _Counted(OTLPSpanExporter):
    """Sends spans, and tells when they could not be sent; the library logs why."""

    def __init__(self, url: str, on_error: Callable[[], None]) -> None:
        super().__init__(endpoint=url)
        self._on_error = on_error

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._on_error()
        return result
