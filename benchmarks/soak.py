"""Does a platform that is up for an hour stay as it was after a minute?

    python -m benchmarks.soak [--minutes 60] [--rate 20]

``make run`` serves a small generated shop. Visitors ask for recommendations and post what they do, on
the newest day of the data. Every two minutes the API writes these events to the landing zone, the sensors of the
daemon start runs, and each ends in a release, which the API swaps in. So all parts of the loop work all the time.

Told are requests that failed, events that were acknowledged and did not come back, and the memory and open files of
each long-lived process: the slope after the warm-up with its 95 % interval (Theil and Sen). Memory is what the system
calls anonymous, what a process has asked for: pages of files that it has mapped, such as a release, come and go as the
system likes. Beside it runs a daemon of Dagster alone (:mod:`benchmarks.soak_control`).
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import numpy as np
import polars as pl
import psutil
from scipy.stats import theilslopes

from benchmarks import report
from benchmarks.home import make_run
from benchmarks.processes import memory_of
from benchmarks.soak_control import control
from recsys_assets.cli.progress import Progress
from recsys_assets.cli.services import Service
from recsys_assets.sample.regimes.world import START
from recsys_assets.sample.regimes.write import REGIMES, write_regime

SHOP = "tiny"
EXPORT_SECONDS, LOOK_SECONDS, CLIENTS = 120, 10, 4
WARM = 0.25
"""Share of the time that counts as warm-up: caches fill, allocators find their size."""
FLAT = 0.05
"""Growth of memory an hour, as a share, that counts as flat."""
ROLES = {"recsys_api": "API", "daemon": "daemon", "webserver": "webserver", "code server": "code server"}


@dataclass
class Traffic:
    """What visitors did and were answered."""

    asked: int = 0
    failed: list[str] = field(default_factory=list[str])
    acknowledged: set[str] = field(default_factory=set[str])
    releases: set[str] = field(default_factory=set[str])
    seconds: list[float] = field(default_factory=list[float])


@dataclass
class Watched:
    """Looks at one process: moments in hours, anonymous memory in MiB, and open files."""

    hours: list[float] = field(default_factory=list[float])
    memory: list[float] = field(default_factory=list[float])
    files: list[int] = field(default_factory=list[int])


def visit(
    port: int, users: Sequence[int], items: Sequence[int], rate: float, stop: threading.Event, told: Traffic
) -> None:
    """One client: asks ``rate`` times a second, and posts an event after each answer, until it is stopped."""
    luck, end = random.Random(), START + timedelta(days=REGIMES[SHOP].make(0).days)
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    while not stop.wait(1 / rate):
        user, item, name = luck.choice(users), luck.choice(items), str(uuid4())
        ts = end - timedelta(seconds=luck.randrange(1, 86_400))
        event = {"event_id": name, "user_id": user, "item_id": item, "event_type": "view", "ts": ts.isoformat()}
        try:
            begun = time.perf_counter()
            answer = _answer(connection, "GET", f"/recommendations/{user}?k=10")
            told.seconds.append(time.perf_counter() - begun)
            told.releases.add(answer["release_id"])
            if not answer["items"]:
                told.failed.append(f"{user}: no items")
            _answer(connection, "POST", "/events", json.dumps(event))
            told.acknowledged.add(name)
        except (OSError, HTTPException, ValueError) as error:
            told.failed.append(f"{type(error).__name__}: {error}")
            connection.close()
        told.asked += 1


def _answer(connection: HTTPConnection, method: str, path: str, body: str | None = None) -> Mapping[str, Any]:
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise ValueError(f"{method} {path}: {response.status} {content[:200]!r}")
    return json.loads(content)


def look(
    service: Service, of: str, begun: float, seen: Mapping[int, tuple[str, Watched]]
) -> dict[int, tuple[str, Watched]]:
    """Look at the long-lived processes of a service; those of runs come and go and are left out."""
    found, first = dict(seen), psutil.Process(service.pid)
    for process in [first, *first.children(recursive=True)]:
        with suppress(psutil.Error):
            if (role := _role(process.cmdline())) is None:
                continue
            _, watched = found.setdefault(process.pid, (f"{of}{role}", Watched()))
            watched.memory.append(memory_of(process.pid, "Anonymous"))
            watched.files.append(process.num_fds())
            watched.hours.append((time.monotonic() - begun) / 3600)
    return found


def _role(command: Sequence[str]) -> str | None:
    line = " ".join(command)
    if "execute_run" in line or "guard.py" in line:
        return None
    if "api grpc" in line:
        return "code server"
    return next((role for mark, role in ROLES.items() if mark in line), None)


def came_back(landing: Path) -> set[str]:
    """Ids of the events that the API wrote to the landing zone."""
    ids: set[str] = set()
    for file in (landing / "served").glob("events-*.jsonl.gz"):
        ids.update(json.loads(line)["event_id"] for line in gzip.decompress(file.read_bytes()).splitlines())
    return ids


def soak(
    folder: Path, minutes: float, rate: float, progress: Progress
) -> tuple[Traffic, dict[int, tuple[str, Watched]], int]:
    """Let the platform work; what visitors saw, what processes took, and how many acknowledged events were lost."""
    told, stop = Traffic(), threading.Event()
    landing = folder / "landing"
    write_regime(SHOP, landing)
    variables = {
        "RECSYS_API_EXPORT_SECONDS": str(EXPORT_SECONDS),
        "RECSYS_EVENTS_RETENTION_DAYS": "3650",  # the shop is of 2025
    }
    with make_run(folder, str(landing / "dataset.toml"), **variables) as service, control(folder / "control") as alone:
        events = pl.read_csv(landing / "events.csv")
        users, items = events["user"].unique().to_list(), events["item"].unique().to_list()
        arguments = (int(service.url.rpartition(":")[2]), users, items, rate / CLIENTS, stop, told)
        clients = [threading.Thread(target=visit, args=arguments, daemon=True) for _ in range(CLIENTS)]
        begun, seen = time.monotonic(), dict[int, tuple[str, Watched]]()
        for client in clients:
            client.start()
        for looks in range(1, round(minutes * 60 / LOOK_SECONDS) + 1):
            time.sleep(max(0.0, begun + looks * LOOK_SECONDS - time.monotonic()))
            seen = look(alone, "Dagster alone: ", begun, look(service, "", begun, seen))
            if looks % 30 == 0:
                progress.note(f"{told.asked:,} answers, {len(told.failed)} failed, {len(told.releases)} releases")
        stop.set()
        for client in clients:
            client.join()
        deadline = time.monotonic() + 3 * EXPORT_SECONDS
        while (lost := len(told.acknowledged - came_back(landing))) and time.monotonic() < deadline:
            time.sleep(5)
    return told, seen, lost


def describe(told: Traffic, seen: Mapping[int, tuple[str, Watched]], lost: int, minutes: float) -> tuple[str, bool]:
    """The page, and whether all is flat and nothing failed or was lost."""
    rows: list[list[str]] = []
    flat, numbers = True, defaultdict[str, int](int)
    for _, (role, watched) in sorted(seen.items(), key=lambda one: (one[1][0], one[0])):
        if watched.hours[-1] - watched.hours[0] < minutes / 60 / 2:
            continue  # a process of a moment
        numbers[role] += 1
        warm = int(len(watched.hours) * WARM)
        hours, memory = np.array(watched.hours[warm:]), np.array(watched.memory[warm:])
        slope, _, low, high = cast("tuple[float, ...]", theilslopes(memory, hours, 0.95))
        flat &= low <= FLAT * float(memory[0]) or role.startswith("Dagster alone")
        rows.append([
            f"{role} {numbers[role]}", f"{memory[0]:.0f}", f"{memory[-1]:.0f}", f"{memory.max():.0f}",
            f"{slope:+.1f} [{low:+.1f}, {high:+.1f}]", f"{watched.files[warm]}", f"{watched.files[-1]}",
        ])  # fmt: skip
    p50, p99 = (1000 * float(np.percentile(told.seconds, at)) for at in (50, 99))
    head = [
        "process",
        "MiB after the warm-up",
        "at the end",
        "most",
        "MiB an hour",
        "open files after it",
        "at the end",
    ]
    text = f"""\
{minutes:g} minutes: {told.asked:,} answers, {len(told.failed)} failed; {len(told.acknowledged):,} events acknowledged,
{lost} of them lost; {len(told.releases)} releases were served. Beside the runs on both cores, an answer took
{p50:.1f} ms (median; 99th percentile {p99:.1f} ms).

{report.table(head, rows)}"""
    return text, flat and not told.failed and not lost and len(told.releases) > 1


def main() -> None:
    """Soak, write the page; exit 1 where a request failed, an event was lost, or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20, help="answers a second; an event is posted after each")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="recsys-soak-"))
    told, seen, lost = soak(folder, asked.minutes, asked.rate, Progress())
    text, held = describe(told, seen, lost, asked.minutes)
    sys.stdout.write("".join(f"{fault}\n" for fault in told.failed[:20]))
    command = f"python -m benchmarks.soak --minutes {asked.minutes:g} --rate {asked.rate:g}"
    report.write_section("soak", "Soak", command, ["dagster", "uvicorn"], text)
    if not held:
        sys.stdout.write(f"not held; everything is kept in {folder}\n")
        raise SystemExit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
