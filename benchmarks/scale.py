"""How time, memory and bytes grow from 3 to 282 million events, from parsed events to the lists that are served.

Each size and engine runs in a process of its own, and its figures stay in the work folder, so that a run that was cut
off goes on where it stopped. ``sql`` is the yardstick: the same computation by hand, in ``scale.sql``.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import report, scale_data
from recsys_assets.core.activity import bots, marts
from recsys_assets.core.contracts import CONTRACTS, COVISITED_ITEMS, Contract, IdTypes, arrow_schema
from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.events.clean import CleanParams, clean_day
from recsys_assets.core.events.parse import PARSED_EVENTS
from recsys_assets.core.models import covisitation, popular
from recsys_assets.core.models import similar_items as similar
from recsys_assets.core.quality import audit
from recsys_assets.engines.open import open_engine
from recsys_assets.settings import Settings

SIZES = {"3m": 3_000_000, "30m": 30_000_000, "282m": 282_000_000}
ENGINES = ("polars", "duckdb", "sql")
ASSETS = (
    *("clean_events", "user_activity", "bot_users", "item_activity", "item_pairs"),
    *("top_popular", "covisited_items", "similar_items"),
)
WINDOWS = {"popular_days": 28, "trending_days": 3, "covisit_days": 90}
"""Stated, so that figures stay comparable when defaults change."""
MEMORY_LIMIT = "8GB"
"""What DuckDB may hold before it spills; the process holds more."""
AUDIT = "audit"
_SQL = Path(__file__).with_name("scale.sql")


@dataclass
class Figures:
    """What one run took and made.

    Attributes:
        events: rows in.
        wall: seconds by asset; ``audit`` is the check of every file against its contract.
        cpu: CPU seconds of all threads, likewise.
        rows: rows out by asset.
        bytes: of all files.
        peak: most resident memory of the process, in bytes.
        hashes: sums of hashes of each asset's columns, the same for equal rows in any order.
    """

    events: int
    wall: dict[str, float] = field(default_factory=dict[str, float])
    cpu: dict[str, float] = field(default_factory=dict[str, float])
    rows: dict[str, int] = field(default_factory=dict[str, int])
    bytes: int = 0
    peak: int = 0
    hashes: dict[str, str] = field(default_factory=dict[str, str])

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Add what the body takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall[name] = self.wall.get(name, 0.0) + time.perf_counter() - wall
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu

    def seconds(self, kind: Mapping[str, float], *, audited: bool = False) -> float:
        """Seconds of all assets; with or without the audit."""
        return sum(took for name, took in kind.items() if audited or name != AUDIT)


@dataclass(frozen=True)
class Build:
    """All days and then the lists, by the platform's functions, each file written and audited as in a run.

    Args:
        engine: what runs the frames.
        data: what :mod:`benchmarks.scale_data` made.
        out: where the assets go.
        figures: filled in.
    """

    engine: Engine
    data: Path
    out: Path
    figures: Figures

    def run(self) -> None:
        """Build everything, with the default settings."""
        days, dataset = scale_data.days_of(self.data), load_dataset("retailrocket")
        for day in days:
            self._daily(day, dataset)
        self._lists(days, Settings.model_validate(WINDOWS))

    def _daily(self, day: date, dataset: Dataset) -> None:
        types = dataset.event_types
        weights = marts.EventWeights(
            {name: one.weight for name, one in types.items()},
            frozenset(name for name, one in types.items() if one.target),
        )
        rule = bots.BotRule(**dataset.bots.model_dump())
        rows = self._scan(PARSED_EVENTS, [scale_data.events_file(self.data, day)]).select(*PARSED_EVENTS.columns)
        self._write("clean_events", day, lambda: clean_day(rows, CleanParams(dataset.session_gap_minutes)))
        events = self._days("clean_events", [day])
        self._write("user_activity", day, lambda: marts.user_activity(events, weights))
        self._write("bot_users", day, lambda: bots.bot_users(events, rule))
        people = bots.without(events, self._days("bot_users", [day]))
        self._write("item_activity", day, lambda: marts.item_activity(people, weights))
        self._write("item_pairs", day, lambda: marts.item_pairs(people, persist=self.engine.persist))

    def _lists(self, days: Sequence[date], settings: Settings) -> None:
        as_of = days[-1]
        features = self._scan(CONTRACTS["item_features"], [scale_data.features_file(self.data)])
        params = popular.PopularParams(
            settings.popular_days, settings.trending_days, settings.trending_half_life, settings.popular_k
        )
        recent = self._days("item_activity", days[-max(settings.popular_days, settings.trending_days) :])
        self._write("top_popular", as_of, lambda: popular.top_popular(recent, features, as_of, params))
        window = days[-settings.covisit_days :]
        pairs, items = self._days("item_pairs", window), self._days("item_activity", window)
        near = covisitation.CovisitParams(k=settings.similar_k)
        self._write("covisited_items", as_of, lambda: covisitation.covisit_in_parts(self.engine, pairs, items, near))
        none = self.engine.from_arrow(arrow_schema(COVISITED_ITEMS, IdTypes()).empty_table())  # no factors
        covisited = self._days("covisited_items", [as_of])
        self._write(
            "similar_items",
            as_of,
            lambda: similar.similar_in_parts(self.engine, covisited, none, settings.similar_k),
        )

    def _scan(self, contract: Contract, files: Sequence[Path]) -> Frame:
        return self.engine.scan([str(file) for file in files], arrow_schema(contract, IdTypes()))

    def _days(self, asset: str, days: Sequence[date]) -> Frame:
        return self._scan(CONTRACTS[asset], [output(self.out, asset, day) for day in days])

    def _write(self, asset: str, day: date, make: Callable[[], Frame | Iterable[Frame]]) -> None:
        contract, path = CONTRACTS[asset], output(self.out, asset, day)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.figures.stage(asset):
            self.engine.sink(make(), path, arrow_schema(contract, IdTypes()), contract.sort_by)
        with self.figures.stage(AUDIT):
            found = audit(self.engine, self._scan(contract, [path]).drop("dt"), contract)
        if found.violations:
            raise RuntimeError(f"{path}: {found.violations}")


def by_hand(data: Path, out: Path, figures: Figures) -> None:
    """Run ``scale.sql``: a part for each day, then the lists."""
    import duckdb

    _, daily, lists = re.split(r"^-- (?:each day|lists)$", _SQL.read_text(), flags=re.MULTILINE)
    settings, days = Settings.model_validate(WINDOWS), scale_data.days_of(data)
    connection = duckdb.connect()
    connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'; SET temp_directory = '{out / 'spilled'}'")
    connection.execute("SET TimeZone = 'UTC'")
    given = {**settings.model_dump(), "data": data, "out": out}
    for day, part in [*((day, daily) for day in days), (days[-1], lists)]:
        for asset in ASSETS:
            output(out, asset, day).parent.mkdir(parents=True, exist_ok=True)
        for statement in filter(str.strip, part.format(**given, day=day).split(";")):
            name = re.search(rf"TO '{out}/(\w+)/", statement)
            with figures.stage(name.group(1) if name else "tables"):
                connection.execute(statement)


def output(out: Path, asset: str, day: date | str) -> Path:
    """The file of a partition."""
    return out / asset / f"dt={day}" / "data.parquet"


def run_one(size: str, engine: str, data: Path, work: Path) -> None:
    """Build one size on one engine in this process and write its figures."""
    data, out = data / size, work / f"{size}-{engine}"
    figures = Figures(json.loads((data / "counts.json").read_text())["events"])
    if engine == "sql":
        by_hand(data, out, figures)
    else:
        opened = open_engine(engine, memory_limit=MEMORY_LIMIT, spill_folder=str(work))  # type: ignore[arg-type]
        Build(opened, data, out, figures).run()
        opened.close()
    figures.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures.bytes = sum(path.stat().st_size for path in out.glob("*/dt=*/data.parquet"))
    (work / f"{size}-{engine}.json").write_text(json.dumps(asdict(figures), indent=1))


def digest(size: str, engine: str, work: Path) -> None:
    """Add to the figures what the files hold (rows, and the sum of the hashes of each column); remove the files."""
    import duckdb

    path = work / f"{size}-{engine}.json"
    figures = Figures(**json.loads(path.read_text()))
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT})
    for asset in ASSETS:
        files = str(output(work / f"{size}-{engine}", asset, "*"))
        columns = sorted(connection.read_parquet(files, hive_partitioning=True).columns)
        sums = ", ".join(f"sum(hash({column})::HUGEINT)" for column in (*columns, ", ".join(columns)))
        found: Any = connection.read_parquet(files, hive_partitioning=True).aggregate(f"count(*), {sums}").fetchall()[0]
        figures.rows[asset] = found[0]
        figures.hashes[asset] = " ".join(map(str, found[1:]))
    path.write_text(json.dumps(asdict(figures), indent=1))
    shutil.rmtree(work / f"{size}-{engine}")


def section(results: Mapping[tuple[str, str], Figures]) -> str:
    """The table, and whether all agree."""
    lines: list[list[str]] = []
    for (size, engine), one in results.items():
        millions, per = one.events / 1e6, one.seconds(one.cpu) / one.events
        smallest, hand = results.get(("3m", engine)), results.get((size, "sql"))
        lines.append(
            [
                f"{millions:,.0f} million, {engine}",
                f"{one.seconds(one.wall) / millions:.2f}",
                f"{one.seconds(one.cpu) / millions:.2f}",
                f"{one.cpu.get(AUDIT, 0.0) / millions:.2f}",
                f"{per / (smallest.seconds(smallest.cpu) / smallest.events):.2f}" if smallest else "",
                f"{one.seconds(one.cpu) / hand.seconds(hand.cpu):.2f}" if hand else "",
                f"{one.peak / 2**30:.1f}",
                f"{one.bytes / one.events:.0f}",
            ]
        )
    head = ["events, engine", "wall s per million", "CPU s per million", "audit: CPU s per million"]
    head += ["against 3 million", "against SQL", "peak GiB", "bytes per event"]
    sizes = list(dict.fromkeys(size for size, _ in results))
    differ = [
        f"{size}: {asset}"
        for size in sizes
        for asset in ASSETS
        if len({(one.rows[asset], one.hashes[asset]) for (its, _), one in results.items() if its == size}) > 1
    ]
    rows = [
        [asset, *(f"{next(one for (its, _), one in results.items() if its == size).rows[asset]:,}" for size in sizes)]
        for asset in ASSETS
    ]
    return "\n\n".join(
        [
            "From parsed events in a file a day (138 days) to clean events, all marts, `top_popular` and the "
            "co-visitation of `similar_items` as of the last day, over 28 and 90 days. `sql` is the same by hand "
            "in DuckDB, as one script; files hold the same rows in the same order. Each file is checked against its "
            "contract by the platform; that time stands by itself and is in no other figure.",
            report.table(head, lines),
            f"Rows written, by number of events ({', '.join(sizes)}):",
            report.table(["asset", *sizes], rows),
            f"Values that differ between engines: {', '.join(differ)}" if differ else "All engines wrote equal values.",
        ]
    )


def main() -> None:
    """Make the data that is missing, run what was not run yet, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--data", type=Path, required=True, help="folder for generated events, up to 6 GB")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is built and its figures")
    parser.add_argument("--step", choices=("build", "digest"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.step:
        step: Callable[..., None] = {"build": run_one, "digest": digest}[given.step]
        step(given.sizes[0], given.engines[0], *([given.data] if given.step == "build" else []), given.work)
        return
    results: dict[tuple[str, str], Figures] = {}
    for size in given.sizes:
        # A process of its own for each, so that none inherits another's memory.
        _python("scale_data", "--events", str(SIZES[size]), "--out", str(given.data / size))
        for engine in given.engines:
            path = given.work / f"{size}-{engine}.json"
            places = ["--data", str(given.data), "--work", str(given.work)]
            one = ["--sizes", size, "--engines", engine, *places]
            if not path.exists():
                _python("scale", *one, "--step", "build")
            if not json.loads(path.read_text())["hashes"]:
                _python("scale", *one, "--step", "digest")
            results[size, engine] = Figures(**json.loads(path.read_text()))
    command = "python -m benchmarks.scale --data DIR --work DIR"
    report.write_section("scale", "Scale", command, ["polars", "duckdb", "narwhals", "pyarrow"], section(results))


def _python(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=True)


if __name__ == "__main__":
    main()
