"""Clients that are too slow, too many or too talkative, over real sockets: each is closed, and others are answered."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from recsys_api import connections
from recsys_api.connections import Connections
from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.api.test_metrics import by, samples
from recsys_assets_tests.api.test_server import Server, running

pytestmark = pytest.mark.faults

CONTENT = Content({0: [1, 2]}, {1: [2]}, {"all": [1]})
LIMITS = {
    "RECSYS_API_HEADER_SECONDS": "1",
    "RECSYS_API_BODY_SECONDS": "1",
    "RECSYS_API_IDLE_SECONDS": "1",
    "RECSYS_API_OPEN_WRITES": "true",
    "RECSYS_API_MAX_CLIENT_CONNECTIONS": "600",
}
POST = b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("connections")
    uri = (folder / "store").as_uri()
    publish(uri, "2015-08-02", CONTENT)
    with running(folder, uri, **LIMITS) as server:
        eventually(lambda: server.get("/health/ready")[0] == 200)
        yield server


def connect(server: Server, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 60, (source, 0))


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the server has closed the connection."""
    received = b""
    try:
        while part := connection.recv(1 << 16):
            received += part
    except ConnectionResetError:
        pass
    return received


def closed(server: Server) -> dict[tuple[str, ...], float]:
    connection = server.connect()
    connection.request("GET", "/metrics")
    return by(samples(connection.getresponse().read().decode()), "recsys_connections_closed_total", "reason")


def test_five_hundred_connections_that_never_end_their_headers_are_closed(server: Server) -> None:
    before = closed(server).get(("late_head",), 0)
    begun = [b"GET /recommendations/0 HTTP/1.1\r\nHost: x\r\nX-A: ", b"G", b"\r\n", b""]
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server)) for _ in range(500)]
        for number, connection in enumerate(slow):
            connection.sendall(begun[number % len(begun)])
        assert server.get("/recommendations/0")[0] == 200, "others are answered meanwhile"
        for connection in slow[::4]:
            connection.sendall(b"a")  # a byte now and then gains no time
        for connection in slow:
            assert rest_of(connection).startswith(b"HTTP/1.1 408 ")
    assert closed(server)[("late_head",)] == before + 500


@pytest.mark.parametrize("sent", [b"", b'{"user_id": 1', b"x" * 99])
def test_a_body_that_does_not_arrive_is_not_waited_for(server: Server, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(POST + sent)
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 408


def test_a_connection_that_asks_nothing_more_is_closed(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert rest_of(connection).endswith(b'{"status":"alive"}')
    with connect(server) as connection:  # nor does an empty line keep it open
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"alive"}'):
            answer += connection.recv(1 << 16)
        connection.sendall(b"\r\n")
        assert rest_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_header_without_end_takes_no_memory(server: Server) -> None:
    def peak() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    before, sent = peak(), 0
    with connect(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-A: ")
        part = b"a" * (1 << 20)
        try:
            while sent < 220 << 20:
                connection.sendall(part)
                sent += len(part)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert sent < 50 << 20, "it is not read to its end"
    assert peak() - before < 20 * 1024
    assert closed(server)[("long_head",)] >= 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /recommendations/0?filter=" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 1000) for n in range(70)) + b"\r\n",
    ],
)
def test_a_long_head_is_refused_also_if_it_arrives_at_once(server: Server, head: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(head)
        answer = rest_of(connection)
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # a reset may overtake the answer
    with connect(server) as connection:  # a short head with a long body is none
        body = json.dumps([{"user_id": n, "item_id": n, "event_type": "view"} for n in range(900)]).encode()
        connection.sendall(POST.replace(b"100", b"%d" % (3 * len(body))) + body + b" " * len(body) * 2)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_reads_no_answers_is_closed(server: Server) -> None:
    before = closed(server).get(("slow_reader",), 0)
    with connect(server) as connection:
        connection.settimeout(0.2)
        try:
            for _ in range(3000):
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
        except TimeoutError:
            pass  # the server reads no more either
        eventually(lambda: closed(server).get(("slow_reader",), 0) > before)


def test_connections_are_limited_by_address_and_in_all(tmp_path: Path) -> None:
    uri = (tmp_path / "store").as_uri()
    publish(uri, "2015-08-02", CONTENT)
    limits = {"RECSYS_API_MAX_CONNECTIONS": "30", "RECSYS_API_MAX_CLIENT_CONNECTIONS": "12"}
    with running(tmp_path, uri, **limits) as server, ExitStack() as stack:
        eventually(lambda: server.get("/health/ready")[0] == 200)

        def refused(connection: socket.socket) -> bytes:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                answer = connection.recv(1 << 16)
            except ConnectionResetError:
                return b"reset"
            return b"" if answer.startswith(b"HTTP/1.1 200 ") else answer

        def full(source: str) -> list[bytes]:
            """Connect until one is refused; returns the answers to those that are."""
            while True:
                connection = stack.enter_context(connect(server, source))
                if answer := refused(connection):
                    return [answer]

        first = full("127.0.0.1")
        assert b"one address" in first[0] or first == [b"reset"]
        assert not refused(stack.enter_context(connect(server, "127.0.0.2"))), "others are answered"
        full("127.0.0.2")
        assert b"too many connections" in (last := full("127.0.0.3"))[0] or last == [b"reset"]
        stack.close()
        eventually(lambda: server.get("/health/live")[0] == 200)
        seen = closed(server)
        assert seen[("too_many_of_client",)] >= 2
        assert seen[("too_many",)] >= 1


def test_limits_stay_below_the_number_of_files_and_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((resource.RLIM_INFINITY, 4000), (1_000_000, 4000), (1024, 824), (256, 128)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda _, files=files: (files, files))
        limits = Connections.of(Settings(storage_uri="/s"))
        assert limits.most == most
        assert limits.most_of_client == min(1000, most * 3 // 4)
