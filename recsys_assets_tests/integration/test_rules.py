"""The rules of lists in a whole graph: kept in what is released, and their cost shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets.settings import load_settings
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.test_graph import copy_of, read
from recsys_assets_tests.integration.test_insight import parts
from recsys_assets_tests.integration.test_model_life import refresh
from recsys_assets_tests.integration.world import World, materialized

pytestmark = [pytest.mark.graph, pytest.mark.usefixtures("as_if_rebuilt")]

EXAMPLE = Path(__file__).parents[2] / "docs" / "placements.toml"
RULES = {"exclude_purchased": True, "category_cap": 2, "diversity": 0.2}


def test_lists_keep_the_rules_and_the_evaluation_says_what_they_cost(
    built: World, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    world = copy_of(built, tmp_path, instance)
    world.settings = world.settings.model_copy(update=RULES)
    made = refresh(world, DAY)
    assert made.success

    lists, plain = read(world, "recommendations", DAY), read(built, "recommendations", DAY)
    purchased = parts(world, "user_activity").filter(pl.col("top_weight") == 10).select("user_id", "item_id").unique()
    assert len(plain.join(purchased, on=["user_id", "item_id"], how="semi")) > 0
    assert len(lists.join(purchased, on=["user_id", "item_id"], how="semi")) == 0
    categories = read(world, "item_features", DAY).select("item_id", "category_id").drop_nulls()
    held = lists.join(categories, on="item_id").group_by("user_id", "category_id").len()
    assert held["len"].max() == 2
    assert set(lists["user_id"]) == set(plain["user_id"])
    assert lists.group_by("user_id").agg(pl.col("rank").sort().eq(pl.int_range(1, pl.len() + 1)).all())["rank"].all()

    evaluated = {
        (row["model"], row["metric"]): row
        for row in read(world, "ranker_evaluation", DAY).filter(pl.col("k") == 10).to_dicts()
    }
    (winner,) = {model for model, metric in evaluated if metric == "diversity"} - {"final"}
    cost = evaluated["final", "ndcg"]["value"] - evaluated[winner, "ndcg"]["value"]
    assert evaluated["final", "ndcg_gain"]["value"] == pytest.approx(cost)
    assert evaluated["final", "diversity"]["value"] > evaluated[winner, "diversity"]["value"]
    metadata = materialized(made)
    assert metadata["ranker_evaluation"]["reranking_ndcg_value"].value == pytest.approx(cost)
    assert len(metadata["ranker_evaluation"]["reranking_cost"].value) < 1000, "the UI shows as much in place"
    assert metadata["recommendations"]["reranking"].value == metadata["ranker_evaluation"]["reranking"].value

    facts: Any = world.store.releases().manifest(world.served_release()).facts
    assert facts["lists"]["recommendations"] == len(lists)
    assert RULES.items() <= world.lineage("recommendations", DAY).params.items()


def test_a_release_takes_placements_along_and_one_with_a_mistake_is_not_published(
    built: World, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    world = copy_of(built, tmp_path, instance)
    before = world.served_release()
    for text, good in (("[places.home]\nfilter = 'colour == 1'", False), (EXAMPLE.read_text(), True)):
        path = tmp_path / "placements.toml"
        path.write_text(text)
        world.settings = world.settings.model_copy(update={"placements": str(path)})
        job = world.definitions().resolve_job_def("refresh")
        made = job.execute_in_process(
            instance=instance,
            tags={"dagster/partition": DAY},
            asset_selection=[dg.AssetKey("release")],
            raise_on_error=False,
        )
        assert (made.success, world.served_release() != before) == (good, good)
    manifest = world.store.releases().manifest(world.served_release())
    (file,) = [file for file in manifest.files if file.name == "placements.toml"]
    assert file.bytes == len(EXAMPLE.read_bytes())


def test_without_rules_nothing_is_said_of_them(built: World) -> None:
    evaluated = read(built, "ranker_evaluation", DAY).filter((pl.col("model") == "final") & (pl.col("k") == 10))
    gain = evaluated.filter(pl.col("metric") == "ndcg_gain").row(0, named=True)
    assert (gain["value"], gain["low"], gain["high"]) == (0.0, 0.0, 0.0)
    event = built.instance.get_latest_materialization_event(dg.AssetKey("ranker_evaluation"))
    assert event is not None
    assert event.asset_materialization is not None
    assert "reranking_cost" not in event.asset_materialization.metadata


@pytest.mark.parametrize("name", ["category_cap", "diversity"])
def test_a_rule_that_could_do_nothing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"RECSYS_{name.upper()}: data set 'movielens' states no categories"):
        load_settings(dataset="movielens", **{name: 1})
    assert getattr(load_settings(dataset="retailrocket", **{name: 1})[0], name) == 1
