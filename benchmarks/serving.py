"""How fast the API answers: one worker over a release of a million users, beside a bare FastAPI route in the same run.

    python -m benchmarks.serving [--users 1000000] [--seconds 4] [--rounds 3] [--connections 16]

A closed loop over keep-alive connections asks the servers in turn, round by round, so that a noisy machine is as unkind
to each. Latency includes the wait behind the other connections of the loop. CPU time of the server per request says
more on a shared machine than requests/s do. Prints a markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from fastapi import FastAPI

from recsys_assets.storage.lists import RankedLists, write_lists
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store

K = 10


def hello() -> FastAPI:
    """The bare application that the API is measured against."""
    app = FastAPI()

    @app.get("/hello")
    async def greet() -> dict[str, str]:
        return {"message": "hello"}

    return app


@dataclass
class Target:
    """What is asked, and what was measured."""

    name: str
    pid: int
    port: int
    url: Callable[[], str]
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Client(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it was answered."""

    def __init__(self, target: Target, until: float, done: asyncio.Future[None]) -> None:
        self.target, self.until, self.done = target, until, done
        self.buffer = b""
        self.asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Send the next request."""
        self.asked_at = time.perf_counter()
        request = f"GET {self.target.url()} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        """Take a piece of an answer; when it is whole, note the time and go on."""
        self.buffer += data
        head, separator, body = self.buffer.partition(b"\r\n\r\n")
        if not separator or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(f"{self.target.name}: {self.buffer!r}"))
            return
        self.buffer = b""
        now = time.perf_counter()
        self.target.latencies.append(now - self.asked_at)
        if now < self.until:
            self.ask()
        else:
            self.transport.close()
            self.done.set_result(None)


async def load(target: Target, seconds: float, connections: int) -> None:
    """Ask for some seconds over some connections."""
    loop = asyncio.get_running_loop()
    cpu = cpu_seconds(target.pid)
    started = time.perf_counter()
    ends = [loop.create_future() for _ in range(connections)]
    for end in ends:
        await loop.create_connection(lambda end=end: Client(target, started + seconds, end), "127.0.0.1", target.port)
    await asyncio.gather(*ends)
    target.seconds += time.perf_counter() - started
    target.cpu_seconds += cpu_seconds(target.pid) - cpu


def publish(folder: Path, users: int) -> str:
    """A release with ``K`` recommendations for each user; returns the store's URI."""
    rng = np.random.default_rng(0)
    ranks = np.tile(np.arange(1, K + 1), users)
    items = rng.integers(0, 100_000, users * K)
    rows = {
        "rank": ranks,
        "item_id": items,
        "score": 1 / ranks,
        "source": pa.array(["ranker"]).take(pa.array(ranks * 0)),
    }

    recommendations = pa.table({"key": np.repeat(np.arange(users), K), **rows})
    similar = recommendations[: K * min(users, 100_000)]
    popular = recommendations[:K].drop_columns(["key", "source"]).append_column("key", pa.array(["all"] * K))
    files = [
        *write_lists(recommendations, "key", "recommendations", folder),
        *write_lists(similar, "key", "similar_items", folder),
        *write_lists(popular, "key", "top_popular", folder),
    ]
    uri = (folder / "store").as_uri()
    facts = {"ids": {"user": "int64", "item": "int64"}}
    Releases(open_store(uri)).publish("2015-08-02", {path.name: path for path in files}, facts)
    for path in files:
        path.unlink()
    return uri


@contextmanager
def server(factory: str, folder: Path, **env: str) -> Generator[tuple[int, int]]:
    """One uvicorn worker; yields its process id and port."""
    log = folder / f"{factory.replace(':', '-')}.log"
    options = ["--port", "0", "--no-access-log"]
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--factory", factory, *options],
            stdout=sink,
            stderr=sink,
            env={**os.environ, **env},
        )
    try:
        wanted = ["running on", "serving release"] if env else ["running on"]
        deadline = time.monotonic() + 120
        while not all(text in log.read_text() for text in wanted):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.1)
        port = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
        assert port  # noqa: S101
        yield process.pid, int(port[1])
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[float, float]:
    """Resident MB of a process: its own, and with pages of mapped files, which all processes share."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) / 1024, int(status["VmRSS"].split()[0]) / 1024


def look_up(folder: Path, users: int) -> float:
    """CPU microseconds of one look-up without HTTP."""
    lists = RankedLists.open(next((folder / "store").rglob("recommendations.keys.arrow")).parent, "recommendations")
    keys = [random.randrange(users) for _ in range(20_000)]
    started = time.process_time()
    for key in keys:
        lists.get(key, K)
    return (time.process_time() - started) / len(keys) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serving-") as name, ExitStack() as stack:
        folder = Path(name)
        uri = publish(folder, asked.users)
        size = sum(path.stat().st_size for path in folder.rglob("*.arrow")) / 1e6
        bare_pid, bare_port = stack.enter_context(server("benchmarks.serving:hello", folder))
        api_pid, api_port = stack.enter_context(server("recsys_api.app:create_app", folder, RECSYS_STORAGE_URI=uri))
        targets = [
            Target("bare FastAPI route", bare_pid, bare_port, lambda: "/hello"),
            Target("known user", api_pid, api_port, lambda: f"/recommendations/{random.randrange(asked.users)}?k={K}"),
            Target(
                "unknown user", api_pid, api_port, lambda: f"/recommendations/-{random.randrange(1, asked.users)}?k={K}"
            ),
            Target(
                "similar items",
                api_pid,
                api_port,
                lambda: f"/similar/{random.randrange(min(asked.users, 100_000))}?k={K}",
            ),
        ]
        before = memory(api_pid)
        for _ in range(asked.rounds):
            for target in targets:
                asyncio.run(load(target, asked.seconds, asked.connections))
        after, bare = memory(api_pid), memory(bare_pid)
        print(f"{asked.users:,} users x {K}, files of {size:.0f} MB, {asked.connections} connections, one worker\n")
        print("| request | requests/s | of the bare route | p50 ms | p99 ms | CPU µs a request | of the bare route |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        rates = [len(target.latencies) / target.seconds for target in targets]
        costs = [target.cpu_seconds / len(target.latencies) * 1e6 for target in targets]
        for target, rate, cost in zip(targets, rates, costs, strict=True):
            p50, p99 = np.percentile(target.latencies, [50, 99]) * 1000
            print(
                f"| {target.name} | {rate:,.0f} | {rate / rates[0]:.2f} | {p50:.2f} | {p99:.2f} "
                f"| {cost:.0f} | {cost / costs[0]:.2f} |"
            )
        print(f"\nOne look-up without HTTP: CPU {look_up(folder, asked.users):.1f} µs.")
        print("Resident memory, own / with shared pages of mapped files:")
        print(f"{before[0]:.0f} / {before[1]:.0f} MB after start, {after[0]:.0f} / {after[1]:.0f} MB after the load;")
        print(f"the bare application {bare[0]:.0f} / {bare[1]:.0f} MB.")


if __name__ == "__main__":
    main()
