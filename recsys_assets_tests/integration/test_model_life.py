"""Champions, challengers and MLflow in the whole graph.

A model of the very labels that it is judged on stands in for a good one, a model of shuffled labels for a bad one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pydantic import SecretStr

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters
from recsys_assets.core.evaluation.window import disjoint_windows
from recsys_assets.core.gate.promotion import Promotion
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.ranking.model import RankerParams, Scorer, train
from recsys_assets.core.ranking.split import features
from recsys_assets.core.ranking.tuning import RankerSearchResult
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import FeatureInputs
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.partitions import daily
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets_tests.core.ranking.synthetic import FEATURE_COLUMNS
from recsys_assets_tests.integration.conftest import DAY, Train
from recsys_assets_tests.integration.test_graph import copy_of, read
from recsys_assets_tests.integration.world import World

pytestmark = [pytest.mark.graph, pytest.mark.usefixtures("as_if_rebuilt")]

EARLIER = "2015-05-27"
"""A horizon before the newest day: its examples are there, so it can have a gate of its own."""

CHAIN = ("ranker_params", "ranker", "ranker_evaluation", "champion", "promotion", "served_ranker", "recommendations")
GATED = (*CHAIN[1:],)
DOWN = "http://127.0.0.1:9"
PARENT = "`mlflow.parentRunId`"


@pytest.fixture
def world(built: World, tmp_path: Path, instance: dg.DagsterInstance) -> World:
    return copy_of(built, tmp_path, instance)


def refresh(world: World, day: str, *more: str, chain: tuple[str, ...] = CHAIN) -> dg.ExecuteInProcessResult:
    """What comes after the fits, up to the release of the newest day."""
    job = world.definitions().resolve_job_def("refresh")
    assets = [dg.AssetKey(name) for name in ("candidates", *chain, *(["release"] if day == DAY else []), *more)]
    tags = {"dagster/partition": day}
    return job.execute_in_process(instance=world.instance, tags=tags, asset_selection=assets, raise_on_error=False)


def decide(world: World, job: str, op: str, model_id: str) -> bool:
    config = {"ops": {op: {"config": {"model_id": model_id}}}}
    run = world.definitions().resolve_job_def(job)
    return run.execute_in_process(instance=world.instance, run_config=config, raise_on_error=False).success


def promotion(world: World, day: str, asset: str = "promotion") -> Promotion:
    path = world.folder / f"store/assets/{asset}/dt={day}/promotion.json"
    return Promotion.from_json(path.read_text())


def champion(world: World, day: str) -> bytes:
    return (world.folder / f"store/assets/champion/dt={day}/model.cbm").read_bytes()


def served(world: World) -> bytes:
    return (world.folder / f"store/assets/served_ranker/dt={DAY}/model.cbm").read_bytes()


def released(world: World) -> dict[str, Path]:
    pointer = world.store.releases().current()
    assert pointer is not None
    return world.store.releases().fetch(pointer.release_id, world.folder)


def with_features_of(world: World, day: str) -> pl.DataFrame:
    """The candidates of a day with features, joined from what is stored."""

    def frame(asset: str, days: str = day) -> Any:
        path = world.folder / f"store/assets/{asset}/dt={days}/data.parquet"
        rows = pl.read_parquet(path, hive_partitioning=True)
        return nw.from_native((rows if days == "*" else rows.drop("dt")).lazy())

    models = world.folder / f"store/assets/cf_ensemble/dt={day}/model.npz.zst"
    graph = GraphBuilder(world.settings, world.dataset, daily(world.settings, world.dataset), BUILT_IN)
    inputs = FeatureInputs(
        user_activity=frame("user_activity", "*"),
        item_activity=frame("item_activity", "*"),
        item_features=frame("item_features"),
        cf_ensemble=CfEnsemble.from_bytes(models.read_bytes()),
    )
    at = graph.day(day), graph.end(day), candidate_parameters(graph)
    return with_features(PolarsEngine(), frame("candidates"), inputs, *at).collect("polars").to_native()


def of_day(world: World, day: str) -> dict[str, str]:
    found = world.hashes(*(f"assets/{name}" for name in GATED))
    return {key: value for key, value in found.items() if f"dt={day}" in key}


def test_a_good_model_is_promoted_and_a_bad_one_refused(world: World, train_on: Train) -> None:
    train_on("good")
    assert refresh(world, EARLIER).success
    first = promotion(world, EARLIER)
    assert (first.verdict, first.before.champion, first.order_by) == ("promoted", None, "ranker")
    assert first.after.champion is not None
    assert sha256_bytes(champion(world, EARLIER)) == first.after.champion.sha256
    assert set(read(world, "recommendations", EARLIER)["source"]) == {"ranker"}

    train_on("bad")
    assert refresh(world, DAY).success
    second = promotion(world, DAY)
    assert (second.verdict, second.before.champion, second.gate.against) == ("refused", first.model, "champion")
    assert second.after.champion == first.model
    assert champion(world, DAY) == champion(world, EARLIER)
    assert second.model != first.model
    record = world.lineage("champion", DAY)
    seen = {("champion", EARLIER), ("promotion", EARLIER), ("ranking_examples", EARLIER), ("ranker", DAY)}
    assert seen <= {(i.asset, i.day) for i in record.inputs}
    pointer = world.store.releases().current()
    assert pointer is not None
    files = released(world)
    # Whether the champion still beats the fused list a horizon later is up to the data.
    by_ranker = second.order_by == "ranker"
    assert bool(served(world)) == by_ranker
    assert any(name.startswith("ranker.") for name in files) == by_ranker
    assert Promotion.from_json(files["promotion.json"].read_text()) == second

    before = of_day(world, DAY)
    assert refresh(world, DAY).success
    assert of_day(world, DAY) == before, "equal inputs, equal bytes"
    train_on("bad")
    assert refresh(world, EARLIER).success
    assert promotion(world, EARLIER).verdict == "refused"
    assert champion(world, EARLIER) == b"", "a day's gate knows nothing of the days after it"
    assert of_day(world, DAY) == before, "making an earlier day again takes no champion away"
    assert world.store.releases().current() == pointer


def test_what_serves_has_learned_from_the_newest_window_as_well(world: World, train_on: Train) -> None:
    train_on("good")
    result = refresh(world, DAY)
    assert result.success
    (told,) = [
        one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey("served_ranker")
    ]
    assert told.materialization.metadata["refit"].value is True
    record = world.lineage("served_ranker", DAY)
    windows = [one.day for one in record.inputs if one.asset == "ranking_examples"]
    horizon = world.settings.horizon_days
    assert max(windows) == DAY
    rows = pl.concat(
        pl.read_parquet(world.folder / f"store/assets/ranking_examples/dt={day}/data.parquet").with_columns(
            dt=pl.lit(day).str.to_date()
        )
        for day in disjoint_windows(windows, horizon)
    )
    params: Any = {**record.params}
    assert params.pop("present").keys() == {*FEATURE_COLUMNS}
    assert served(world) == train(rows.to_arrow(), RankerParams(**params)).model
    assert served(world) != champion(world, DAY), "the gate judged one that had not"
    assert promotion(world, DAY).model == promotion(world, DAY).after.champion
    assert released(world)["ranker.npz"].read_bytes() == served(world)

    best = read(world, "recommendations", DAY).filter(pl.col("rank") == 1).sort("user_id")
    candidates = with_features_of(world, DAY)
    scored = candidates.with_columns(
        s=pl.Series(Scorer(served(world), candidates.columns).score(candidates.to_arrow()))
    )
    top = scored.sort("user_id", "s", "item_id", descending=[False, True, False]).group_by("user_id").first()
    assert best.select("user_id", "item_id").rows() == top.sort("user_id").select("user_id", "item_id").rows()

    world.settings = world.settings.model_copy(update={"refit": False})
    assert refresh(world, DAY).success
    assert served(world) == champion(world, DAY)


def test_manual_mode_promotes_what_was_approved_and_refuses_a_bad_model(world: World, train_on: Train) -> None:
    world.settings = world.settings.model_copy(update={"mode": "manual"})
    train_on("bad")
    assert refresh(world, EARLIER).success
    assert promotion(world, EARLIER).verdict == "refused"
    old = of_day(world, EARLIER)

    train_on("good")
    assert refresh(world, DAY).success
    waiting = promotion(world, DAY)
    assert (waiting.verdict, waiting.after.champion) == ("waiting", None)
    assert waiting.after.challenger == waiting.model
    assert waiting.model is not None
    assert "ranker" not in set(read(world, "recommendations", DAY)["source"])
    assert not decide(world, "approve_model", "promote", f"{DAY}-000000000000")
    assert decide(world, "approve_model", "promote", waiting.model.id)
    assert not decide(world, "reject_model", "archive", waiting.model.id), "a ruling stays"
    approval = json.loads((world.folder / f"store/approvals/{waiting.model.id}.json").read_text())
    assert (approval["approval"], approval["counts_from"]) == ("approved", DAY)

    assert refresh(world, DAY).success
    approved = promotion(world, DAY)
    assert (approved.verdict, approved.after.champion, approved.after.challenger) == ("promoted", waiting.model, None)
    assert set(read(world, "recommendations", DAY)["source"]) == {"ranker"}
    train_on("bad")
    assert refresh(world, EARLIER).success
    assert of_day(world, EARLIER) == old, "a decision does not reach the days before it"


def test_a_rejected_model_never_comes_back(world: World, train_on: Train) -> None:
    world.settings = world.settings.model_copy(update={"mode": "manual"})
    train_on("good")
    assert refresh(world, EARLIER).success
    model = promotion(world, EARLIER).after.challenger
    assert refresh(world, DAY).success
    waiting = promotion(world, DAY).after.challenger
    assert model is not None
    assert waiting is not None
    assert waiting != model, "the next that passed took its place"
    assert not decide(world, "approve_model", "promote", model.id)
    assert decide(world, "reject_model", "archive", waiting.id)
    world.settings = world.settings.model_copy(update={"mode": "autonomous"})
    assert refresh(world, DAY).success
    assert promotion(world, DAY).verdict == "archived"
    assert champion(world, DAY) == b""


def test_mlflow_shows_what_happened(world: World, train_on: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.models import get_model_info
    from mlflow.pyfunc import load_model

    uri = f"sqlite:///{world.folder / 'mlflow' / 'runs.db'}"
    world.settings = world.settings.model_copy(
        update={
            "mode": "manual",
            "mlflow_tracking_uri": SecretStr(uri),
            "mlflow_artifacts_uri": (world.folder / "mlflow" / "files").as_uri(),
        }
    )
    train_on("good")
    done = refresh(world, DAY, "model_tracking")
    assert done.success
    client = MlflowClient(uri)

    def statuses() -> list[str]:
        experiment = client.get_experiment_by_name("retailrocket")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert "RUNNING" not in {run.info.status for run in runs}
        return [
            run.info.status for run in runs if "study" not in run.data.tags and PARENT.strip("`") not in run.data.tags
        ]

    assert statuses() == ["FINISHED"]
    searches_are_told(client, world)
    (version,) = client.search_model_versions("name = 'retailrocket_ranker'")
    assert client.get_registered_model("retailrocket_ranker").aliases.keys() == {"challenger"}
    decided = promotion(world, DAY)
    assert decided.model is not None
    run = client.get_run(str(version.run_id))
    (check,) = [check for check in done.get_asset_check_evaluations() if check.check_name == "tracked"]
    assert check.passed
    assert check.metadata["mlflow"].value == f"run {run.info.run_id} at {uri}"
    lineage = world.lineage("ranker", DAY)
    tags = run.data.tags
    assert (tags["partition"], tags["model_id"], tags["verdict"]) == (DAY, decided.model.id, "waiting")
    assert tags["dagster_run_id"] == done.run_id == lineage.run_id
    assert len(tags["lineage_sha256"]) == 64
    assert tags["code_version"].endswith(f"/{lineage.code_version}")
    assert run.data.params["loss"] == "QuerySoftMax"
    assert run.data.metrics["gate_low"] == decided.gate.low
    assert run.data.metrics["ndcg_at_10_ranker"] > run.data.metrics["ndcg_at_10_fused"]
    files = {file.path for file in client.list_artifacts(run.info.run_id, "plots")}
    assert files == {"plots/feature_importance.png", "plots/ndcg_at_10.png"}
    folder = Path(client.get_model_version_download_uri(version.name, version.version).removeprefix("file://"))
    assert [path.name for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle")] == []
    signature = get_model_info(str(folder)).signature
    assert signature is not None
    assert signature.inputs.input_names() == list(FEATURE_COLUMNS)

    assert decide(world, "approve_model", "promote", decided.model.id)
    aliases = client.get_registered_model("retailrocket_ranker").aliases
    assert {name: str(of) for name, of in aliases.items()} == {"champion": str(version.version)}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    table = pl.read_parquet(world.folder / f"store/assets/ranking_examples/dt={DAY}/data.parquet").to_arrow()
    ranker = world.folder / f"store/assets/ranker/dt={DAY}/model.cbm"
    loaded = load_model("models:/retailrocket_ranker@champion")
    frame = pd.DataFrame(features(table, FEATURE_COLUMNS), columns=pd.Index(FEATURE_COLUMNS))
    assert np.array_equal(loaded.predict(frame), Scorer(ranker.read_bytes(), table.column_names).score(table))
    assert refresh(world, DAY, "model_tracking").success
    searches_are_told(client, world)
    (again,) = client.search_model_versions("name = 'retailrocket_ranker'")
    assert again.tags["verdict"] == "promoted", "equal bytes are one version"
    train_on("error")
    assert not refresh(world, DAY, "model_tracking").success
    assert statuses() == ["FAILED", "FINISHED", "FINISHED"]


def searches_are_told(client: Any, world: World) -> None:
    """The search for parameters is one run, however often it is told, with one below it for each trial."""
    found = RankerSearchResult.from_json(
        (world.folder / f"store/assets/ranker_params/dt={DAY}/params.json").read_text()
    )
    (place,) = [one.experiment_id for one in client.search_experiments() if one.name == "retailrocket"]
    (search,) = client.search_runs([place], f"tags.study = '{found.study}'")
    assert (search.info.run_name, search.info.status) == (f"ranker_params {DAY}", "FINISHED")
    history = client.get_metric_history(search.info.run_id, "value")
    assert [one.value for one in sorted(history, key=lambda one: one.step)] == [one.value for one in found.trials]
    trials = client.search_runs([place], f"tags.{PARENT} = '{search.info.run_id}'")
    assert {run.info.run_name for run in trials} == {"trial 0", "trial 1"} == {f"trial {t.trial}" for t in found.trials}
    for run in trials:
        trial = found.trials[int(run.info.run_name.split()[1])]
        assert run.data.params == {name: str(value) for name, value in trial.params.items()}
        assert (run.data.metrics["value"], run.data.tags["state"]) == (trial.value, trial.state)
        assert run.info.status == "FINISHED"


def test_mlflow_down_stops_nothing_and_is_told(world: World, train_on: Train) -> None:
    update = {"mlflow_tracking_uri": SecretStr(DOWN)}
    world.settings = world.settings.model_copy(update=update)
    train_on("good")
    result = refresh(world, DAY, "model_tracking")
    assert result.success
    (told,) = [check for check in result.get_asset_check_evaluations() if check.check_name == "tracked"]
    assert (told.passed, told.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(told.metadata["mlflow"].value).startswith("mlflow: unreachable")
    assert promotion(world, DAY).verdict == "promoted"
    assert set(read(world, "recommendations", DAY)["source"]) == {"ranker"}
    pointer = world.store.releases().current()
    assert pointer is not None
    assert world.store.releases().manifest(pointer.release_id).facts["served_by"] == "ranker"
    steps = [event.step_key for event in result.get_step_success_events()]
    assert steps[-1] == "model_tracking", "nobody waits for MLflow"
