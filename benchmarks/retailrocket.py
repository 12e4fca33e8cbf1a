"""RetailRocket's own size, from four CSV files to released recommendations, in one fresh process.

    python -m benchmarks.retailrocket [--work FOLDER]

The generator makes 2.76 million events of 1.4 million visitors over 138 days and 20.3 million property rows. The
product then does what ``make run`` does: stages the files, builds the history, the as-of days that the ranker learns
from, and a release with a list for everyone who was active in the last four weeks. Nothing is set but where the files
are. A second process samples the first one's CPU time and resident memory; Dagster's own event log says which step ran
when.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow.parquet as pq

from benchmarks.home import make_home
from benchmarks.report import table, write_section
from recsys_assets.sample.config import REAL_EVENTS, SampleConfig
from recsys_assets.sample.generate import generate

CPU_GOAL, MEMORY_GOAL = 300, 6.0
DAYS = 138
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CHILD = """
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.settings import load_settings

with Materializer(*load_settings(), Progress()) as materializer:
    materializer.catch_up(first_answer=True)
"""

Span = tuple[float, float]


@dataclass
class Trace:
    """What was seen of a process: samples of (time, CPU seconds, resident bytes) and the lines that it printed."""

    samples: list[tuple[float, float, int]] = field(default_factory=list)
    lines: list[tuple[float, str]] = field(default_factory=list)
    cpu: float = 0.0
    wall: float = 0.0
    peak: int = 0

    def cost(self, spans: Iterable[Span]) -> tuple[float, float, int]:
        """CPU seconds, wall seconds and peak resident bytes of some spans of time."""
        times, cpu, memory = (np.array(column) for column in zip(*self.samples, strict=True))
        used = wall = peak = 0.0
        for begin, end in spans:
            used += float(np.interp(end, times, cpu) - np.interp(begin, times, cpu))
            wall += end - begin
            first, last = np.searchsorted(times, (begin, end))
            peak = max(peak, float(memory[max(0, first - 1) : last + 1].max()))
        return used, wall, int(peak)


def main() -> None:
    """Generate, run, write the table."""
    parser = argparse.ArgumentParser(description="RetailRocket's own size, from CSV files to a release.")
    parser.add_argument("--work", type=Path, help="keep the files here; the landing zone in it is used again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retailrocket-") as scratch:
        work: Path = (arguments.work or Path(scratch)).resolve()
        landing, store, home = (work / name for name in ("landing", "store", "dagster"))
        if not landing.exists():
            generate(SampleConfig(events=REAL_EVENTS, days=DAYS), landing)
        if store.exists() or home.exists():
            parser.error(f"{store} and {home} must not exist: the whole way is measured")
        make_home(home)
        trace = run(
            {
                "DAGSTER_HOME": str(home),
                "RECSYS_DATASET": "retailrocket",
                "RECSYS_LANDING_URI": str(landing),
                "RECSYS_STORAGE_URI": str(store),
            }
        )
        write_section(
            "retailrocket",
            "RetailRocket's own size: from four CSV files to a release",
            "python -m benchmarks.retailrocket",
            ("polars", "implicit", "catboost", "optuna", "dagster"),
            describe(trace, home, store),
        )


def run(environment: Mapping[str, str]) -> Trace:
    """Run the product in a fresh process and watch it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECSYS_", "DAGSTER_"))}
    trace, start = Trace(), time.time()
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD], env={**kept, **environment}, stderr=subprocess.PIPE, text=True
    )
    reader = threading.Thread(target=_read, args=(process, trace))
    reader.start()
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        _sample(process.pid, trace)
        time.sleep(0.02)
    reader.join()
    if status:
        raise SystemExit(f"the product failed with status {os.waitstatus_to_exitcode(status)}; its last lines say why")
    process.returncode = 0
    trace.cpu, trace.wall = usage.ru_utime + usage.ru_stime, time.time() - start
    trace.peak = usage.ru_maxrss * 1024
    trace.samples.insert(0, (start, 0.0, 0))
    trace.samples.append((time.time(), trace.cpu, 0))
    return trace


def _read(process: subprocess.Popen[str], trace: Trace) -> None:
    for line in process.stderr or ():
        trace.lines.append((time.time(), line))
        sys.stderr.write(line)


def _sample(pid: int, trace: Trace) -> None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):  # it has just ended
        return
    trace.samples.append((time.time(), (int(stat[11]) + int(stat[12])) * _TICK, resident))


def spans_of(trace: Trace, home: Path) -> dict[str, list[Span]]:
    """What ran when: staging from the lines printed, steps from the event logs of the runs."""
    spans: dict[str, list[Span]] = defaultdict(list)
    ended = next(at for at, line in trace.lines if "landing zone" in line and not line.rstrip().endswith("..."))
    reading = [(at, line) for at, line in trace.lines if "reading " in line]
    spans["start: imports, graph"].append((trace.samples[0][0], reading[0][0]))
    for (begin, line), (end, _) in pairwise([*reading, (ended, "")]):
        spans["staging: properties" if "properties" in line else "staging: events"].append((begin, end))
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        for one in reversed(instance.get_runs()):
            for step in sorted(instance.get_run_step_stats(one.run_id), key=lambda step: step.start_time or 0.0):
                group = "history" if one.job_name == "history" else "as of"
                if step.start_time and step.end_time:
                    spans[f"{group}: {step.step_key}"].append((step.start_time, step.end_time))
    return spans


def describe(trace: Trace, home: Path, store: Path) -> str:
    """The table, and what it says in words."""
    rows: list[list[str]] = []
    covered = 0.0
    for name, spans in spans_of(trace, home).items():
        used, wall, peak = trace.cost(spans)
        covered += used
        times = f" ({len(spans)} days)" if name.startswith("as of") and len(spans) > 1 else ""
        rows.append([name + times, f"{used:.1f}", f"{wall:.1f}", f"{peak / 2**30:.2f}"])
    rows.append(["between the steps", f"{trace.cpu - covered:.1f}", "", ""])
    rows.append(["**all**", f"**{trace.cpu:.0f}**", f"**{trace.wall:.0f}**", f"**{trace.peak / 2**30:.2f}**"])
    newest = max(path.name for path in (store / "assets" / "recommendations").iterdir())
    files = {
        name: pq.ParquetFile(store / "assets" / name / newest / "data.parquet")
        for name in ("candidates", "recommendations")
    }
    count = {name: file.metadata.num_rows for name, file in files.items()}
    users = len(files["recommendations"].read(["user_id"])["user_id"].unique())
    met = "met" if trace.cpu <= CPU_GOAL and trace.peak <= MEMORY_GOAL * 2**30 else "missed"
    return f"""{table(["stage", "CPU s", "wall s", "peak GiB"], rows)}

{users:,} users got {count["recommendations"]:,} recommendations out of {count["candidates"]:,} candidates, as of
{newest.removeprefix("dt=")}. The goal of {CPU_GOAL} CPU seconds and {MEMORY_GOAL:g} GiB of resident memory is {met}."""


if __name__ == "__main__":
    main()
