from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets_tests.integration.world import World, dagster_in, make_world

SAMPLE = SampleConfig(events=12_000, days=30, seed=3)
DAY = "2015-06-01"
"""The newest day of the sample."""


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
