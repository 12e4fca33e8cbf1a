"""From a file in the landing zone to the API that serves what follows from it, while `make run` is up.

The generated shop is built but for its last day. Then the file of that day lands, and after it a second file with late
events of the same day. The first finds none of the training windows of its day: each new day lacks them until the
platform has run for as many weeks as there are windows. The second finds them all.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl

from benchmarks import report
from benchmarks.home import make_run
from recsys_assets.cli.services import call, wait_until_ready
from recsys_assets.sample.config import DAY_MS, SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store

GOAL = 60.0


@dataclass(frozen=True)
class Landed:
    """What one file brought about.

    Attributes:
        seconds: from its rename into the landing zone until the API served another release.
        runs: seconds of each run that it started, from its start to its end, by job and day, in their order.
    """

    seconds: float
    runs: Sequence[tuple[str, float]]


def make_landing(folder: Path, held_back: Path, config: SampleConfig) -> tuple[Path, Path]:
    """Write the shop without its last day; returns two files of that day, outside the landing zone."""
    generate(config, folder)
    events = pl.read_csv(folder / "events.csv")
    is_last = pl.col("timestamp") >= config.start_ms + (config.days - 1) * DAY_MS
    last = events.filter(is_last)
    events.filter(~is_last).write_csv(folder / "events.csv")
    held_back.mkdir()
    for name, rows in (("events-new.csv", last[: len(last) // 2]), ("events-late.csv", last[len(last) // 2 :])):
        rows.write_csv(held_back / name)
    return held_back / "events-new.csv", held_back / "events-late.csv"


def landed(file: Path, landing: Path, api: str, home: Path, seconds: float) -> Landed:
    """Put a file into the landing zone and wait for a release that follows from it.

    Raises:
        TimeoutError: there was none in time.
    """
    before, begun, wall = call(f"{api}/health/ready")["release_id"], time.time(), time.perf_counter()
    file.rename(landing / file.name)
    while call(f"{api}/health/ready")["release_id"] == before:
        if time.perf_counter() - wall > seconds:
            raise TimeoutError(f"{file.name} was not served after {seconds:.0f} s; see {home}")
        time.sleep(0.25)
    took = time.perf_counter() - wall
    with dg.DagsterInstance.from_config(str(home)) as instance:
        records = [r for r in instance.get_run_records(limit=100) if r.create_timestamp.timestamp() >= begun]
    return Landed(took, [(_named(r.dagster_run), _seconds(r)) for r in reversed(records)])


def _named(run: dg.DagsterRun) -> str:
    if run.job_name in ("stage_landing", "history"):
        return run.job_name
    return "as-of days before" if dg.AssetKey("release") not in (run.asset_selection or ()) else "release"


def _seconds(record: dg.RunRecord) -> float:
    return (record.end_time or time.time()) - (record.start_time or record.create_timestamp.timestamp())


def run(folder: Path, config: SampleConfig, seconds: float) -> Mapping[str, Landed]:
    """Build the shop, keep it up, and let both files land."""
    landing, home = folder / "landing", folder / "home"
    new, late = make_landing(landing, folder / "held-back", config)
    with make_run(folder, "retailrocket") as service:
        api = service.url
        newest = Releases(open_store(str(folder / "store"))).current()
        wait_until_ready(
            service, "/health/ready", lambda answer: bool(newest) and answer["release_id"] == newest.release_id
        )
        return {
            "a new day, its training windows missing": landed(new, landing, api, home, seconds),
            "late events of that day": landed(late, landing, api, home, seconds),
        }


def main() -> None:
    """Run, write the page; exit 1 if the goal is missed where the training windows exist."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.landed", description=__doc__)
    parser.add_argument("--events", type=int, default=SampleConfig.events)
    parser.add_argument("--days", type=int, default=SampleConfig.days)
    parser.add_argument("--seconds", type=float, default=900.0, help="most that a file may take")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="recsys-landed-"))
    found = run(folder, SampleConfig(arguments.events, arguments.days), arguments.seconds)
    shutil.rmtree(folder)
    kinds = ("stage_landing", "history", "as-of days before", "release")
    rows: list[list[str]] = []
    for name, one in found.items():
        parts = [[seconds for kind, seconds in one.runs if kind == wanted] for wanted in kinds]
        waited = one.seconds - sum(map(sum, parts))
        rows.append([name, f"{one.seconds:.0f}", *(f"{sum(p):.1f} ({len(p)})" for p in parts), f"{waited:.1f}"])
    head = ["seconds (runs)", "landed → served", *kinds, "ticks and starts of runs"]
    text = f"{__doc__ or ''}\n{report.table(head, rows)}\n\nGoal where the training windows exist: {GOAL:.0f} s."
    report.write_section("landed", "From landed to served", "python -m benchmarks.landed", ["dagster"], text)
    if list(found.values())[-1].seconds > GOAL:
        sys.exit(1)


if __name__ == "__main__":
    main()
