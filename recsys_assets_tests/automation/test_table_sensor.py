"""The sensor of the tables in PostgreSQL under a prefix; ``test_recommendations_table`` has a real database."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.jobs import AT_ONCE
from recsys_assets.storage.recommendations_table import RecommendationsTable
from recsys_assets_tests.api.publishing import Content, publish
from recsys_assets_tests.integration.world import dagster_in, make_world


def test_the_sensor_asks_for_the_table_of_its_own_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecommendationsTable, "loaded", lambda _: None)
    database = "postgresql://nobody@127.0.0.1/none"
    with dagster_in(tmp_path / "dagster") as instance:
        world = make_world(tmp_path, instance, key_prefix="shop/de", recommendations_url=database)
        release = publish(world.settings.storage_uri, "2025-01-01", Content({1: [2, 3]}), dataset="retailrocket")
        repository = world.definitions().get_repository_def()
        with dg.build_sensor_context(
            instance=instance, repository_def=repository, resources={"shop__de__store": world.store}
        ) as context:
            tick = repository.get_sensor_def("shop__de__table_sensor").evaluate_tick(context)
    (request,), (told,) = list(tick.run_requests or ()), tick.asset_events
    job = repository.get_job(request.job_name or "")
    assert job.name == "shop__de__load_table"
    assert job.asset_layer.selected_asset_keys == {dg.AssetKey(["shop", "de", "recommendations_table"])}
    tags = {**job.run_tags, **request.tags}
    assert tags.items() >= AT_ONCE.items(), "it is ahead of the queue"
    assert "recsys/store" not in tags, "it is not among the runs that automation is limited to"
    assert isinstance(told, dg.AssetCheckEvaluation)
    assert told.asset_key == dg.AssetKey(["shop", "de", "recommendations_table"])
    assert (told.passed, told.metadata["served"].value) == (False, release)
