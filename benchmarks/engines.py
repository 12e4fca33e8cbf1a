"""Cost of each engine for the whole graph: history, the ranker's past, one refresh; then the lists of all users alone.

    python -m benchmarks.engines [--engines polars,duckdb] [--events 200000] [--days 60] [--settings name=value …]

Each engine runs in its own process. CPU seconds are of all processes and threads, those of a Spark cluster and
Dagster's share included; on a busy machine they are more reliable than wall time. ``--work`` keeps the figures, so that
a run that was cut off goes on where it stopped.

The last part takes the store of the first engine and finds the candidates of all active users once more, on each
engine: the models' ``recommend`` on the same states, so that the lists have to be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from benchmarks.home import make_home
from benchmarks.processes import Watch, cpu
from benchmarks.report import table, write_section
from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.definitions import build_definitions
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings

PHASES = ("history", "examples", "refresh")
SCORED = "candidates"
STEPS_TOLD = 12
"""Steps in the second table: those that take most."""


def measure(engine: str, folder: Path, stated: Mapping[str, str]) -> dict[str, Any]:
    """Build everything on one engine: cost of each phase and step, and what the files hold."""
    settings, dataset = load_settings(
        engine=engine,
        landing_uri=str(folder / "landing"),
        storage_uri=str(folder / engine / "store"),
        automation=False,
        mlflow_tracking_uri="off",
        **stated,
    )
    make_home(folder / engine)
    figures: dict[str, Any] = {"engine": engine}
    watch = Watch()
    with (
        dg.DagsterInstance.from_config(str(folder / engine)) as instance,
        Materializer(settings, dataset, Progress(), instance) as materializer,
    ):
        day = ""

        def history() -> None:
            nonlocal day
            day = materializer.catch_up_history()

        steps = (history, lambda: materializer.build_training_windows(day), lambda: materializer.refresh([day]))
        for phase, step in zip(PHASES, steps, strict=True):
            wall, before = time.perf_counter(), cpu()
            step()
            figures[phase] = {"wall": time.perf_counter() - wall, "cpu": cpu() - before}
            sys.stderr.write(f"{engine}, {phase}: {figures[phase]['cpu']:.0f} CPU s\n")
        served = materializer.served()
        watch.close()
        figures["steps"] = _steps(instance, watch)
    figures["release"] = served.release_id if served else None
    return _finish(figures, watch, folder / engine / "store")


def score(engine: str, folder: Path, stated: Mapping[str, str], first: str) -> dict[str, Any]:
    """Find the candidates of all active users of the newest day of a store that another engine has made."""
    work = folder / f"{engine}-scores"
    shutil.copytree(folder / first / "store", work / "store", copy_function=os.link)
    settings, dataset = load_settings(
        engine=engine, landing_uri=str(folder / "landing"), storage_uri=str(work / "store"), automation=False, **stated
    )
    make_home(work)
    day = max(path.name for path in (work / "store" / "assets" / SCORED).iterdir()).removeprefix("dt=")
    with dg.DagsterInstance.from_config(str(work)) as instance:
        runner = InProcessRunner(build_definitions(settings, dataset), instance, settings.storage_uri)
        watch, wall = Watch(), time.perf_counter()
        before = cpu()
        runner.rebuild(day, [SCORED], {})
        figures: dict[str, Any] = {
            "engine": engine,
            "score": {"wall": time.perf_counter() - wall, "cpu": cpu() - before},
        }
        watch.close()
    file = work / "store" / "assets" / SCORED / f"dt={day}" / "data.parquet"
    figures["users"] = len(pq.read_table(file, columns=["user_id"])["user_id"].unique())
    return _finish(figures, watch, work / "store", SCORED)


def _steps(instance: dg.DagsterInstance, watch: Watch) -> dict[str, float]:
    """CPU seconds of all processes by step, over all runs."""
    took: dict[str, float] = {}
    for run in instance.get_runs():
        for step in instance.get_run_step_stats(run.run_id):
            if step.start_time and step.end_time:
                spent, _ = watch.between(step.start_time, step.end_time)
                took[step.step_key] = took.get(step.step_key, 0.0) + spent
    return took


def _finish(figures: dict[str, Any], watch: Watch, store: Path, asset: str = "*") -> dict[str, Any]:
    """The figures with the peak of all processes, and rows and hash of each file."""
    figures["peak_mib"] = max(held for *_, held in watch.samples)
    figures["own_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures["files"] = {
        f"{path.parts[-3]}/{path.parts[-2]}": [
            pq.read_metadata(path).num_rows,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        ]
        for path in sorted((store / "assets").glob(f"{asset}/dt=*/data.parquet"))
    }
    return figures


def compared(results: Sequence[Mapping[str, Any]]) -> str:
    """Whether the files of engines are equal to those of the first one, in one sentence each."""
    first, *others = results
    lines: list[str] = []
    for other in others:
        here, there = first["files"], other["files"]
        differ = sorted({key.partition("/")[0] for key in here if here[key] != there.get(key)})
        rows = sorted({key.partition("/")[0] for key in here if here[key][0] != there.get(key, [-1])[0]})
        lines.append(
            f"{other['engine']} wrote {len(there)} files where {first['engine']} wrote {len(here)}; "
            f"{sum(here[key] == there.get(key) for key in here)} are equal byte for byte"
            + (f". Others than those are in {', '.join(differ)}" if differ else "")
            + (f"; the number of rows differs in {', '.join(rows)}" if rows else "")
            + "."
        )
    return "\n".join(lines)


def report(results: Sequence[dict[str, Any]], scores: Sequence[dict[str, Any]], asked: argparse.Namespace) -> None:
    """Write the section."""
    rows = [
        [
            whole["engine"],
            *(f"{whole[phase]['cpu']:.0f} ({whole[phase]['wall']:.0f})" for phase in PHASES),
            f"{sum(whole[phase]['cpu'] for phase in PHASES):.0f}",
            f"{whole['peak_mib']:,.0f}",
            f"{whole['own_mib']:,.0f}",
            f"{lists['score']['cpu']:.0f} ({lists['score']['wall']:.0f})",
            f"{lists['peak_mib']:,.0f}",
        ]
        for whole, lists in zip(results, scores, strict=True)
    ]
    head = ["engine", "history", "the ranker's past", "refresh", "CPU in all", "peak MiB", "of the run's process"]
    head += ["lists of all users", "their peak MiB"]
    most = sorted(results[-1]["steps"], key=lambda step: -results[-1]["steps"][step])[:STEPS_TOLD]
    steps = [[step, *(f"{one['steps'].get(step, 0):.1f}" for one in results)] for step in most]
    stated = ", ".join(asked.settings) or "the defaults"
    count = next(iter(scores[0]["files"].values()))[0]
    text = f"""\
{asked.events:,} events of {asked.days} days, from files to a release; settings: {stated}. CPU seconds of all processes,
with those of the clock in brackets; other work ran beside, so only the former compare. Peak memory is what all
processes held at once (shared pages counted once), sampled each second; `spark` is a standalone cluster of two workers
with a core and 2 GB each, made for each run. The lists of all users are `{SCORED}` alone ({count:,} rows of
{scores[0]["users"]:,} users), from the store of {results[0]["engine"]}, so that all have the same states.

{table(head, rows)}

{compared(results)}

The lists of all users on the same states: {compared(scores)}

CPU seconds by step, over all its days; sampled, so to a second or so for each run. What takes most on the last engine:

{table(["step", *(one["engine"] for one in results)], steps)}"""
    default = asked.events == SampleConfig().events
    command = f"python -m benchmarks.engines --engines {asked.engines}"
    if not default:
        command += f" --events {asked.events} --days {asked.days}"
    if asked.settings:
        command += f" --settings {' '.join(asked.settings)}"
    write_section(
        "engines" if default else f"engines-{asked.events}",
        "The whole graph on each engine" + ("" if default else f": {asked.events / 1e6:g} million events"),
        command,
        ("polars", "duckdb", "narwhals", *(["pyspark"] if "spark" in asked.engines else [])),
        text,
    )


def main() -> None:
    """Run each engine in its own process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="polars,duckdb")
    parser.add_argument("--events", type=int, default=SampleConfig().events)
    parser.add_argument("--days", type=int, default=SampleConfig().days)
    parser.add_argument("--settings", nargs="*", default=[], help="of the platform, such as active_days=7")
    parser.add_argument("--work", type=Path, help="folder for data, stores and figures; one for each size")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        step, engine, first = asked.step.split(",")
        stated = dict(pair.split("=", 1) for pair in asked.settings)
        done = measure(engine, asked.work, stated) if step == "graph" else score(engine, asked.work, stated, first)
        (asked.work / f"{step}-{engine}.json").write_text(json.dumps(done, indent=1))
        return
    with tempfile.TemporaryDirectory(prefix="recsys-engines-") as scratch:
        work: Path = (asked.work or Path(scratch)).resolve()
        engines = asked.engines.split(",")
        if not (work / "landing").exists():
            generate(SampleConfig(events=asked.events, days=asked.days), work / "landing")
        found: dict[str, list[dict[str, Any]]] = {"graph": [], "score": []}
        for step, results in found.items():
            for engine in engines:
                path = work / f"{step}-{engine}.json"
                if not path.exists():
                    command = [sys.executable, "-m", "benchmarks.engines", "--work", str(work)]
                    command += ["--step", f"{step},{engine},{engines[0]}", "--settings", *asked.settings]
                    subprocess.run(command, check=True)
                results.append(json.loads(path.read_text()))
        report(found["graph"], found["score"], asked)


if __name__ == "__main__":
    main()
