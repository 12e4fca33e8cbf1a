"""What a blended answer costs by part, in process; and the memory of workers, start and swaps of releases."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import orjson

from benchmarks.serving_load import Load, Seen, Server, ask, get, serving
from recsys_api.composing import Wanted, compose
from recsys_api.copies import Copies
from recsys_api.events.event import now_micros
from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import Limits
from recsys_api.gathering import DEPTH
from recsys_api.snapshot import load_snapshot
from recsys_api.visitor import Visitor
from recsys_assets.storage.releases import POINTER, Releases
from recsys_assets.storage.uri import open_store

T = TypeVar("T")
_ASKED = 500
_SWAP_SECONDS = 180.0


async def blended_parts(store: str, events: Path, users: int) -> Mapping[str, float]:
    """Microseconds of each part of a blended answer, in process.

    Args:
        store: URI of the releases.
        events: the file of the store of events.
        users: those with the ids from 0 on have events.
    """
    objects = open_store(store)
    pointer = Releases(objects).current()
    assert pointer is not None  # noqa: S101
    snapshot = load_snapshot(objects, pointer, Copies(events.parent / "copies"))
    known = await SqliteEvents.open(events, Limits())
    asked = [random.randrange(users) for _ in range(_ASKED)]
    took: dict[str, float] = {}

    def timed(part: str, calls: Sequence[Callable[[], T]]) -> list[T]:
        started = time.perf_counter()
        made = [call() for call in calls]
        took[part] = 1e6 * (time.perf_counter() - started) / len(calls)
        return made

    started = time.perf_counter()
    histories = [(await known.history(user, DEPTH))[0] for user in asked]
    took["read events (SQLite)"] = 1e6 * (time.perf_counter() - started) / len(asked)
    released = [snapshot.user_histories.get(user, DEPTH) for user in asked]
    timed("read history and list of the release", [lambda u=u: (
        snapshot.user_histories.get(u, DEPTH), snapshot.recommendations.get(u, 10)) for u in asked])  # fmt: skip
    pairs = list(zip(released, histories, strict=True))
    timed("join the histories", [lambda p=p: Visitor.of(*p, snapshot.rules) for p in pairs])
    visitors = [Visitor.of(*pair, snapshot.rules) for pair in pairs]
    timed("session model", [lambda v=v: snapshot.online.recommend(v, 10, set()) for v in visitors])
    both = list(zip(asked, visitors, strict=True))
    composed = timed("all of composing", [lambda b=b: compose(snapshot, *b, Wanted(), now_micros()) for b in both])
    answers = [[one.candidate._asdict() for one in answer.items] for answer in composed]
    timed("JSON", [lambda a=a: orjson.dumps(a) for a in answers])
    await known.close()
    return took


def cold_start(store: str, release: Path, folder: Path, core: int, rounds: int) -> tuple[float, float]:
    """Seconds until a new process is ready, and to read and hash the files, both from the disk; the best ones.

    The API copies the files while it hashes them, each time anew: it deletes its copies when it stops.
    """
    starts: list[float] = []
    reads: list[float] = []
    for _ in range(rounds):
        _forget(release)
        started = time.perf_counter()
        for path in sorted(release.iterdir()):
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")
        reads.append(time.perf_counter() - started)
        _forget(release)
        started = time.perf_counter()
        env = {"RECSYS_STORAGE_URI": store, "RECSYS_API_CACHE_DIR": str(folder / "cold")}
        with serving("recsys_api.app:create_app", folder, [core], looks=1, env=env):
            starts.append(time.perf_counter() - started)
    return min(starts), min(reads)


def _forget(release: Path) -> None:
    """Have the system forget what it keeps of files in memory."""
    os.sync()
    for path in release.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def memory(server: Server, copies: Path) -> tuple[float, float]:
    """MB of release files that a worker has mapped, and MB that are its own alone; the mean of the workers.

    A page of a release that only one worker has read counts as private for Linux, but is the system's to take back.
    """
    mapped = private = 0.0
    for worker in server.workers:
        in_copies = False
        for line in Path(f"/proc/{worker}/smaps").read_text().splitlines():
            if line[:1].isdigit() or line[:1] in "abcdef":
                in_copies = str(copies) in line
            elif line.startswith("Size:") and in_copies:
                mapped += int(line.split()[1]) / 1024
            elif line.startswith(("Private_Clean:", "Private_Dirty:")) and not in_copies:
                private += int(line.split()[1]) / 1024
    return mapped / len(server.workers), private / len(server.workers)


def swapped(server: Server, store: Path, pointers: Sequence[bytes], users: int, rate: float, swaps: int) -> Seen:
    """Ask while the pointer goes to and fro; an answer of two releases counts as failed.

    Args:
        server: follows the pointer.
        store: folder of the store.
        pointers: the pointer to the release whose scores are below 1, and the one to that with scores above 2.
        users: of the releases.
        rate: requests per second.
        swaps: of the release; 0 asks for as many seconds as ten swaps of small releases take.
    """
    ids = [orjson.loads(pointer)["release_id"] for pointer in pointers]
    last, done = [ids[1]], threading.Event()

    def good(body: bytes) -> bool:
        answer = orjson.loads(body)
        last[0] = answer["release_id"]
        above = last[0] == ids[1]
        scores = [item["score"] for item in answer["items"]]
        return bool(scores) and all((score > 2.0) == above for score in scores)

    def swap() -> None:
        path = store / POINTER
        for number in range(swaps):
            target = number % 2
            new = path.with_name("new.json")
            new.write_bytes(pointers[target])
            new.replace(path)
            while last[0] != ids[target]:
                time.sleep(0.01)
            time.sleep(0.2)
        if swaps:
            done.set()

    mover = threading.Thread(target=swap, daemon=True)
    mover.start()
    load = Load(lambda: get(f"/recommendations/{random.randrange(users)}"), 16, rate, good, done.is_set)
    seen = ask(server, load, _SWAP_SECONDS if swaps else 5.0, Seen())
    if swaps and not done.is_set():
        seen.failed += 1
    return seen


def parts_of(store: str, events: Path, users: int) -> Mapping[str, float]:
    """:func:`blended_parts`, run to its end."""
    return asyncio.run(blended_parts(store, events, users))
