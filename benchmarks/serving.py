"""How fast the API answers, beside what bounds it in the same run.

    python -m benchmarks.serving [--small] [--users 1000000] [--items 200000] [--sessions 1000000] [--seconds 4]

Releases of made-up data are written by the product's own writers. A server has one core and its client the other,
except for events, where two workers and the client share both. Servers that are compared run at once and are asked in
turn, round by round, so that a noisy machine is as unkind to each.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.report import table, write_section
from benchmarks.serving_apps import BODY
from benchmarks.serving_data import Size, file_sizes, publish_both
from benchmarks.serving_load import Load, Seen, Server, ask, get, post, serving
from benchmarks.serving_parts import cold_start, memory, parts_of, swapped
from recsys_assets.storage.objects import sha256_file
from recsys_assets.storage.releases import MANIFEST, POINTER, ROOT

_API, _BARE, _NO_STORAGE = (
    "benchmarks.serving_apps:quiet",
    "benchmarks.serving_apps:bare",
    "benchmarks.serving_apps:without_storage",
)
_LOGGED = "recsys_api.app:create_app"
_CLIENT_CORE, _CORE = 0, 1
_BUSY_USERS = 2000
"""Users with events, from id 0 on."""
_RATE, _SWAP_RATE, _SWAPS = 500.0, 300.0, 20
_FILTER = "price%20%3C%20100%20and%20available%20%3D%3D%20true"
_PACKAGES = ("fastapi", "starlette", "uvicorn", "granian", "uvloop", "httptools", "orjson", "numpy", "pyarrow")


@dataclass(frozen=True)
class Bench:
    """What is measured, and for how long.

    Attributes:
        folder: of all that is written.
        store: folder of the releases.
        size: of the releases.
        seconds: of each load and round.
        rounds: of each load.
    """

    folder: Path
    store: Path
    size: Size
    seconds: float
    rounds: int

    def env(self, name: str) -> Mapping[str, str]:
        """The settings of the API, with events of its own."""
        return {
            "RECSYS_EVENTS_URL": f"sqlite:///{self.events(name)}",
            "RECSYS_STORAGE_URI": self.store.as_uri(),
            "RECSYS_API_CACHE_DIR": str(self.copies),
            "RECSYS_API_OPEN_WRITES": "true",
            "RECSYS_API_EXPORT_SECONDS": "0",
            BODY: str(self.folder / "body"),
        }

    @property
    def copies(self) -> Path:
        """Where the API keeps its copies of releases."""
        return self.folder / "copies"

    def events(self, name: str) -> Path:
        """The file of events of a measurement."""
        return self.folder / name / "events.sqlite"

    def compare(self, loads: Mapping[str, tuple[Server, Load]]) -> Mapping[str, Seen]:
        """Ask in turn, round by round."""
        seen = {name: Seen() for name in loads}
        for _ in range(self.rounds):
            for name, (server, load) in loads.items():
                ask(server, load, self.seconds, seen[name])
        failed = {name: one.failed for name, one in seen.items() if one.failed}
        if failed:
            raise RuntimeError(f"answers that are not as they must be: {failed}")
        return seen


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, beside what, and the goal with whether it is reached."""

    what: str
    found: str
    beside: str
    ratio: str
    goal: str
    reached: bool | None

    def cells(self) -> Sequence[str]:
        """As text."""
        reached = "" if self.reached is None else "yes" if self.reached else "no"
        return self.what, self.found, self.beside, self.ratio, self.goal, reached


def answers(bench: Bench) -> tuple[list[Row], Mapping[str, float]]:
    """Stored and filtered recommendations by both servers, and blended ones at a steady rate by part."""
    with ExitStack() as stack:
        apis = {
            by: stack.enter_context(serving(_API, bench.folder, [_CORE], by=by, env=bench.env("answers")))
            for by in ("uvicorn", "granian")
        }
        body = _fetch(apis["uvicorn"], f"/recommendations/{_BUSY_USERS}?k=10")
        (bench.folder / "body").write_bytes(body)
        bares = {
            by: stack.enter_context(serving(_BARE, bench.folder, [_CORE], by=by, env=bench.env("bare"))) for by in apis
        }
        logged = stack.enter_context(serving(_LOGGED, bench.folder, [_CORE], by="recsys_api", env=bench.env("logged")))
        _post_history(apis["uvicorn"], bench.size)
        stored = Load(lambda: get(f"/recommendations/{random.randrange(_BUSY_USERS, bench.size.users)}?k=10"))
        filtered = replace(
            stored,
            request=lambda: get(
                f"/recommendations/{random.randrange(_BUSY_USERS, bench.size.users)}?k=10&filter={_FILTER}"
            ),
        )
        loads = {f"bare {by}": (bares[by], stored) for by in apis}
        loads |= {f"stored {by}": (apis[by], stored) for by in apis}
        loads["logged"] = (logged, stored)
        seen = bench.compare({**loads, "filtered": (apis["uvicorn"], filtered)})
        blended = Load(lambda: get(f"/recommendations/{random.randrange(_BUSY_USERS)}?k=10"), 32, _RATE)
        paced = ask(apis["uvicorn"], blended, bench.seconds * bench.rounds, Seen())
    parts = dict(parts_of(bench.store.as_uri(), bench.events("answers"), _BUSY_USERS))
    parts["a bare answer by uvicorn"] = seen["bare uvicorn"].cost
    rows = [_of_bare(by, seen[f"stored {by}"], seen[f"bare {by}"]) for by in apis]
    rows.append(
        _of_bare(
            "python -m recsys_api, with its limits and a log line per request", seen["logged"], seen["bare uvicorn"]
        )
    )
    faster = seen["stored granian"].rate / seen["stored uvicorn"].rate
    rows.append(
        Row("stored, granian beside uvicorn", _rate(seen["stored granian"]), _rate(seen["stored uvicorn"]),
            f"{faster:.2f}", "", None)
    )  # fmt: skip
    slower = seen["filtered"].cost / seen["stored uvicorn"].cost
    rows.append(
        Row(f"with a filter over {bench.size.items:,} items", f"{seen['filtered'].cost:.0f} µs",
            f"{seen['stored uvicorn'].cost:.0f} µs without", f"{slower:.2f}", "≤ 2", slower <= 2)
    )  # fmt: skip
    p90 = paced.quantile(90)
    p50, p90, p99 = map(paced.quantile, (50, 90, 99))
    reached = p90 <= 7 and not paced.failed
    blend = f"blended, {_RATE:.0f}/s ({paced.rate:.0f}/s reached)"
    rows.append(
        Row(blend, f"p90 {p90:.1f} ms", f"p50 {p50:.1f}, p99 {p99:.1f} ms", f"{p90 / 7:.2f}", "p90 ≤ 7 ms", reached)
    )
    return rows, parts


def _of_bare(by: str, api: Seen, bare: Seen) -> Row:
    ratio, tail = api.rate / bare.rate, api.quantile(99) / bare.quantile(99)
    found = f"{_rate(api)}, p99 {api.quantile(99):.2f} ms, {api.cost:.0f} µs"
    beside = f"bare ASGI {_rate(bare)}, p99 {bare.quantile(99):.2f} ms, {bare.cost:.0f} µs"
    reached = ratio >= 0.6 and tail <= 2
    return Row(f"stored, {by}", found, beside, f"{ratio:.2f}; p99 {tail:.1f}", "≥ 0.6; p99 ≤ 2", reached)


def events(bench: Bench) -> Row:
    """Durable events, one a request, by two workers."""

    def event() -> bytes:
        made = {
            "user_id": random.randrange(bench.size.users),
            "item_id": random.randrange(bench.size.items),
            "event_type": "view",
            "event_id": str(uuid.uuid4()),
        }
        return post("/events", json.dumps(made).encode())

    both = [_CLIENT_CORE, _CORE]
    with ExitStack() as stack:
        kept, taken = (
            stack.enter_context(serving(app, bench.folder, both, workers=2, env=bench.env(app.rpartition(":")[2])))
            for app in (_API, _NO_STORAGE)
        )
        load = Load(event, 32)
        seen = bench.compare({"kept": (kept, load), "taken": (taken, load)})
    ratio = seen["kept"].rate / seen["taken"].rate
    return Row("durable events, 32 clients, 2 workers", _rate(seen["kept"]), f"{_rate(seen['taken'])} without storage",
               f"{ratio:.2f}", "≥ 0.6; ≥ 5,000/s", ratio >= 0.6 and seen["kept"].rate >= 5000)  # fmt: skip


def start_and_memory(bench: Bench, release: Path) -> list[Row]:
    """Cold start, and the memory of two workers that have answered."""
    start, read = cold_start(bench.store.as_uri(), release, bench.folder, _CORE, bench.rounds)
    quiet = {**bench.env("memory"), "RECSYS_API_LOG": "quiet"}
    with serving(_LOGGED, bench.folder, [_CORE], workers=2, by="recsys_api", env=quiet) as server:
        load = Load(lambda: get(f"/recommendations/{random.randrange(bench.size.users)}?k=10"))
        ask(server, load, bench.seconds, Seen())
        mapped, private = memory(server, bench.copies)
    listed = file_sizes(release)["recommendations"] / 1e6
    per_million = listed * 1e6 / bench.size.users * 100 / bench.size.length / 1000
    return [
        Row("cold start", f"{start:.2f} s", f"{read:.2f} s to read and hash the files", f"{start / read:.2f}", "≤ 2",
            start <= 2 * read),
        Row(f"mapped, {bench.size.users:,} users × {bench.size.length}", f"{listed:.0f} MB of lists",
            f"{mapped:.0f} MB in all", f"{per_million / 0.9:.2f}", "≤ 0.9 GB per 1 M × 100", per_million <= 0.9),
        Row("private memory of a further worker", f"{private:.0f} MB", "", f"{private / 50:.2f}", "≤ 50 MB",
            private <= 50),
    ]  # fmt: skip


def swaps(bench: Bench, pointers: Sequence[bytes]) -> Row:
    """Swaps of the release under load."""
    with serving(_API, bench.folder, [_CORE], env={**bench.env("swaps"), "RECSYS_API_POLL_SECONDS": "0.2"}) as server:
        still = swapped(server, bench.store, pointers, bench.size.users, _SWAP_RATE, 0)
        moving = swapped(server, bench.store, pointers, bench.size.users, _SWAP_RATE, _SWAPS)
    tail = moving.quantile(99) / still.quantile(99)
    found = f"{len(moving.latencies):,} answers, {moving.failed} failed or mixed, p99 {moving.quantile(99):.2f} ms"
    return Row(f"{_SWAPS} swaps at {_SWAP_RATE:.0f}/s", found, f"p99 {still.quantile(99):.2f} ms without",
               f"p99 {tail:.1f}", "0 failed; p99 ≤ 2", moving.failed == 0 and tail <= 2)  # fmt: skip


def _fetch(server: Server, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", path)
    return connection.getresponse().read()


def _post_history(server: Server, size: Size) -> None:
    """Five views of each busy user."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for start in range(0, _BUSY_USERS, 100):
        views = [
            {"user_id": user, "item_id": random.randrange(size.items), "event_type": "view"}
            for user in range(start, start + 100)
            for _ in range(5)
        ]
        connection.request("POST", "/events", json.dumps(views), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.read().decode())
        response.read()


def _rate(seen: Seen) -> str:
    return f"{seen.rate:,.0f}/s"


def main() -> None:
    """Measure, print, and write the section."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--small", action="store_true", help="50,000 users, 20,000 items, 50,000 sessions")
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="folder of releases that is made if absent, and stays")
    parser.add_argument("--no-page", action="store_true", help="print only")
    parser.add_argument("--note", default="", help="what else the machine did")
    asked = parser.parse_args()
    sizes = (
        (50_000, asked.length, 20_000, 50_000)
        if asked.small
        else (asked.users, asked.length, asked.items, asked.sessions)
    )
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        bench = Bench(Path(name), asked.store or Path(name) / "store", Size(*sizes), asked.seconds, asked.rounds)
        second, pointers = _publish(bench)
        os.sched_setaffinity(0, [_CLIENT_CORE])
        rows, parts = answers(bench)
        rows += [events(bench), *start_and_memory(bench, bench.store / ROOT / second), swaps(bench, pointers)]
        os.sched_setaffinity(0, cores)
    head = ("what", "found", "beside", "ratio", "goal", "reached")
    by_part = table(("part of a blended answer", "µs"), [(part, f"{took:.0f}") for part, took in parts.items()])
    size = bench.size
    about = (
        f"{size.users:,} users × {size.length}, {size.items:,} items, {size.sessions:,} sessions; "
        f"{bench.rounds} rounds of {bench.seconds:.0f} s, 16 connections. {asked.note}"
    )
    text = f"{about}\n\n{table(head, [row.cells() for row in rows])}\n\n{by_part}"
    if asked.no_page:
        print(text)
    else:
        small = " --small" if asked.small else ""
        command = f"python -m benchmarks.serving{small} --seconds {asked.seconds:g} --rounds {asked.rounds}"
        write_section("serving", "Serving: the API", command, _PACKAGES, text)


def _publish(bench: Bench) -> tuple[str, list[bytes]]:
    """The id of the second release, and the pointers to both; the second is served."""
    pointer = bench.store / POINTER
    if not pointer.exists():
        publish_both(bench.store.as_uri(), bench.size)
    to_second = pointer.read_bytes()
    named = json.loads(to_second)
    first, second = str(named["previous"]), str(named["release_id"])
    digest = sha256_file(bench.store / ROOT / first / MANIFEST)
    return second, [json.dumps({**named, "release_id": first, "manifest_sha256": digest}).encode(), to_second]


if __name__ == "__main__":
    main()
