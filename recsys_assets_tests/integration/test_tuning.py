"""Parameters of a day: what their search reads, how long they serve, and that an interruption leaves no trace."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from recsys_assets.assets import ranking, retrieval_params
from recsys_assets.assets.tracking import searches
from recsys_assets.core.ranking import tuning
from recsys_assets.core.ranking.model import Fit, RankerParams
from recsys_assets.core.ranking.tuning import RankerSearchResult
from recsys_assets.core.retrieval.params import RetrievalParams, SearchResult
from recsys_assets.core.retrieval.tune_als import tune_als
from recsys_assets.core.retrieval.tune_weights import tune_weights
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.model_registry.search_results import period_start
from recsys_assets_tests.core.ranking import synthetic
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.test_graph import copy_of
from recsys_assets_tests.integration.world import World

pytestmark = pytest.mark.graph

BEFORE_TEST = "2015-05-27"
"""A horizon of the small world before its newest day: targets after it are the test window's."""

EVE, EARLY = "2015-05-31", "2015-05-12"
"""The day before the newest; a day whose past has no window to learn from."""


@pytest.fixture
def world(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> World:
    return copy_of(built, tmp_path, instance)


def make(world: World, assets: str | tuple[str, ...], day: str) -> dg.ExecuteInProcessResult:
    job = world.definitions().resolve_job_def("refresh")
    tags = {"dagster/partition": day}
    chosen = [dg.AssetKey(name) for name in ([assets] if isinstance(assets, str) else assets)]
    return job.execute_in_process(instance=world.instance, tags=tags, asset_selection=chosen, raise_on_error=False)


def params(world: World, asset: str, day: str) -> bytes:
    return (world.folder / f"store/assets/{asset}/dt={day}/params.json").read_bytes()


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (made,) = result.get_asset_materialization_events()
    return {key: one.value for key, one in made.step_materialization_data.materialization.metadata.items()}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """A spy: asset and day of every partition that an engine opens."""
    scan, seen = PolarsEngine.scan, set[tuple[str, str]]()

    def spy(engine: PolarsEngine, uris: Sequence[str], schema: pa.Schema) -> Any:
        seen.update((uri.split("/")[-3], uri.split("dt=")[1][:10]) for uri in uris)
        return scan(engine, uris, schema)

    monkeypatch.setattr(PolarsEngine, "scan", spy)
    return seen


def raised(found: SearchResult) -> SearchResult:
    return replace(found, values={name: value + 1 for name, value in found.values.items()})


def poison_the_test_window(world: World) -> None:
    """Whatever the test window holds, and all that was made with it, can be read no more; no search is remembered."""
    for path in (world.folder / "store/assets").glob("*/dt=*/data.parquet"):
        if path.parent.name > f"dt={BEFORE_TEST}":
            path.write_bytes(b"poison")
    shutil.rmtree(world.folder / "store/tuning", ignore_errors=True)


def test_the_ranker_is_tuned_without_a_row_of_the_test_window(world: World, opened: set[tuple[str, str]]) -> None:
    before = params(world, "ranker_params", DAY)
    assert RankerSearchResult.from_json(before.decode()).trials
    poison_the_test_window(world)
    (world.folder / f"store/assets/ranker_params/dt={DAY}/params.json").unlink()
    assert make(world, "ranker_params", DAY).success
    assert params(world, "ranker_params", DAY) == before
    assert max(day for _, day in opened) == BEFORE_TEST
    assert {asset for asset, _ in opened} == {"ranking_examples"}


@pytest.mark.usefixtures("as_if_rebuilt")
def test_retrieval_is_tuned_without_a_row_of_the_test_window(
    world: World, opened: set[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it finds is what factors and candidates of the day are made with."""
    # Whatever is found, let it differ from what holds without a search.
    monkeypatch.setattr(retrieval_params, "tune_als", lambda *given: raised(tune_als(*given)))
    monkeypatch.setattr(retrieval_params, "tune_weights", lambda *given: raised(tune_weights(*given)))
    update = {"tuning_every_days": 1, "tuning_als_trials": 2, "tuning_fusion_trials": 12, "min_evaluated_users": 2}
    world.settings = world.settings.model_copy(update=update)
    assert make(world, "retrieval_params", DAY).success
    before = params(world, "retrieval_params", DAY)
    found = RetrievalParams.from_json(before.decode())
    assert len(found.als.trials) == 2
    assert 0 < len(found.weights.trials) <= 12, "of the weights, those that were an improvement"
    stored = world.folder / f"store/assets/retrieval_params/dt={DAY}/params.json"
    recorded = searches(RankerSearchResult(RankerParams()), stored)
    assert {search.name: search.study for search in recorded} == {
        "als": found.als.study,
        "weights": found.weights.study,
        "ensemble": found.ensemble.study,
    }, "MLflow gets all"
    assert make(world, ("item_factors", "candidates"), DAY).success
    lineage = {name: world.store.partitions().read_lineage(name, DAY) for name in ("item_factors", "candidates")}
    made = {name: record.params for name, record in lineage.items() if record}
    assert {name: made["item_factors"][name] for name in found.als.values} == found.als.values
    quotas: Any = made["candidates"]["quotas"]
    assert {name: quota["weight"] for name, quota in quotas.items()} == found.weights.values

    opened.clear()
    poison_the_test_window(world)
    result = make(world, "retrieval_params", DAY)
    assert result.success
    assert params(world, "retrieval_params", DAY) == before
    assert max(day for _, day in opened) == BEFORE_TEST
    assert {asset for asset, _ in opened} == {"ranking_examples", "user_activity", "bot_users"}
    record = world.lineage("retrieval_params", DAY)
    assert ("ranking_examples", BEFORE_TEST) in {(one.asset, one.day) for one in record.inputs}
    assert max(one.day for one in record.inputs) == BEFORE_TEST
    assert {"als_search", "als_trials", "weights_search", "weights_trials"} <= told(result).keys()

    world.settings = world.settings.model_copy(update={"tuning_every_days": 3650, "tuning_als_trials": 0})
    stored = world.folder / "store/assets/retrieval_params"
    for earlier in stored.iterdir():
        if earlier.name < f"dt={DAY}":
            shutil.rmtree(earlier)
    shutil.copytree(stored / f"dt={DAY}", stored / f"dt={EVE}")
    later = told(make(world, "retrieval_params", DAY))
    assert (later["als"], later["weights"]) == (found.als.values, found.weights.values)
    assert params(world, "retrieval_params", DAY) == before


@pytest.mark.usefixtures("as_if_rebuilt")
def test_a_search_serves_its_period_and_defaults_serve_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The day before searches, DAY carries that forward; the first day of a period searches whatever there is."""
    since_first = (date.fromisoformat(DAY) - world.settings.first_day).days

    def every(days: int) -> None:
        world.settings = world.settings.model_copy(update={"tuning_every_days": days, "tuning_trials": 1})

    every(since_first + 1)
    assert told(make(world, "ranker_params", EARLY))["tuned_on"] == "not yet: the defaults"
    days = [date.fromisoformat(DAY) - timedelta(days=n) for n in (10, 5)]
    rows = pa.concat_tables([synthetic.examples(40, 10, at, day) for at, day in enumerate(days)])
    newest = (date.fromisoformat(DAY) - timedelta(days=world.settings.horizon_days)).isoformat()

    def table(read: Any, _: int) -> pa.Table:
        return rows.slice(0, None if newest in (*read.days, *read.missing) else 400)

    monkeypatch.setattr(ranking, "training_table", table)
    assert told(make(world, "ranker_params", EVE))["tuned_on"] == EVE
    found = told(make(world, "ranker_params", DAY))
    assert (found["reused_from"], found["tuned_on"]) == (EVE, EVE)
    assert params(world, "ranker_params", DAY) == params(world, "ranker_params", EVE)
    record = world.lineage("ranker_params", DAY)
    assert ("ranker_params", EVE) in {(one.asset, one.day) for one in record.inputs}
    every(since_first)
    assert told(make(world, "ranker_params", DAY))["tuned_on"] == DAY
    assert params(world, "ranker_params", DAY) != params(world, "ranker_params", EVE)


def test_periods_are_counted_from_the_first_day(world: World) -> None:
    first = world.settings.first_day
    starts = [period_start(first + timedelta(days=n), world.settings) for n in (-3, 0, 6, 7, 13, 14)]
    assert [(start - first).days for start in starts] == [-3, 0, 0, 7, 7, 14]


def test_a_step_that_was_killed_goes_on_and_ends_in_the_same_bytes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = params(world, "ranker_params", DAY)
    shutil.rmtree(world.folder / "store/tuning")
    fits: list[int] = []

    def dies(*given: Any) -> Any:
        fits.append(len(fits))
        if len(fits) == 2:
            raise KeyboardInterrupt
        return Fit(*given)

    monkeypatch.setattr(tuning, "Fit", dies)
    assert not make(world, "ranker_params", DAY).success
    result = make(world, "ranker_params", DAY)
    assert result.success
    assert params(world, "ranker_params", DAY) == before
    assert len(fits) == 7, "one trial, the one cut off, the same again, and two of each of both to compare them"
    assert told(result)["search"].startswith("![NDCG@10 of the trials](data:image/png")
    assert [row.data["trial"] for row in told(result)["trials"].records] == [0, 1]
