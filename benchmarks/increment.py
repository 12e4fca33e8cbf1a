"""What one more day costs: day 139 after 138 days of 20,000 events, against building all 139 days from nothing.

Both go through the product (landing zone, Dagster jobs in this process, store). The work is that of staging, of the job
``history`` and of ``covisited_items`` as of the last day; the start of a process and the definitions are in neither.
Rows read are those of the inputs that the lineage records name, and of the landing files for what reads them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import dagster as dg
import polars as pl

from benchmarks import report
from benchmarks.home import make_home
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.definitions import build_definitions
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.ingest.staging import read_staged
from recsys_assets.sample.config import DAY_MS, SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.settings import load_settings
from recsys_assets.storage.lineage import Lineage, same_facts
from recsys_assets.storage.objects import ObjectStore, sha256_object
from recsys_assets.storage.partition_store import LINEAGE_FILE, PartitionStore, partition_key
from recsys_assets.storage.uri import open_store

DAYS, EVENTS_A_DAY = 139, 20_000
GOAL = 0.05
_READ_LANDED = {"clean_events": 2, "event_counts": 1}
"""Assets that read the rows of the landing files, and how often: for the events also when the files are staged."""


@dataclass(frozen=True)
class Work:
    """Cost of a step: CPU and wall seconds, rows read, and partitions written."""

    cpu: float
    wall: float
    rows: int
    partitions: int


class _Silent(Progress):
    def note(self, text: str) -> None:
        pass


def make_landing(folder: Path, days: int, events_a_day: int) -> list[Path]:
    """Write a file of events for each day, oldest first, and the description of the data set."""
    folder.mkdir(parents=True)
    preset = (files("recsys_assets") / "presets" / "retailrocket.toml").read_text()
    (folder / "dataset.toml").write_text(re.sub(r"^end_date.*\n", "", preset, flags=re.MULTILINE))
    config = SampleConfig(events=days * events_a_day, days=days)
    generate(config, folder / "sample")
    events = pl.read_csv(folder / "sample" / "events.csv")
    day = (pl.col("timestamp") - config.start_ms) // DAY_MS
    by_day = events.with_columns(day.alias("day")).partition_by("day", include_key=False, as_dict=True)
    paths: list[Path] = []
    for (number,), rows in sorted(by_day.items()):
        paths.append(folder / f"events-{config.start + timedelta(days=int(number))}.csv")
        rows.write_csv(paths[-1])
    shutil.rmtree(folder / "sample")
    return paths


def build(folder: Path, store_name: str) -> Work:
    """Ingest the new files of the landing zone, and build the co-visitation of the last day.

    A few events are built elsewhere first, so that all code is loaded and the start of the process is not measured.
    """
    with tempfile.TemporaryDirectory() as home:
        make_home(Path(home))
        with dg.DagsterInstance.from_config(home) as instance:
            _build(folder / "warm", Path(home) / "store", instance)
            return _build(folder / "landing", folder / store_name, instance)


def _build(landing: Path, root: Path, instance: dg.DagsterInstance) -> Work:
    settings, dataset = load_settings(
        dataset=str(landing / "dataset.toml"), landing_uri=str(landing), storage_uri=str(root)
    )
    store = open_store(settings.storage_uri)
    before = set(_records(store))
    materializer = Materializer(settings, dataset, _Silent(), instance)
    refresh = build_definitions(settings, dataset).resolve_job_def("refresh")
    cpu, wall = time.process_time(), time.perf_counter()
    newest = materializer.catch_up_history()
    refresh.execute_in_process(
        instance=instance,
        tags={"dagster/partition": newest},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        asset_selection=[dg.AssetKey("covisited_items")],
    )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    written = {key: record for key, record in _records(store).items() if key not in before}
    return Work(cpu, wall, _rows_read(written, store), len(written))


def _records(store: ObjectStore) -> dict[tuple[str, str], Lineage]:
    """The lineage of every partition in a store."""
    partitions = PartitionStore(store)
    keys = [meta.key.split("/") for meta in store.list("assets") if meta.key.endswith(f"/{LINEAGE_FILE}")]
    names = {(asset, day.removeprefix("dt=")): None for _, asset, day, _ in keys}
    records = {key: partitions.read_lineage(*key) for key in names}
    return {key: record for key, record in records.items() if record is not None}


def _rows_read(written: Mapping[tuple[str, str], Lineage], store: ObjectStore) -> int:
    """Rows of the inputs of partitions, and of the landing files for those that read these."""
    records, accepted = _records(store), read_accepted(store)
    rows = sum(records[read.asset, read.day].rows for record in written.values() for read in record.inputs)
    for asset, day in written:
        if asset in _READ_LANDED:
            staged = [read_staged("events", digest, store) for digest in accepted.digests("events", day)]
            rows += _READ_LANDED[asset] * sum(file.days[day].rows for file in staged if file)
    return rows


def differences(grown: ObjectStore, whole: ObjectStore) -> list[str]:
    """Partitions whose bytes or lineage (run aside) differ between the grown store and a rebuild."""
    left, right = _records(grown), _records(whole)
    return [
        f"{asset} of {day}"
        for (asset, day), record in sorted(right.items())
        if (asset, day) not in left
        or not same_facts(left[asset, day], record)
        or any(
            sha256_object(store, partition_key(asset, day, record.file)) != record.sha256 for store in (grown, whole)
        )
    ]


def run(folder: Path, days: int, events_a_day: int) -> tuple[Work, Work, list[str]]:
    """Build all but the last day, then the last day, and all days in another store; each in its own process.

    Returns:
        The work of the last day, that of all days, and the differences between the two stores.
    """
    make_landing(folder / "warm", 1, 1_000)
    *_, newest = make_landing(folder / "landing", days, events_a_day)
    held_back = newest.rename(folder / newest.name)
    _build_apart(folder, "grown")
    held_back.rename(newest)
    last, whole = _build_apart(folder, "grown"), _build_apart(folder, "whole")
    stores = [open_store(str(folder / world)) for world in ("grown", "whole")]
    return last, whole, differences(*stores)


def _build_apart(folder: Path, store: str) -> Work:
    command = [sys.executable, "-m", "benchmarks.increment", "--build", str(folder), store]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Work(**json.loads(printed.stdout.splitlines()[-1]))


def main() -> None:
    """Run, compare, write the page; exit 1 if the goal is missed or the results differ."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.increment", description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--events", type=int, default=EVENTS_A_DAY, help="a day")
    parser.add_argument("--build", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        sys.stdout.write(json.dumps(asdict(build(Path(arguments.build[0]), arguments.build[1]))) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="recsys-increment-") as folder:
        last, whole, differ = run(Path(folder) / "worlds", arguments.days, arguments.events)
    head = ["", "day 139", "all 139 days", "share"]
    pairs = {
        "rows read": (last.rows, whole.rows),
        "CPU seconds": (last.cpu, whole.cpu),
        "wall seconds": (last.wall, whole.wall),
        "partitions written": (last.partitions, whole.partitions),
    }
    rows = [[name, f"{few:,.4g}", f"{many:,.4g}", f"{few / many:.1%}"] for name, (few, many) in pairs.items()]
    same = (
        f"Differences: {', '.join(differ)}." if differ else "Every file is equal to that of a rebuild, byte for byte."
    )
    text = f"{__doc__ or ''}\n{report.table(head, rows)}\n\n{same}"
    report.write_section("increment", "One more day", "python -m benchmarks.increment", ["polars", "dagster"], text)
    if differ or max(last.rows / whole.rows, last.cpu / whole.cpu) > GOAL:
        sys.exit(1)


if __name__ == "__main__":
    main()
