"""Peak memory of staging files that were made to fill it: ``python -m benchmarks.hostile_files [--size 1.0] [CASE …]``.

Each file is written as a stream, then staged in a process of its own, whose peak of resident memory is what counts. The
bound is 1 GiB for any file. ``--size 0.05`` makes files of a twentieth: the tests do so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import stage
from recsys_assets.storage.local import LocalStore

BOUND = 1 << 30
HEADER = "user,item,action,time\n"
_DATASET = {
    "name": "hostile",
    "start_date": "2025-01-01",
    "ids": {"user": "string", "item": "string"},
    "events": {
        "files": ["*"],
        "time_unit": "iso",
        "columns": {"user_id": "user", "item_id": "item", "event_type": "action", "ts": "time"},
        "types": {"view": {"weight": 1, "target": True}},
    },
}


def good_row(n: int) -> str:
    """A good row of csv, of about 50 bytes."""
    return (
        f"user-{n % 1_000_003:08d},item-{n % 50_021:06d},view,2025-01-{1 + n % 28:02d}T{n % 24:02d}:00:{n % 60:02d}Z\n"
    )


def good_rows(size: float) -> Iterator[str]:
    """1.6 GB of good rows."""
    yield HEADER
    block = "".join(good_row(n) for n in range(200_000))
    for _ in range(max(1, round(1.6e9 * size / len(block)))):
        yield block


def long_lines(size: float) -> Iterator[str]:
    """Lines of a megabyte, with a good row after each."""
    yield HEADER
    for n in range(max(1, round(2_000 * size))):
        yield "x" * (1 << 20) + ",1,view,2025-01-01\n" + good_row(n)


def broken_rows(size: float) -> Iterator[str]:
    """200,000 rows of 10 kB with another number of columns."""
    yield HEADER + good_row(0)
    for _ in range(max(1, round(200_000 * size))):
        yield "y" * 10_000 + "\n"


def short_broken_rows(size: float) -> Iterator[str]:
    """400 million bytes of rows of two bytes."""
    yield HEADER + good_row(0)
    for _ in range(max(1, round(400 * size))):
        yield "z\n" * 500_000


def broken_lines(size: float) -> Iterator[str]:
    """200,000 lines of 10 kB that are no JSON."""
    yield '{"user": "a", "item": "b", "action": "view", "time": "2025-01-01"}\n'
    for _ in range(max(1, round(200_000 * size))):
        yield "{" * 10_000 + "\n"


def huge_objects(size: float) -> Iterator[str]:
    """JSON objects of a megabyte, of small parts."""
    parts = ",".join(f'"k{n}":[[],[{n}]]' for n in range(50_000))
    for _ in range(max(1, round(500 * size))):
        yield f'{{"user":"a","item":"b","action":"view","time":"2025-01-01",{parts}}}\n'


def bomb(size: float) -> Iterator[str]:
    """A line of ten gigabytes of zeros."""
    yield HEADER + good_row(0)
    for _ in range(max(1, round(1_000 * size))):
        yield "0" * 10_000_000


def many_columns(size: float) -> Iterator[str]:
    """10,000 columns, with a bad row for each good one."""
    more = "," + ",".join(f"c{n}" for n in range(10_000))
    yield HEADER.strip() + more + "\n"
    tail = "," + ",".join(str(n % 10) for n in range(10_000)) + "\n"
    for n in range(max(1, round(20_000 * size))):
        yield good_row(n).strip() + tail if n % 2 else f"u,i,other,2025-01-01{tail}"


TEXTS: dict[str, Callable[[float], Iterator[str]]] = {
    "good_rows.csv.gz": good_rows,
    "long_lines.csv.gz": long_lines,
    "broken_rows.csv.gz": broken_rows,
    "short_broken_rows.csv.gz": short_broken_rows,
    "broken_lines.jsonl.gz": broken_lines,
    "huge_objects.jsonl.gz": huge_objects,
    "bomb.csv.gz": bomb,
    "bomb.jsonl.gz": bomb,
    "many_columns.csv.gz": many_columns,
}
PARQUET = ("good_rows.parquet", "wide_values.parquet", "many_columns.parquet")
CASES = (*TEXTS, *PARQUET)


def write(case: str, size: float, folder: Path) -> Path:
    """Write the file of a case.

    Args:
        case: one of :data:`CASES`.
        size: 1 is the whole size.
        folder: where it goes.
    """
    path = folder / case
    if case in PARQUET:
        _write_parquet(case, size, path)
        return path
    with path.open("wb") as file:
        packer = zlib.compressobj(1, wbits=31)
        for text in TEXTS[case](size):
            file.write(packer.compress(text.encode()))
        file.write(packer.flush())
    return path


def _write_parquet(case: str, size: float, path: Path) -> None:
    count = 1_000_000 if case == "good_rows.parquet" else 2_000
    table = {
        "user": pa.array([f"user-{n % 100_003:08d}" for n in range(count)]),
        "item": pa.array([f"item-{n % 5_003:06d}" for n in range(count)]),
        "action": pa.array(["view"] * count),
        "time": pa.array([f"2025-01-{1 + n % 28:02d}T{n % 24:02d}:00:00Z" for n in range(count)]),
    }
    if case == "wide_values.parquet":
        wide = pa.array(["item", "x" * (1 << 20)])
        table["item"] = pa.DictionaryArray.from_arrays(pa.array([n % 2 for n in range(count)]), wide)
    if case == "many_columns.parquet":
        table |= {f"c{n}": pa.array([n] * count) for n in range(10_000)}
    rows = pa.table(table)
    with pq.ParquetWriter(path, rows.schema) as writer:
        for _ in range(max(1, round(30 * size)) if case == "good_rows.parquet" else 1):
            # One row group, as some writers make them.
            writer.write_table(rows, row_group_size=count)


def measured(case: str, size: float, folder: Path) -> dict[str, float | str]:
    """Write a case and stage it in a process of its own.

    Returns:
        peak (bytes of resident memory), cpu (seconds), bytes (of the file), outcome.
    """
    path = write(case, size, folder)
    command = [sys.executable, "-m", "benchmarks.hostile_files", "--stage", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "bytes": path.stat().st_size}


def _stage(path: Path) -> None:
    """Stage a file and print what it took."""
    with tempfile.TemporaryDirectory(dir=path.parent) as store:
        file = LandingFile(path.as_uri(), path.name, path.stat().st_size, "1")
        try:
            dataset = Dataset.model_validate(_DATASET)
            staged = stage("events", file, lambda: path.open("rb"), dataset, LocalStore(Path(store)))
            outcome = f"{staged.rows:,} rows, {staged.rejected:,} rejected"
        except DataFileError as error:
            outcome = f"fault: {error}"
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss, which begins with that of the process which started this one.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    result = {"peak": int(peak.split()[1]) * 1024, "cpu": usage.ru_utime + usage.ru_stime, "outcome": outcome}
    print(json.dumps(result))


def main() -> None:
    """Print a table of the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE")
    parser.add_argument("--size", type=float, default=1.0)
    parser.add_argument("--stage", type=Path)
    arguments = parser.parse_args()
    if arguments.stage is not None:
        _stage(arguments.stage)
        return
    print("| file | MB packed | peak MB | CPU s | outcome |\n|---|---|---|---|---|")
    for case in arguments.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            found = measured(case, arguments.size, Path(folder))
        told = str(found["outcome"]).replace("|", " ")[:120]
        figures = f"{float(found['bytes']) / 1e6:,.1f} | {float(found['peak']) / 1e6:,.0f} | {float(found['cpu']):,.1f}"
        print(f"| {case} | {figures} | {told} |", flush=True)


if __name__ == "__main__":
    main()
