"""What a Spark cluster of this machine costs before it computes anything: start, one small job, one small file, memory.

    python -m benchmarks.spark [--repeats 20]

Needs the extra ``spark``. What the whole graph takes on each engine is in ``benchmarks.engines``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import narwhals as nw
import pyarrow as pa

from benchmarks.processes import mark, memory
from benchmarks.report import table
from recsys_assets.core.engine import Engine
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.engines.spark import SparkEngine
from recsys_assets.engines.spark_session import standalone_session
from recsys_assets.engines.spark_standalone import ClusterSize

ROWS = pa.table({"key": list(range(1000)), "value": [float(n % 7) for n in range(1000)]})


def seconds(what: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def jobs(engine: Engine, folder: Path) -> dict[str, Callable[[], object]]:
    """Small pieces of work, as the graph has them by the hundred."""
    frame = engine.from_arrow(ROWS)
    sums = frame.group_by("value").agg(nw.col("key").sum())
    return {
        "group by, collect": lambda: sums.collect(backend="polars"),
        "sorted parquet file": lambda: engine.sink(frame, folder / "data.parquet", ROWS.schema, ["key"]),
        "row function": lambda: engine.map_batches(frame, lambda t: t, ROWS.schema).collect(backend="polars"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    mark()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with standalone_session(ClusterSize()) as session:
            ready = time.perf_counter() - start
            ours, local = (jobs(one, Path(folder)) for one in (SparkEngine(session), PolarsEngine()))
            rows: list[list[str]] = []
            for name in ours:
                first = seconds(ours[name])
                again = statistics.median(seconds(ours[name]) for _ in range(repeats))
                other = statistics.median(seconds(local[name]) for _ in range(repeats))
                rows.append([name, f"{first:.2f}", f"{again:.3f}", f"{other:.4f}"])
            held = memory()
            stop = time.perf_counter()
        stopped = time.perf_counter() - stop
    print(f"start {ready:.1f} s, stop {stopped:.1f} s, memory of all processes {held:,.0f} MiB")
    print(table(["1,000 rows, seconds", "first", "Spark, median", "Polars, median"], rows))


if __name__ == "__main__":
    main()
