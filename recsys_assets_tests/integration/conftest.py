from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.assets import ranking
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets_tests.integration.world import World, dagster_in, make_world

SAMPLE = SampleConfig(events=12_000, days=30, seed=3)
DAY = "2015-06-01"
"""The newest day of the sample."""

Train = Callable[[str], None]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    generate(SAMPLE, folder)
    return folder


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_in(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def built(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The sample, brought up to date once and shared; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("built")
    with dagster_in(tmp_path_factory.mktemp("dagster")) as made:
        world = make_world(folder, made, landing_uri=str(sample))
        with world.materializer() as materializer:
            assert materializer.catch_up() == DAY
        yield world


@pytest.fixture
def train_on(monkeypatch: pytest.MonkeyPatch, built: World) -> Train:
    """Makes the rankers of the test good or bad."""

    def choose(what: str) -> None:
        def table(read: Any, horizon: int) -> pa.Table:
            newest = date.fromisoformat(max((*read.days, *read.missing)))
            day = (newest + timedelta(days=horizon)).isoformat()
            if what == "error":
                raise RuntimeError("no memory left")
            evaluated = pl.read_parquet(built.folder / f"store/assets/ranking_examples/dt={day}/data.parquet")
            # The sample is small: the same users, many times, are enough to train on.
            rows = pl.concat([evaluated.with_columns(pl.col("user_id") + 1_000_000 * copy) for copy in range(20)])
            rows = rows.with_columns(dt=pl.lit(day).str.to_date())
            if what == "bad":
                rows = rows.with_columns(pl.col("label").shuffle(seed=0))
            return rows.to_arrow()

        monkeypatch.setattr(ranking, "training_table", table)

    return choose


@pytest.fixture
def as_if_rebuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that make a part of a day with other settings, where a person would make all that it reads again."""
    monkeypatch.setattr(PartitionStore, "changes", lambda *_: ())
