"""A ranker that cannot see what it was trained with orders nothing, and everybody is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets_tests.integration.conftest import DAY, Train
from recsys_assets_tests.integration.test_graph import copy_of, read
from recsys_assets_tests.integration.test_model_life import refresh, released
from recsys_assets_tests.integration.world import World, materialized

pytestmark = pytest.mark.graph


def seen_inputs(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [seen] = [one for one in result.get_asset_check_evaluations() if one.check_name == "model_inputs_present"]
    return seen


@pytest.mark.usefixtures("as_if_rebuilt")
def test_a_ranker_stands_down_where_a_generator_that_it_learned_from_gives_nothing(
    built: World, tmp_path: Path, instance: dg.DagsterInstance, train_on: Train
) -> None:
    world = copy_of(built, tmp_path, instance)
    train_on("good")
    seen = seen_inputs(refresh(world, DAY, "explanations"))
    assert seen.passed
    assert set(read(world, "recommendations", DAY)["source"]) == {"ranker"}
    present: Any = world.lineage("served_ranker", DAY).params["present"]
    generators = ",".join(name for name in BUILT_IN.names if name not in ("covisit", "nearest"))
    world.settings = world.settings.model_copy(update={"generators": generators})
    result = refresh(world, DAY, chain=("recommendations", "explanations"))
    assert result.success, "it is told, and nobody goes without lists"
    seen = seen_inputs(result)
    assert (seen.passed, seen.severity) == (False, dg.AssetCheckSeverity.WARN)
    lost = {name: {"training": present[name], "now": 0.0} for name in ("covisit_score", "covisit_rank")}
    assert seen.metadata["missing"].value == lost
    recorded = {name: [present[name], 0.0] for name in lost}
    assert world.lineage("recommendations", DAY).params["missing"] == recorded
    told = materialized(result)["recommendations"]
    assert told["order_by"].value == "fused"
    assert f"covisit_rank ({present['covisit_rank']:.1%} of the rows, now 0.0%)" in str(told["why"].value)
    assert set(read(world, "recommendations", DAY)["source"]) == {"fused"}
    assert read(world, "explanations", DAY)["feature_1"].str.ends_with("_rank").all()
    facts = world.store.releases().manifest(world.served_release()).facts
    assert (facts["served_by"], facts["model"]) == ("fused", None)
    assert not any(name.startswith("ranker.") for name in released(world))
