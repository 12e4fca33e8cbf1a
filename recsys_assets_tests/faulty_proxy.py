"""A proxy before an S3 server that answers wrongly on request: cut bodies, damage, refusals, errors of the server."""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from recsys_assets_tests.s3_servers import S3Server

ERRORS = {
    "500": (500, b"<Error><Code>InternalError</Code></Error>"),
    "503": (503, b"<Error><Code>SlowDown</Code></Error>"),
    "400": (400, b"<Error><Code>MalformedXML</Code></Error>"),
    "timeout": (400, b"<Error><Code>RequestTimeout</Code></Error>"),
    "403": (403, b"<Error><Code>AccessDenied</Code></Error>"),
}
OK = "ok"
Fault = Callable[[str], str]
"""Gets the method of a request; ``ok``, ``reset``, ``cut``, ``damaged`` or one of :data:`ERRORS`."""


class FaultyProxy:
    """A server in front of another one.

    Attributes:
        fault: says what is wrong with the next answer.
        made: how often each fault was made.
    """

    def __init__(self, behind: S3Server, port: int = 0):
        self.fault: Fault = lambda method: OK
        self.made: Counter[str] = Counter()
        self._behind = urlsplit(str(behind.options.endpoint)).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def answer(self) -> None:
                proxy.answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.server = replace(behind, options=replace(behind.options, endpoint=f"http://127.0.0.1:{self.port}"))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request, with the fault that is due."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self.fault(str(request.command))
        self.made[fault] += 1
        if fault == "reset":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            raise ConnectionResetError
        if fault in ERRORS:
            status, data = ERRORS[fault]
            headers = {"Content-Length": str(len(data))}
        else:
            status, headers, data = self._forward(request, body)
        if fault == "damaged" and data:
            data = bytes([data[0] ^ 255]) + data[1:]
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data[: len(data) // 2] if fault == "cut" else data)
        if fault == "cut":
            request.close_connection = True

    def _forward(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(self._behind, timeout=30)
        try:
            connection.request(str(request.command), request.path, body, dict(request.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
            hop = ("connection", "transfer-encoding", "content-length", "server", "date")
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in hop}
            length = answer.headers["Content-Length"] if request.command == "HEAD" else None
            return answer.status, {**headers, "Content-Length": length or str(len(data))}, data
        finally:
            connection.close()


@contextmanager
def faulty_proxy(behind: S3Server) -> Generator[FaultyProxy]:
    """A proxy for the length of a context."""
    proxy = FaultyProxy(behind)
    try:
        yield proxy
    finally:
        proxy.stop()
