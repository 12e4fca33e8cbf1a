"""Dagster's own share of a daily refresh: the same work through its runs, and by calling the same functions directly.

    python -m benchmarks.overhead [--repetitions 5] [--work FOLDER]

On the default sample (200,000 events, 60 days), with all earlier days in place, the newest day is built over and over:
its history and its refresh up to the release. In turn by two in-process Dagster runs, as ``make run`` does, and by a
loop over the assets' own functions that reads, computes, writes, audits and stores with the same engine and store, but
knows no run, no event log and no metadata. Both must leave the same bytes behind.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pyarrow as pa

from benchmarks.home import make_home
from benchmarks.report import table, write_section
from recsys_assets.automation.staleness import history_tags
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.contracts import Contract, IdTypes, arrow_schema, contracts_of
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.quality import audit
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.io_managers.handles import FILE, Partitions
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.lineage import DATA_FILE, Input, Lineage
from recsys_assets.storage.partition_store import PartitionStore

CONTRACTS = contracts_of(BUILT_IN.names)
GOAL = 0.15
JOBS = ("history", "refresh")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Step:
    """One asset function, and how many days before the day each input begins and ends."""

    function: Callable[..., Any]
    windows: Mapping[str, tuple[int, int]]
    versions: Mapping[str, str]
    files: Mapping[str, str]


class Direct:
    """What asset functions take for the frame writer; stores at once, with the lineage that a run would write."""

    def __init__(self, engine: Engine, ids: IdTypes, partitions: PartitionStore, folder: Path) -> None:
        self.run, self.ids = engine, ids
        self._partitions, self._folder = partitions, folder
        self._known: dict[tuple[str, str], str] = {}
        self.versions: Mapping[str, str] = {}
        self.files: Mapping[str, str] = {}
        self.reads: list[Input] = []

    def empty(self, contract: Contract) -> Frame:
        """A frame of the contract with no rows."""
        return self.run.from_arrow(arrow_schema(contract, self.ids).empty_table())

    def read(self, asset: str, days: Sequence[str]) -> Partitions:
        """A handle of the given days, as far as they exist."""
        uris = dict(self._partitions.uris(asset, days))
        there = tuple(day for day in days if day in uris)
        self.reads += [Input(asset, day, self._sha256(asset, day)) for day in there]

        def scan(chosen: Sequence[str]) -> Frame:
            return self.run.scan([uris[day] for day in chosen], arrow_schema(CONTRACTS[asset], self.ids))

        def fetch(day: str) -> Path:
            return self._partitions.fetch(asset, day, self._folder)

        return Partitions(asset, there, tuple(day for day in days if day not in uris), scan, fetch)

    def write(
        self,
        context: Any,
        build: Callable[[str], Any],
        *,
        asset: str | None = None,
        partition_checks: Sequence[Callable[[str, Frame], dg.AssetCheckResult]] = (),
        params: Any = None,
        seed: int | None = None,
        **_: Any,
    ) -> None:
        """Compute, write, audit, check, store."""
        asset = asset or next(iter(self.files))
        day, contract = context.partition_key, CONTRACTS[asset]
        schema, path = arrow_schema(contract, self.ids), self._path(asset, day, DATA_FILE)
        given = build(day)
        rows = self.run.sink(
            self.run.from_arrow(given) if isinstance(given, pa.Table) else given, path, schema, contract.sort_by
        )
        written = self.run.scan([str(path)], schema).drop("dt")
        broken = audit(self.run, written, contract).violations or [
            check for check in partition_checks if not check(day, written).passed
        ]
        if broken:
            logging.getLogger(__name__).warning("%s of %s: %s", asset, day, broken)
        stated: Any = params(day) if callable(params) else params
        self._store(asset, day, path, rows, stated or {}, seed)

    def write_bytes(
        self,
        context: Any,
        content: bytes,
        *,
        asset: str | None = None,
        params: Any = None,
        seed: int | None = None,
        **_: Any,
    ) -> None:
        """Store a file that is not a frame."""
        asset = asset or next(iter(self.files))
        path = self._path(asset, context.partition_key, self.files[asset])
        path.write_bytes(content)
        self._store(asset, context.partition_key, path, 0, params or {}, seed)

    def _store(self, asset: str, day: str, path: Path, rows: int, params: Mapping[str, Any], seed: int | None) -> None:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        reads, file = tuple(dict.fromkeys(self.reads)), path.name
        version = self.versions[asset]
        lineage = Lineage(asset, day, rows, version, dict(params), seed, reads, "direct", file, sha256)
        self._known[asset, day] = self._partitions.write(asset, day, path, lineage).sha256
        path.unlink()

    def _sha256(self, asset: str, day: str) -> str:
        if (asset, day) not in self._known:
            lineage = self._partitions.read_lineage(asset, day)
            self._known[asset, day] = lineage.sha256 if lineage else ""
        return self._known[asset, day]

    def _path(self, asset: str, day: str, name: str) -> Path:
        folder = self._folder / asset / f"dt={day}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def main() -> None:
    """Build the sample's store, measure, write the table."""
    parser = argparse.ArgumentParser(description="Dagster's own share of a daily refresh.")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--work", type=Path, help="keep the store here, so that a second call only measures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        work: Path = (arguments.work or Path(scratch)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if not (work / "landing").exists():
            generate(SampleConfig(), work / "landing")
        os.environ["DAGSTER_HOME"] = str(work)
        make_home(work)
        settings, dataset = load_settings(
            landing_uri=str(work / "landing"), storage_uri=str(work / "store"), mlflow_tracking_uri="off"
        )
        with dg.DagsterInstance.get() as instance:
            with Materializer(settings, dataset, Progress(), instance) as materializer:
                day = materializer.catch_up()
            measured = measure(settings, dataset, instance, day, work / "store", arguments.repetitions)
    write_section(
        "overhead",
        "Dagster's own share of a daily refresh",
        "python -m benchmarks.overhead",
        ("polars", "catboost", "dagster"),
        describe(measured, day, arguments.repetitions),
    )


Measured = Mapping[tuple[str, str], list[tuple[float, float]]]
"""(way, job) to CPU and wall seconds of each repetition."""


def measure(
    settings: Settings, dataset: Dataset, instance: dg.DagsterInstance, day: str, store: Path, repetitions: int
) -> Measured:
    """Build the newest day in both ways in turn; the first round warms up and is not counted."""
    definitions = build_definitions(settings, dataset)
    plans = {job: plan(definitions, job) for job in JOBS}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {
        (way, job): [] for way in ("Dagster", "directly") for job in JOBS
    }
    left: set[str] = set()
    for repetition in range(repetitions + 1):
        for way in ("Dagster", "directly"):
            forget(store, day)
            for job in JOBS:
                if way == "Dagster":
                    spent = through_dagster(definitions, instance, job, day)
                else:
                    spent = directly(plans[job], settings, dataset, day)
                if repetition:
                    found[way, job].append(spent)
            left.add(fingerprint(store, day))
    if len(left) != 1:
        raise SystemExit("the two ways left different bytes behind: they did not do the same work")
    return found


def plan(definitions: dg.Definitions, job: str) -> list[Step]:
    """The asset functions of a job in the order of their dependencies."""
    by_op = {one.node_def.name: one for one in definitions.resolve_asset_graph().assets_defs if one.is_executable}
    steps: list[Step] = []
    for node in definitions.resolve_job_def(job).nodes_in_topological_order:
        asset = by_op[node.definition.name]
        function: Callable[..., Any] = asset.op.compute_fn.decorated_fn  # type: ignore[union-attr]
        windows = {
            name: window_of(asset.get_partition_mapping(dg.AssetKey(name)))
            for name, given in asset.op.input_dict.items()
            if not given.dagster_type.is_nothing
        }
        versions = {key.to_user_string(): version or "" for key, version in asset.code_versions_by_key.items()}
        files = {spec.key.to_user_string(): spec.metadata.get(FILE, DATA_FILE) for spec in asset.specs}
        steps.append(Step(function, windows, versions, files))
    return steps


def window_of(mapping: dg.PartitionMapping | None) -> tuple[int, int]:
    """First and last day that a mapping reads, in days after the partition's own."""
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return mapping.start_offset, mapping.end_offset
    return 0, 0


def through_dagster(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str, day: str
) -> tuple[float, float]:
    """CPU and wall seconds of one run, from asking for it to its end."""
    tags = history_tags(day, day) if job == "history" else {"dagster/partition": day}
    start = time.process_time(), time.perf_counter()
    result = definitions.resolve_job_def(job).execute_in_process(instance=instance, tags=tags, run_config=_QUIET)
    spent = time.process_time() - start[0], time.perf_counter() - start[1]
    if not result.success:
        raise SystemExit(f"{job} of {day} failed")
    return spent


def directly(steps: Sequence[Step], settings: Settings, dataset: Dataset, day: str) -> tuple[float, float]:
    """CPU and wall seconds of the same functions in a loop."""
    context = SimpleNamespace(
        partition_key=day,
        partition_keys=[day],
        log=logging.getLogger(__name__),
        log_event=lambda _: None,
        add_asset_metadata=lambda *_, **__: None,
    )
    with (
        dg.build_resources(build_resources(settings, dataset)) as opened,
        tempfile.TemporaryDirectory(prefix="overhead-") as folder,
    ):
        start = time.process_time(), time.perf_counter()
        frames = Direct(opened.engine.open(), dataset.ids, opened.store.partitions(), Path(folder))
        shared = {"context": context, "frames": frames, "landing": opened.landing, "store": opened.store}
        shared["tracking"] = opened.tracking
        for step in steps:
            frames.versions, frames.files, frames.reads = step.versions, step.files, []
            inputs = {name: frames.read(name, list(days_of(day, window))) for name, window in step.windows.items()}
            wanted = inspect.signature(step.function).parameters
            step.function(**inputs, **{name: value for name, value in shared.items() if name in wanted})
        return time.process_time() - start[0], time.perf_counter() - start[1]


def days_of(day: str, window: tuple[int, int]) -> Iterator[str]:
    """The days of a window around a day."""
    for offset in range(window[0], window[1] + 1):
        yield (date.fromisoformat(day) + timedelta(days=offset)).isoformat()


def forget(store: Path, day: str) -> None:
    """Remove what was built of the day, the releases, and what is remembered of searches."""
    for folder in store.glob(f"assets/*/dt={day}"):
        shutil.rmtree(folder)
    for folder in ("releases", "tuning"):
        shutil.rmtree(store / folder, ignore_errors=True)


def fingerprint(store: Path, day: str) -> str:
    """Of every file of the day, and of the releases, but for the records of who made them."""
    files = [*store.glob(f"assets/*/dt={day}/[!_]*"), *store.glob("releases/*/*")]
    return hashlib.sha256(b"".join(str(f).encode() + f.read_bytes() for f in sorted(files))).hexdigest()


def describe(measured: Measured, day: str, repetitions: int) -> str:
    """The table, and what it says in words."""

    def middle(way: str, at: int, jobs: Sequence[str]) -> float:
        rounds = zip(*(measured[way, job] for job in jobs), strict=True)
        return median(sum(one[at] for one in spent) for spent in rounds)

    rows: list[list[str]] = []
    for name, jobs in (("history", JOBS[:1]), ("refresh", JOBS[1:]), ("both", JOBS)):
        cpu, wall = ([middle(way, at, jobs) for way in ("directly", "Dagster")] for at in (0, 1))
        rows.append(
            [
                name,
                *(f"{one:.2f}" for one in (*cpu, *wall)),
                f"{cpu[1] / cpu[0] - 1:.1%}",
                f"{wall[1] / wall[0] - 1:.1%}",
            ]
        )
    share = middle("Dagster", 0, JOBS) / middle("directly", 0, JOBS) - 1
    head = ["job", "directly CPU s", "Dagster CPU s", "directly s", "Dagster s", "more CPU", "more time"]
    return f"""{table(head, rows)}

Medians of {repetitions} repetitions in turn, {day} of the default sample, in-process executor; equal bytes either way.
The goal of at most {GOAL:.0%} more CPU time for both is {"met" if share <= GOAL else "missed"}."""


if __name__ == "__main__":
    main()
