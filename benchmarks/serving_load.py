"""Servers as processes of their own on a core of their own, and clients that ask them over keep-alive connections."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

_START_SECONDS = 180
_LOOKS = 20


@dataclass
class Seen:
    """What clients saw of a server.

    Attributes:
        latencies: seconds, of each answer.
        seconds: that the load lasted.
        cpu: seconds that the server computed.
        failed: answers that were not 200 or that the check refused.
    """

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds that the server computed for an answer."""
        return 1e6 * self.cpu / len(self.latencies)

    def quantile(self, percent: float) -> float:
        """Milliseconds within which so many percent of the answers came."""
        return 1000 * float(np.percentile(self.latencies, percent))


@dataclass(frozen=True)
class Server:
    """A running server: the process that was started, those that answer, and where."""

    process: int
    workers: Sequence[int]
    port: int


@dataclass(frozen=True)
class Load:
    """What is asked.

    Attributes:
        request: the next request, as bytes.
        connections: that are open at once.
        rate: requests per second, whether or not earlier ones are answered; None: each connection asks again as soon
            as it was answered.
        good: whether a body is right; None: any is.
        ended: whether the load may end before its time.
    """

    request: Callable[[], bytes]
    connections: int = 16
    rate: float | None = None
    good: Callable[[bytes], bool] | None = None
    ended: Callable[[], bool] | None = None


def get(path: str) -> bytes:
    """A request for a path."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """A request that posts JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection, which has one request at a time."""

    def __init__(
        self, answered: Callable[[_Connection, bytes, bytes], None], lost: Callable[[Exception | None], None]
    ) -> None:
        self._answered, self._lost = answered, lost
        self._buffer = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self.transport = cast(asyncio.WriteTransport, transport)  # uvloop's has another base class

    def connection_lost(self, exc: Exception | None) -> None:
        """End the load: a server that hangs up answers no more."""
        self._lost(exc)

    def ask(self, request: bytes, due: float) -> None:
        """Send a request, which should have been sent at ``due``."""
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer; once it is whole, hand it over."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if separator and len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]):
            self._buffer = b""
            self._answered(self, head, body)


async def _run(port: int, load: Load, seconds: float, seen: Seen) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    idle: list[_Connection] = []
    clock = time.perf_counter
    period = 1.0 / load.rate if load.rate else 0.0

    def answered(connection: _Connection, head: bytes, body: bytes) -> None:
        now = clock()
        seen.latencies.append(now - connection.due)
        if not head.startswith(b"HTTP/1.1 200") or (load.good is not None and not load.good(body)):
            seen.failed += 1
        following(connection, now)

    def following(connection: _Connection, now: float) -> None:
        nonlocal due
        if now >= until or (load.ended is not None and load.ended()):
            idle.append(connection)
            if len(idle) == load.connections and not done.done():
                done.set_result(None)
        elif not period:
            connection.ask(load.request(), now)
        elif due <= now:
            connection.ask(load.request(), due)
            due += period
        else:
            moment, due = due, due + period
            loop.call_at(loop.time() + moment - now, connection.ask, load.request(), moment)

    def lost(error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error or ConnectionError("the server has closed a connection"))

    made = [
        await loop.create_connection(lambda: _Connection(answered, lost), "127.0.0.1", port)
        for _ in range(load.connections)
    ]
    due = started = clock()
    until = started + seconds
    for _, connection in made:
        following(connection, clock())
    await done
    seen.seconds += clock() - started
    for transport, _ in made:
        transport.close()


def ask(server: Server, load: Load, seconds: float, seen: Seen) -> Seen:
    """Ask a server for some seconds, and add what is seen."""
    before = sum(map(cpu_seconds, server.workers))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server.port, load, seconds, seen))
    seen.cpu += sum(map(cpu_seconds, server.workers)) - before
    return seen


@contextmanager
def serving(
    app: str,
    folder: Path,
    cores: Sequence[int],
    *,
    workers: int = 1,
    by: str = "uvicorn",
    looks: int = _LOOKS,
    env: Mapping[str, str],
) -> Generator[Server]:
    """Run an application until the context ends; it begins once every worker is ready.

    Args:
        app: factory, ``module:function``.
        folder: of the log.
        cores: of the processes.
        workers: processes that answer.
        by: ``uvicorn`` or ``granian``; ``recsys_api`` is the API as people start it, whatever the factory.
        looks: how often in a row a server of one worker must say that it is ready; several take turns.
        env: of the processes, besides that of this one.
    """
    port = _free_port()
    options = {
        "uvicorn": ["--no-access-log", "--log-level", "warning"],
        "granian": ["--interface", "asgi", "--loop", "uvloop", "--no-ws", "--log-level", "warning"],
        "recsys_api": [],
    }[by]
    what = [] if by == "recsys_api" else ["--factory", app]
    command = [sys.executable, "-m", by, *what, "--port", str(port), "--workers", str(workers), *options]
    log = folder / f"{app.replace(':', '-')}-{by}.log"
    with log.open("w") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, **env})
    os.sched_setaffinity(process.pid, cores)
    try:
        deadline, ready = time.monotonic() + _START_SECONDS, 0
        while ready < looks * workers:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            ready = ready + 1 if is_ready(port) else 0
            time.sleep(0.001 if ready else 0.01)
        answering = _workers(process.pid)
        yield Server(process.pid, answering or [process.pid], port)
    finally:
        process.terminate()
        process.wait()


def is_ready(port: int) -> bool:
    """Whether a worker answers that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in found for child in task.read_text().split()]


def _workers(pid: int) -> list[int]:
    """The processes of a server that answer: its children, or those of the one that forks them."""
    started = [child for child in children(pid) if b"resource_tracker" not in _command(child)]
    return [
        worker for child in started for worker in (children(child) if b"forkserver" in _command(child) else [child])
    ]


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
