"""Replicas of the API behind nginx, on one PostgreSQL: what a further one brings, and where the store of events ends.

    python -m benchmarks.replicas [--seconds 3] [--rounds 3]

Client, nginx, replicas and PostgreSQL share the machine. Rates are those of all of them together; what each of them
computes for a request says which would be the first to be short of cores on machines of their own. Needs nginx and
PostgreSQL of Debian.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg2

from benchmarks.processes import cpu_of
from benchmarks.report import busy, table, write_section
from benchmarks.serving_data import Size, publish_both
from benchmarks.serving_load import Load, Seen, Server, ask, get, post
from recsys_api.events.event import Event, now_micros
from recsys_api.events.postgres import PostgresEvents
from recsys_api.events.store import Limits
from recsys_assets_tests.postgres_server import create_database, postgres_server
from recsys_assets_tests.stack.replicas import nginx_before, replicas_of

_COUNTS = (1, 2, 3)
_SIZE = Size(users=100_000, length=100, items=50_000, sessions=100_000)
_BUSY_USERS = 1000
"""Users with events, from id 0 on."""
_CONNECTIONS = 32
_BATCH = 100
_PARTS = ("replicas", "PostgreSQL", "nginx")
_NGINX = "keepalive_requests 1000000000; keepalive_timeout 300s;"


@dataclass
class Cost:
    """What was seen of a load, and the CPU seconds of each part meanwhile."""

    seen: Seen = field(default_factory=Seen)
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_PARTS, 0.0))

    def micros(self, part: str, each: int = 1) -> float:
        """Microseconds for one unit, of which an answer has ``each``."""
        return 1e6 * self.cpu[part] / len(self.seen.latencies) / each


def event(user: int) -> Mapping[str, object]:
    """A view."""
    made = {"user_id": user, "item_id": random.randrange(_SIZE.items), "event_type": "view"}
    return {**made, "event_id": str(uuid.uuid4())}


def posted(count: int, first: int = 0) -> bytes:
    """A request with events of users who are not asked for afterwards, or of users from ``first`` on."""
    users = range(first, first + count) if first else [random.randrange(_SIZE.users, 10**9) for _ in range(count)]
    return post("/events", json.dumps([event(user) for user in users]).encode())


def asked(low: int, high: int) -> Callable[[], bytes]:
    """Requests for lists of users."""
    return lambda: get(f"/recommendations/{random.randrange(low, high)}?k=10")


LOADS = {
    "event": Load(lambda: posted(1), _CONNECTIONS),
    "batch": Load(lambda: posted(_BATCH), _CONNECTIONS),
    "stored": Load(asked(_BUSY_USERS, _SIZE.users), _CONNECTIONS),
    "blended": Load(asked(1, _BUSY_USERS), _CONNECTIONS),
}


def measure(seconds: float, rounds: int) -> tuple[dict[tuple[int, str], Cost], dict[int, float]]:
    """Each load on each number of replicas, in turn; and what the store takes from one process without HTTP."""
    with ExitStack() as until:
        folder = Path(until.enter_context(tempfile.TemporaryDirectory(prefix="replicas-")))
        password = uuid.uuid4().hex
        url = create_database(until.enter_context(postgres_server(password)), password, "events")
        store = (folder / "store").as_uri()
        publish_both(store, _SIZE)
        settings = {
            "RECSYS_STORAGE_URI": store,
            "RECSYS_EVENTS_URL": url,
            "RECSYS_API_OPEN_WRITES": "true",
            "RECSYS_API_EXPORT_SECONDS": "0",
            "RECSYS_API_LOG": "quiet",
        }
        replicas = until.enter_context(replicas_of(folder, max(_COUNTS), settings))
        fronts = {n: until.enter_context(nginx_before(replicas[:n], folder / f"nginx-{n}", _NGINX)) for n in _COUNTS}
        servers = {n: Server(one.pid, [], int(one.url.rpartition(":")[2])) for n, one in fronts.items()}
        for _ in range(3):
            first = Load(lambda: posted(_BUSY_USERS - 1, 1), 1, ended=lambda: True)
            ask(servers[1], first, seconds, Seen())
        database = postmaster(url)
        found: dict[tuple[int, str], Cost] = {}
        for _ in range(rounds):
            for name, load in LOADS.items():
                for n, server in servers.items():
                    cost = found.setdefault((n, name), Cost())
                    roots = {
                        "replicas": [r.pid for r in replicas[:n]],
                        "PostgreSQL": [database],
                        "nginx": [server.process],
                    }
                    before = {part: cpu_of(pids) for part, pids in roots.items()}
                    ask(server, load, seconds, cost.seen)
                    for part, pids in roots.items():
                        cost.cpu[part] += cpu_of(pids) - before[part]
        if failed := {key: cost.seen.failed for key, cost in found.items() if cost.seen.failed}:
            raise RuntimeError(f"answers that are not as they must be: {failed}")
        alone = {each: asyncio.run(store_alone(url, each, seconds)) for each in (1, _BATCH)}
        return found, alone


def postmaster(url: str) -> int:
    """The first process of PostgreSQL."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        ((backend,),) = cursor.fetchall()
    parent = psutil.Process(backend).ppid()
    connection.close()
    return parent


async def store_alone(url: str, each: int, seconds: float) -> float:
    """Events a second that one process stores, which does nothing else."""
    store = await PostgresEvents.open(url, Limits())
    stored, until = 0, time.perf_counter() + seconds

    async def add() -> None:
        nonlocal stored
        while time.perf_counter() < until:
            now = now_micros()
            made = [Event(uuid.uuid4().hex, random.randrange(10**9), 1, "view", now) for _ in range(each)]
            await store.add(made)
            stored += each

    began = time.perf_counter()
    await asyncio.gather(*(add() for _ in range(_CONNECTIONS)))
    took = time.perf_counter() - began
    await store.close()
    return stored / took


WORDS = {
    "event": ("events, one a request", "events", 1),
    "batch": (f"events, {_BATCH} a request", "events", _BATCH),
    "stored": ("answers to users without events", "answers", 1),
    "blended": ("answers to users with three events", "answers", 1),
}
"""Of each load: what it is called, what is counted, and how many of that a request has."""


def text_of(
    found: Mapping[tuple[int, str], Cost], alone: Mapping[int, float], seconds: float, rounds: int, before: str
) -> str:
    """The section."""
    rows: list[list[str]] = []
    ends: list[list[str]] = []
    for name, (title, unit, each) in WORDS.items():
        base = found[1, name].seen.rate
        for count in _COUNTS:
            cost = found[count, name]
            seen = cost.seen
            parts = [f"{cost.micros(part, each):.0f}" for part in _PARTS]
            rate = f"{seen.rate * each:,.0f} {unit}/s"
            rows.append([title, str(count), rate, f"{seen.rate / base:.2f}", f"{seen.quantile(99):.0f}", *parts])
        last = found[max(_COUNTS), name]
        replica, database = last.micros("replicas", each), last.micros("PostgreSQL", each)
        ends.append([title, f"{1e6 / replica:,.0f}", f"{1e6 / database:,.0f}", f"{replica / database:.1f}"])
    head = ["what is asked", "replicas", "rate", "beside one", "p99, ms", *(f"{part}, µs" for part in _PARTS)]
    of_cores = [
        "a core of its own",
        "of a replica, a second",
        "of PostgreSQL, a second",
        "replicas that fill PostgreSQL's",
    ]
    size = f"{_SIZE.users:,} users × {_SIZE.length}, {_SIZE.items:,} items"
    return f"""{size}; replicas of one worker, {_CONNECTIONS} connections to nginx with
`docker/nginx/api.conf`; {rounds} rounds of {seconds:g} s each, in turn. PostgreSQL commits to disk. µs are CPU time
for an event or an answer, of all replicas together. {before}

{table(head, rows)}

Client, nginx, PostgreSQL and replicas share the cores. So "beside one" says what a further replica brings on this
machine, which has no core left for it. What each part computes says how far it goes on cores of its own:

{table(of_cores, ends)}

The store alone, from one process without HTTP and {_CONNECTIONS} callers: {alone[1]:,.0f} events a second one by one,
{alone[_BATCH]:,.0f} in calls of {_BATCH}."""


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load and round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each load (default: %(default)s)")
    given = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("RECSYS_", "PG"))]:
        del os.environ[name]
    before = busy()
    found, alone = measure(given.seconds, given.rounds)
    command = f"python -m benchmarks.replicas --seconds {given.seconds:g} --rounds {given.rounds}"
    packages = ("fastapi", "uvicorn", "asyncpg")
    text = text_of(found, alone, given.seconds, given.rounds, before)
    write_section("replicas", "Replicas of the API on one PostgreSQL", command, packages, text)


if __name__ == "__main__":
    main()
