"""The whole graph on Spark: the bytes of Polars, but for what the factors of another ALS make different."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.contracts import contracts_of
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store
from recsys_assets_tests.integration.world import World
from recsys_assets_tests.spark.world import build

pytestmark = pytest.mark.spark
AFTER_ALS = {
    "item_factors", "similar_items", "candidates", "ranking_examples", "ranker_evaluation",
    "served_ranker", "recommendations", "explanations", "data_report", "retrieval_params",
}  # fmt: skip


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """The store that Spark made, and the world that Polars made of the same sample."""
    sample, spark, polars = (tmp_path_factory.mktemp(name) for name in ("sample", "spark", "polars"))
    generate(SampleConfig(events=2_000, days=3, seed=3), sample)
    take_snapshot_earlier(sample)
    command = [sys.executable, "-m", "recsys_assets_tests.spark.world", str(spark), str(sample)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return spark / "store", build(polars, sample)


def take_snapshot_earlier(sample: Path) -> None:
    """Move the item properties from a week after the first event to the second day.

    So they are known as of the days whose lists are made, and no empty days lie between.
    """
    for path in sample.glob("item_properties_*.csv"):
        rows = pl.read_csv(path, infer_schema=False)
        earlier = (pl.col("timestamp").cast(pl.Int64) - 6 * 24 * 3_600_000).cast(pl.String)
        rows.with_columns(timestamp=earlier).write_csv(path)


def partitions(store: Path) -> dict[tuple[str, str], Path]:
    return {(path.parts[-3], path.parts[-2]): path for path in sorted((store / "assets").rglob("data.parquet"))}


def test_bytes_are_those_of_polars_where_no_factors_are_involved(worlds: tuple[Path, World]) -> None:
    here, there = partitions(worlds[0]), partitions(worlds[1].folder / "store")
    assert here.keys() == there.keys()
    exact = [key for key in here if key[0] not in AFTER_ALS]
    assert len(exact) > 30
    assert [key for key in exact if here[key].read_bytes() != there[key].read_bytes()] == []


def test_what_factors_are_part_of_keeps_its_contract_and_its_shape(worlds: tuple[Path, World]) -> None:
    here, there = partitions(worlds[0]), partitions(worlds[1].folder / "store")
    for key in [key for key in here if key[0] in AFTER_ALS & contracts_of(BUILT_IN.names).keys()]:
        assert pq.read_schema(here[key]) == pq.read_schema(there[key]), key
        if key[0] == "item_factors":
            found, expected = (pq.read_table(one[key]) for one in (here, there))
            assert found.column(0).equals(expected.column(0))
            assert found["factors"].combine_chunks().offsets.equals(expected["factors"].combine_chunks().offsets)


def test_other_generators_and_neighbours_are_the_same(worlds: tuple[Path, World]) -> None:
    here, there = partitions(worlds[0]), partitions(worlds[1].folder / "store")
    for key in [key for key in here if key[0] == "similar_items"]:
        found, expected = (pl.read_parquet(one[key]).filter(pl.col("source") == "covisit") for one in (here, there))
        assert len(found) > 0
        assert found.equals(expected)
    for key in [key for key in here if key[0] == "candidates"]:
        for generator in set(BUILT_IN.names) - {"als", "covisit"}:
            columns = ["user_id", "item_id", f"{generator}_score", f"{generator}_rank"]
            found, expected = (
                pl.read_parquet(one[key], columns=columns).drop_nulls().sort(columns[:2]) for one in (here, there)
            )
            assert found.equals(expected), (key, generator)


def test_a_release_of_spark_is_served(worlds: tuple[Path, World]) -> None:
    served = Releases(open_store(str(worlds[0]))).current()
    expected = worlds[1].store.releases().current()
    assert served is not None
    assert expected is not None
    assert served.as_of == expected.as_of
