"""moto's server, a request at a time: it compares and writes in two steps, between which another request may write."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from threading import Lock
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_app: Any = DomainDispatcherApplication(create_backend_app)
_lock = Lock()


def one_at_a_time(environ: Any, start_response: Any) -> Iterable[bytes]:
    """The server as a WSGI application."""
    with _lock:
        return list(_app(environ, start_response))


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), one_at_a_time, threaded=True)
