"""A new day touches nothing but itself, and what it leaves is what a rebuild of all days gives."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from recsys_assets.sample.config import DAY_MS, SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets_tests.integration.world import World, make_world

pytestmark = pytest.mark.graph

DAILY = ("clean_events", "bot_users", "user_activity", "item_activity", "item_pairs")
SAMPLE = SampleConfig(events=1_800, days=6, seed=5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file of events for each day, oldest first."""
    folder = tmp_path_factory.mktemp("days")
    generate(SAMPLE, folder)
    events = pl.read_csv(folder / "events.csv")
    paths: list[Path] = []
    for day in range(SAMPLE.days):
        paths.append(folder / f"events-{SAMPLE.start + timedelta(days=day)}.csv")
        events.filter((pl.col("timestamp") - SAMPLE.start_ms) // DAY_MS == day).write_csv(paths[-1])
    return paths


def build(world: World) -> None:
    with world.materializer() as materializer:
        newest = materializer.catch_up_history()
    refresh = world.definitions().resolve_job_def("refresh")
    refresh.execute_in_process(
        instance=world.instance,
        tags={"dagster/partition": newest},
        asset_selection=[dg.AssetKey("covisited_items")],
    )


def test_one_more_day_is_a_day_of_work_and_equals_a_rebuild(
    tmp_path: Path, instance: dg.DagsterInstance, files: list[Path]
) -> None:
    landing = tmp_path / "landing"
    grown = make_world(tmp_path / "grown", instance, landing_uri=str(landing))
    landing.mkdir()
    for file in files[:-1]:
        file.rename(landing / file.name)
    build(grown)
    before = grown.hashes("assets")
    files[-1].rename(landing / files[-1].name)
    build(grown)
    after = grown.hashes("assets")
    last = str(SAMPLE.start + timedelta(days=SAMPLE.days - 1))
    assert {path for path in after if before.get(path) != after[path]} == {
        path for path in after if f"dt={last}" in path
    }

    partitions = grown.store.partitions()
    for asset in DAILY:
        record = partitions.read_lineage(asset, last)
        assert record is not None
        assert {one.day for one in record.inputs} <= {last}
    record = partitions.read_lineage("covisited_items", last)
    assert record is not None
    assert {one.asset for one in record.inputs} == {"item_pairs", "item_activity"}

    whole = make_world(tmp_path / "whole", instance, landing_uri=str(landing))
    build(whole)
    rebuilt = {path: sha for path, sha in whole.hashes("assets").items() if path.endswith(".parquet")}
    assert len(rebuilt) > len(DAILY) * SAMPLE.days
    assert {path: after.get(path) for path in rebuilt} == rebuilt
