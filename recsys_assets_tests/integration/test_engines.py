"""The whole graph on another engine: not one byte differs from a run on Polars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys_assets.engines.duckdb import DuckDBEngine
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.world import World, make_world

pytestmark = pytest.mark.graph


def test_duckdb_gives_the_bytes_and_the_release_of_polars(
    built: World, sample: Path, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[DuckDBEngine] = []
    closed: list[DuckDBEngine] = []
    make, close = DuckDBEngine.__init__, DuckDBEngine.close

    def made(engine: DuckDBEngine, *args: Any) -> None:
        engines.append(engine)
        make(engine, *args)

    def let_go(engine: DuckDBEngine) -> None:
        closed.append(engine)
        close(engine)

    monkeypatch.setattr(DuckDBEngine, "__init__", made)
    monkeypatch.setattr(DuckDBEngine, "close", let_go)
    spilled = tmp_path / "spilled"
    spilled.mkdir()
    world = make_world(
        tmp_path,
        instance,
        landing_uri=str(sample),
        engine="duckdb",
        memory_limit="2GB",
        spill_folder=str(spilled),
    )

    with world.materializer() as materializer:
        assert materializer.catch_up() == DAY

    here, there = (one.hashes("assets", "releases") for one in (world, built))
    assert without_lineage(here) == without_lineage(there)
    assert world.store.releases().current() == built.store.releases().current()
    runs = instance.get_runs_count()
    assert 0 < len(engines) == len(closed) <= runs  # at most one for a run, and none is left open
    assert list(spilled.iterdir()) == []


def without_lineage(hashes: dict[str, str]) -> dict[str, str]:
    """What lineage says names the landing files by address, which differs."""
    return {key: value for key, value in hashes.items() if not key.endswith("_lineage.json")}
