"""The HTTP side: ``GET /metrics`` for Prometheus, ``POST /alerts`` for Alertmanager.

Alertmanager could call a webhook itself, but its document is no message: Slack and others want a ``text``, and a
Telegram chat has an address of another kind. So alerts take the way that all notifications of the platform take, and
no secret lies in Alertmanager's configuration.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.registry import Collector

from recsys_assets.resources.notifier import Notifier

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MOST_BYTES = 1 << 20
"""Of a document of alerts."""
_MOST_TOLD = 20
"""Alerts that a message tells; the others are a number."""
_ROUTES = {"/metrics": ("GET", "HEAD"), "/alerts": ("POST",)}

logger = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a scrape every few seconds is no news."""


def serve(collector: Collector, notifier: Notifier, host: str, port: int) -> ThreadingWSGIServer:
    """A server that listens; the caller runs and closes it.

    Args:
        collector: what ``/metrics`` shows, beside CPU and memory of this process.
        notifier: where alerts go.
        host: address to listen at.
        port: 0 for any.

    Raises:
        OSError: the address is taken or not of this host.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    app = application(make_wsgi_app(registry), notifier)
    return make_server(host, port, app, ThreadingWSGIServer, _Handler)


def application(metrics: WSGIApplication, notifier: Notifier) -> WSGIApplication:
    """The two routes as one application."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = str(environ.get("PATH_INFO", "")), str(environ.get("REQUEST_METHOD", ""))
        allowed = _ROUTES.get(path)
        if allowed is None:
            return _answer(start_response, "404 Not Found", "there are /metrics and /alerts")
        if method not in allowed:
            return _answer(start_response, "405 Method Not Allowed", f"{path} takes {allowed[0]}")
        if path == "/metrics":
            return metrics(environ, start_response)
        return _answer(start_response, *_tell(environ, notifier))

    return app


def _tell(environ: WSGIEnvironment, notifier: Notifier) -> tuple[str, str]:
    """Send a document of Alertmanager on; anything but 2xx makes it try again, and count what failed."""
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if not 0 < length <= MOST_BYTES:
            return "413 Content Too Large", f"expected 1 to {MOST_BYTES:,} bytes"
        text, facts = message(json.loads(environ["wsgi.input"].read(length)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return "400 Bad Request", f"not a document of Alertmanager: {type(error).__name__}"
    if not notifier.channels:
        return "503 Service Unavailable", "no channel is set: RECSYS_NOTIFY_WEBHOOK_URL or RECSYS_TELEGRAM_TOKEN"
    problems: list[str] = []
    notifier.send(text, facts, problems.append)
    for problem in problems:
        logger.warning("%s", problem)
    if len(problems) == len(notifier.channels):
        return "502 Bad Gateway", "; ".join(problems)
    return "200 OK", "sent"


def message(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A group of alerts as a message: text for people, facts for programs.

    Args:
        document: as Alertmanager posts it, version 4.
    """
    alerts: list[Mapping[str, Any]] = document["alerts"]
    lines: list[str] = []
    for alert in alerts[:_MOST_TOLD]:
        labels, notes = alert["labels"], alert.get("annotations", {})
        ended = alert["status"] == "resolved"
        head = "resolved" if ended else labels.get("severity", "alert")
        line = f"[{head}] {labels['alertname']}: {notes.get('summary', '')}".rstrip(": ")
        lines.append(line if ended or "runbook_url" not in notes else f"{line} ({notes['runbook_url']})")
    if len(alerts) > _MOST_TOLD:
        lines.append(f"and {len(alerts) - _MOST_TOLD} more")
    facts = {
        "event": "alert",
        "status": document["status"],
        "alerts": [
            {"status": alert["status"], "labels": alert["labels"], "annotations": alert.get("annotations", {})}
            for alert in alerts[:_MOST_TOLD]
        ],
    }
    return "\n".join(lines), facts


def _answer(start_response: Callable[..., object], status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
