"""How fast a release is loaded into PostgreSQL, beside a plain COPY of the same rows, and whether readers wait.

    python -m benchmarks.table_load [--users 100000 1000000] [--length 10] [--rounds 2]

Load and plain COPY take turns. While a load runs, a client reads lists of users without a pause; PostgreSQL itself logs
who waits for a lock for more than a millisecond. Needs PostgreSQL of Debian.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
import pyarrow.csv as pa_csv

from benchmarks.processes import cpu_of
from benchmarks.report import busy, table, write_section
from benchmarks.serving_data import Size, publish_both
from recsys_assets.storage.lists import RankedLists
from recsys_assets.storage.recommendations_table import RecommendationsTable
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.table_loads import TABLES
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.ports import free_port
from recsys_assets_tests.postgres_server import create_database, postgres_cluster, wait_until_up

_ITEMS = 50_000
_BLOCK = 200_000
_READ = "select item_id from recsys.recommendations where user_id = %s order by rank"
_WAITED = re.compile(r"process (\d+) acquired \w+ on (?:relation|virtual transaction).* after ([\d.]+) ms")


@dataclass(frozen=True)
class Database:
    """A running PostgreSQL: its first process, its log, and a database."""

    process: int
    log: Path
    url: str


@dataclass
class Spent:
    """What loads of some rows took: seconds by the clock, CPU seconds of the client and of PostgreSQL."""

    rows: int = 0
    seconds: float = 0.0
    client: float = 0.0
    server: float = 0.0


@dataclass
class Reads:
    """What a reader saw: lists that it read, those that were not whole, and milliseconds that it waited for locks."""

    count: int = 0
    wrong: int = 0
    waited: list[float] = field(default_factory=list)


@contextmanager
def database() -> Generator[Database]:
    """PostgreSQL, which logs waits for locks."""
    password, port = uuid.uuid4().hex, free_port()
    options = ["-c", "log_lock_waits=on", "-c", "deadlock_timeout=1ms"]
    with tempfile.NamedTemporaryFile() as log, postgres_cluster(password, port) as command:
        server = subprocess.Popen(
            [*command, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until_up(port, password)
            yield Database(server.pid, Path(log.name), create_database(port, password, "lists"))
        finally:
            os.killpg(server.pid, signal.SIGQUIT)
            server.wait()


@contextmanager
def spending(spent: Spent, rows: int, of: Database) -> Generator[None]:
    """Add what the context takes."""
    began, client, server = time.perf_counter(), time.process_time(), cpu_of([of.process])
    yield
    spent.rows += rows
    spent.seconds += time.perf_counter() - began
    spent.client += time.process_time() - client
    spent.server += cpu_of([of.process]) - server


@contextmanager
def reading(of: Database, users: int, length: int, reads: Reads) -> Generator[None]:
    """Read lists of users until the context ends."""
    ended, began = threading.Event(), of.log.stat().st_size
    with contextlib.closing(psycopg2.connect(of.url)) as connection:
        connection.autocommit = True

        def read() -> None:
            while not ended.wait(0.002):
                with connection.cursor() as cursor:
                    cursor.execute(_READ, [random.randrange(users)])
                    reads.wrong += len(cursor.fetchall()) != length
                reads.count += 1

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        backend = connection.info.backend_pid
    said = of.log.read_text()[began:]
    reads.waited += [float(ms) for process, ms in _WAITED.findall(said) if int(process) == backend]


def plain_copy(of: Database, folder: Path) -> None:
    """COPY the rows of all lists into tables without keys and indexes, in one transaction."""
    with contextlib.closing(psycopg2.connect(of.url)) as connection, connection, connection.cursor() as cursor:
        for listed in TABLES:
            key = "text" if listed.name == "top_popular" else "bigint"
            cursor.execute(f"drop table if exists plain_{listed.name}")
            columns = f"key {key} not null, rank integer not null, item_id bigint not null, score real not null"
            cursor.execute(f"create table plain_{listed.name} ({columns}, source text not null)")
            for batch in RankedLists.open(folder, listed.name).batches(_BLOCK):
                block = io.BytesIO()
                pa_csv.write_csv(batch, block, pa_csv.WriteOptions(include_header=False, quoting_style="all_valid"))
                block.seek(0)
                cursor.copy_expert(f"copy plain_{listed.name} from stdin (format csv)", block)


def measure(users: int, length: int, rounds: int) -> tuple[Spent, Spent, Reads, int]:
    """A load and a plain COPY in turn; what each took, what a reader saw meanwhile, and bytes of the tables."""
    loaded, copied, reads, size = Spent(), Spent(), Reads(), 0
    with ExitStack() as until:
        folder = Path(until.enter_context(tempfile.TemporaryDirectory(prefix="table-load-")))
        of = until.enter_context(database())
        store = (folder / "store").as_uri()
        published = publish_both(store, Size(users, length, _ITEMS, 1000))
        releases, target = Releases(open_store(store)), RecommendationsTable(of.url, "recsys")
        target.follow(releases)  # so that there is something to read
        for turn in range(rounds):
            release = published[turn % 2].release_id
            releases.rollback(release)
            fetched = folder / "fetched"
            files = releases.fetch(release, fetched)
            lists = next(iter(files.values())).parent
            rows = sum(RankedLists.open(lists, one.name).rows for one in TABLES)
            with reading(of, users, length, reads), spending(loaded, rows, of):
                followed = target.follow(releases)
            if followed is None or not followed.changed or sum(followed.rows.values()) != rows:
                raise RuntimeError(f"the release was not loaded: {followed}")
            size = followed.bytes
            with spending(copied, rows, of):
                plain_copy(of, lists)
    return loaded, copied, reads, size


def text_of(length: int, rounds: int, found: dict[int, tuple[Spent, Spent, Reads, int]], before: str) -> str:
    """The section."""
    rate: Callable[[Spent], str] = lambda spent: f"{spent.rows / spent.seconds:,.0f}"  # noqa: E731
    rows: list[list[str]] = []
    for users, (loaded, copied, reads, size) in found.items():
        for name, spent in (("load", loaded), ("plain COPY", copied)):
            micros = [f"{1e6 * cpu / spent.rows:.2f}" for cpu in (spent.client, spent.server)]
            ratio = (spent.client + spent.server) / (copied.client + copied.server)
            seen = [f"{reads.count:,}", f"{len(reads.waited)}", f"{max(reads.waited, default=0):.0f}"]
            seen, disk = (seen, f"{size / 1e6:,.0f}") if spent is loaded else ([""] * 3, "")
            each = f"{spent.rows // rounds:,}"
            rows.append([f"{name}, {users:,} users", each, rate(spent), *micros, f"{ratio:.1f}", disk, *seen])
        if reads.wrong:
            raise RuntimeError(f"{reads.wrong} lists were not whole")
    head = ["what", "rows", "rows/s", "client, µs a row", "PostgreSQL, µs a row", "CPU beside COPY", "MB"]
    head += ["reads meanwhile", "that waited for a lock", "longest, ms"]
    return f"""{length} recommendations a user and {20 * _ITEMS:,} similar items; {rounds} rounds. A load
fetches the release, checks its hashes, copies, makes keys and indexes, analyzes, switches, drops the load of before and
counts; plain COPY sends the same rows to tables without keys and indexes. While a load ran, a client read lists of
users, and never got a part of one; its CPU time is in that of the load. Waits below a millisecond are not counted.
{before}

{table(head, rows)}"""


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--length", type=int, default=10, help="recommendations of a user (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="default: %(default)s")
    given = parser.parse_args()
    before = busy()
    found = {users: measure(users, given.length, given.rounds) for users in given.users}
    users = " ".join(map(str, given.users))
    command = f"python -m benchmarks.table_load --users {users} --length {given.length} --rounds {given.rounds}"
    text = text_of(given.length, given.rounds, found, before)
    write_section("table-load", "Loading the tables in PostgreSQL", command, ("psycopg2-binary", "pyarrow"), text)


if __name__ == "__main__":
    main()
