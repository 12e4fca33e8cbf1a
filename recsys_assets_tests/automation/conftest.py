from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.automation.event_log import store_tag
from recsys_assets.core.dataset import load_dataset
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets_tests.automation.driver import FAST, Driver
from recsys_assets_tests.integration.world import dagster_in, make_world

Files = dict[str, bytes]
FIRST = [f"2015-05-{day:02}" for day in range(3, 9)]
"""The days that the shared world begins with."""
POOLS = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
"""As in ``dagster.yaml``."""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Ten days of events, 2015-05-03 to 2015-05-12, as one file each; the catalogue's files by their names."""
    folder = tmp_path_factory.mktemp("sample")
    generate(SampleConfig(events=3_000, days=10, seed=5), folder)
    boundary = load_dataset("retailrocket").boundary_hours
    header, *rows = (folder / "events.csv").read_text().splitlines()
    days: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        days[(int(row.split(",")[0]) // 1000 - boundary * 3600) // 86400].append(row)
    events = {
        f"events_2015-05-{number:02}.csv": "\n".join([header, *lines]).encode()
        for number, (_, lines) in enumerate(sorted(days.items()), start=3)
    }
    return {**events, **{path.name: path.read_bytes() for path in folder.iterdir() if path.name != "events.csv"}}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_in(tmp_path / "dagster", **POOLS) as made:
        yield made


@pytest.fixture
def driver(tmp_path: Path, instance: dg.DagsterInstance) -> Driver:
    """Nothing has landed yet."""
    return Driver(make_world(tmp_path, instance, **FAST))


@pytest.fixture(scope="session")
def first_days(files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A world in which six days landed in one tick and automation came to rest; and what ran."""
    folder = tmp_path_factory.mktemp("first")
    with dagster_in(folder / "dagster", **POOLS) as made:
        first = Driver(make_world(folder, made, **FAST))
        for name, content in files.items():
            if not name.startswith("events") or any(day in name for day in FIRST):
                (first.world.landing / name).write_bytes(content)
        ran = [*first.land(), *map(str, first.follow())]
        (folder / "cursors").write_text(first.dump())
    return folder, ran


@pytest.fixture
def built(first_days: tuple[Path, list[str]], tmp_path: Path) -> Iterator[Driver]:
    """A copy of that world, to go on from."""
    shutil.copytree(first_days[0] / "store", tmp_path / "store")
    shutil.copytree(first_days[0] / "dagster", tmp_path / "dagster")
    # The same files: copies would have other fingerprints.
    shutil.copytree(first_days[0] / "landing", tmp_path / "landing", copy_function=lambda a, b: Path(b).hardlink_to(a))
    with dagster_in(tmp_path / "dagster", **POOLS) as made:
        copy = Driver(make_world(tmp_path, made, **FAST))
        for run in made.get_runs():
            made.add_run_tags(run.run_id, store_tag(copy.world.settings.storage_uri))
        copy.load((first_days[0] / "cursors").read_text())
        yield copy
