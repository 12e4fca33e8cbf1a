"""A backfill of as-of days and the report on them, in a whole graph."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import dagster as dg
import polars as pl
import pytest

from recsys_assets.partitions import training_days
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.test_graph import copy_of, read
from recsys_assets_tests.integration.test_model_life import EARLIER, promotion, refresh
from recsys_assets_tests.integration.world import World, materialized

pytestmark = pytest.mark.graph


def told(world: World, day: str) -> dict[str, Any]:
    page = (world.folder / f"store/assets/backtest_report/dt={day}/report.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="figures">(.*)</script>', page)
    assert found
    return json.loads(found[1])


def top(world: World, day: str) -> dict[Any, set[Any]]:
    lists = read(world, "recommendations", day).filter(pl.col("rank") <= 10)
    return {user: {*items} for user, items in lists.group_by("user_id").agg("item_id").iter_rows()}


@pytest.fixture
def world(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> World:
    world = copy_of(built, tmp_path, instance)
    assert refresh(world, EARLIER).success
    return world


def test_a_report_tells_what_the_days_of_a_backfill_left(world: World) -> None:
    before = world.hashes("releases")
    made = world.run("backtest", DAY)
    assert made.success
    assert list(materialized(made)) == ["backtest_report"]
    found = told(world, DAY)
    assert found["days"] == [EARLIER, DAY]
    for n, day in enumerate(found["days"]):
        evaluated = read(world, "ranker_evaluation", day).filter((pl.col("k") == 10) & (pl.col("metric") == "ndcg"))
        values = dict(evaluated.select("model", "value").iter_rows())
        assert {name: points[n][0] for name, points in found["series"]["ndcg"].items() if points[n]} == values
        decided = promotion(world, day)
        assert (found["gate"][n]["verdict"], found["gate"][n]["order_by"]) == (decided.verdict, decided.order_by)
    first, second = top(world, EARLIER), top(world, DAY)
    kept = first.keys() & second.keys()
    assert kept
    change = found["lists"][1]
    assert (change["users"], change["kept"]) == (len(second), len(kept))
    assert change["jaccard"] == pytest.approx(
        fmean(len(first[u] & second[u]) / len(first[u] | second[u]) for u in kept)
    )

    metadata = materialized(made)["backtest_report"]
    assert str(metadata["report"].value).startswith("![ndcg_over_time](<data:image/svg+xml,")
    days = metadata["days"]
    assert isinstance(days, dg.TableMetadataValue)
    assert [record.data["day"] for record in days.records] == [DAY, EARLIER]
    record = world.lineage("backtest_report", DAY)
    inputs = ("ranker_evaluation", "promotion", "recommendations")
    assert {(i.asset, i.day) for i in record.inputs} == {(name, day) for name in inputs for day in (EARLIER, DAY)}

    pages = world.hashes("assets/backtest_report")
    assert world.run("backtest", DAY).success
    assert world.hashes("assets/backtest_report") == pages, "equal inputs, equal bytes"
    assert world.run("backtest", EARLIER).success
    assert told(world, EARLIER)["days"] == [EARLIER], "nothing of later days"
    assert world.hashes("releases") == before


def test_days_that_were_never_judged_are_told_at_the_start_with_what_they_need(world: World) -> None:
    root = world.folder / "store" / "assets"
    past = training_days(world.settings, DAY)[-2:]
    for asset, days in (("ranking_examples", past), ("ranker_evaluation", [EARLIER, DAY])):
        for day in days:
            shutil.rmtree(root / asset / f"dt={day}", ignore_errors=True)
    failed = world.run("backtest", DAY)
    assert not failed.success
    [failure] = failed.get_step_failure_events()
    told = str(failure.step_failure_data)
    assert "no as-of day was judged: needs ranking_examples of " in told
    assert all(day in told for day in past)
    assert f"`recsys as-of {EARLIER} {DAY}` makes them, oldest first" in told
    trained = materialized(world.run("refresh", DAY))["ranker"]
    assert str(trained["lacks"].value).startswith(
        f"needs ranking_examples of {past[0]}, {past[1]}: `recsys as-of {DAY}`"
    )

    with world.materializer() as materializer:
        materializer.build_as_of([DAY])
    made = world.run("backtest", DAY)
    assert made.success
    still, _, _ = str(materialized(made)["backtest_report"].get("lacks")).partition(": `recsys")
    assert not [day for day in past if day in still]
    for asset in ("promotion", "recommendations", "ranker_evaluation"):
        shutil.rmtree(root / asset)
    nothing = world.run("backtest", DAY)
    assert "no as-of day was made" in str(nothing.get_step_failure_events()[0].step_failure_data)


def test_nobody_waits_for_a_backtest(built: World) -> None:
    definitions = built.definitions()
    graph = definitions.resolve_asset_graph()
    report = dg.AssetKey("backtest_report")
    assert graph.get(report).automation_condition is None
    assert not graph.get(report).child_keys
    for job in ("history", "examples", "refresh"):
        assert report not in definitions.resolve_job_def(job).asset_layer.executable_asset_keys
