"""Cost of each engine for the whole graph of the default sample: history, training windows, one refresh.

    python -m benchmarks.engines [--engines polars,duckdb] [--events 200000] [--days 60]

Each engine runs in its own process, so that its peak memory is measured alone. CPU seconds are of all threads and
include Dagster's share; on a busy machine they are more reliable than wall time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.home import make_home
from benchmarks.report import table, write_section
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings

PHASES = ("history", "examples", "refresh")


class _Silent(Progress):
    def note(self, text: str) -> None:
        pass


def measure(engine: str, landing: Path, folder: Path) -> dict[str, Any]:
    """Build everything on one engine; wall and CPU seconds of each phase, peak resident MiB, release."""
    settings, dataset = load_settings(
        engine=engine, landing_uri=str(landing), storage_uri=str(folder / "store"), automation=False
    )
    make_home(folder)
    figures: dict[str, Any] = {"engine": engine}
    with (
        dg.DagsterInstance.from_config(str(folder)) as instance,
        Materializer(settings, dataset, _Silent(), instance) as materializer,
    ):
        day = ""

        def history() -> None:
            nonlocal day
            day = materializer.catch_up_history()

        steps = (history, lambda: materializer.build_training_windows(day), lambda: materializer.refresh([day]))
        for phase, step in zip(PHASES, steps, strict=True):
            wall, cpu = time.perf_counter(), _cpu()
            step()
            figures[phase] = {"wall": time.perf_counter() - wall, "cpu": _cpu() - cpu}
        served = materializer.served()
    figures["release"] = served.release_id if served else None
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return figures


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def report(results: Sequence[dict[str, Any]], events: int, days: int) -> None:
    """Write the section."""
    rows = [
        [
            figures["engine"],
            *(f"{figures[phase]['cpu']:.0f} ({figures[phase]['wall']:.0f})" for phase in PHASES),
            f"{sum(figures[phase]['cpu'] for phase in PHASES):.0f}",
            f"{figures['peak_mib']:,.0f}",
        ]
        for figures in results
    ]
    same = len({figures["release"] for figures in results}) == 1
    text = (
        f"{events:,} events of {days} days, from files to a release. CPU seconds, with those of the clock in brackets; "
        f"peak resident memory in MiB. The engines made {'the same release' if same else 'different releases'}.\n\n"
    )
    head = ["engine", "history", "the ranker's past", "refresh", "CPU in all", "peak MiB"]
    write_section(
        "engines",
        "The whole graph on each engine",
        "python -m benchmarks.engines",
        ("polars", "duckdb", "narwhals"),
        text + table(head, rows),
    )


def main() -> None:
    """Run each engine in its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="polars,duckdb")
    parser.add_argument("--events", type=int, default=SampleConfig().events)
    parser.add_argument("--days", type=int, default=SampleConfig().days)
    parser.add_argument("--landing", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.landing:
        with tempfile.TemporaryDirectory(prefix="recsys-engines-") as folder:
            sys.stdout.write(json.dumps(measure(arguments.engines, arguments.landing, Path(folder))))
        return
    with tempfile.TemporaryDirectory(prefix="recsys-sample-") as landing:
        generate(SampleConfig(events=arguments.events, days=arguments.days), Path(landing))
        results: list[dict[str, Any]] = []
        for engine in arguments.engines.split(","):
            command = [sys.executable, "-m", "benchmarks.engines", "--engines", engine, "--landing", landing]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.append(json.loads(done.stdout.splitlines()[-1]))
        report(results, arguments.events, arguments.days)


if __name__ == "__main__":
    main()
