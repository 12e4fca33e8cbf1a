"""Experiments in the whole graph: files become models, models are validated, the best goes through the gate."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from mlflow import MlflowClient, set_experiment
from mlflow.pyfunc import load_model
from pydantic import SecretStr

from recsys_assets.assets import experiments
from recsys_assets.core.gate.promotion import Promotion, RegistryState
from recsys_assets.core.gate.rule import GateResult
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.core.ranking.split import features
from recsys_assets.model_registry import experiment_validation as validated
from recsys_assets.model_registry.state import registry_state_before
from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets_tests.core.ranking.synthetic import FEATURE_COLUMNS
from recsys_assets_tests.integration.conftest import DAY
from recsys_assets_tests.integration.test_graph import copy_of, read
from recsys_assets_tests.integration.test_model_life import EARLIER, decide, promotion, refresh
from recsys_assets_tests.integration.world import World

pytestmark = [pytest.mark.graph, pytest.mark.usefixtures("as_if_rebuilt")]

FILES = {
    "ranks": "model: logistic_regression\nfeatures: ['*_rank']\nparams: {C: 0.1}\nmetrics: [ndcg_at_5, f_beta]\n",
    "woods": "model: random_forest\nparams: {n_estimators: 10, max_depth: 5}\n",
}


class Lab(World):
    @cached_property
    def graph(self) -> dg.Definitions:
        return self.definitions()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow records; to make its database takes seconds, so there is one."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def world(built: World, tmp_path: Path, instance: dg.DagsterInstance, recorded: Path) -> Lab:
    """A copy with a landing zone of its own, for experiments alone, and an experiment of its own in MLflow."""
    world = copy_of(built, tmp_path, instance)
    (world.landing / "experiments").mkdir()
    world.settings = world.settings.model_copy(
        update={
            "landing_uri": world.landing.as_uri(),
            "mlflow_tracking_uri": SecretStr(f"sqlite:///{recorded / 'runs.db'}"),
            "mlflow_experiment": tmp_path.name,
            "mlflow_artifacts_uri": (recorded / "files").as_uri(),
        }
    )
    return Lab(**vars(world))


def put(world: Lab, name: str, text: str) -> None:
    (world.landing / f"experiments/{name}.yaml").write_text(text)
    world.instance.add_dynamic_partitions("experiments", [name])


def train(world: Lab, name: str) -> dg.ExecuteInProcessResult:
    job = world.graph.resolve_job_def("train_experiment")
    return job.execute_in_process(instance=world.instance, partition_key=name, raise_on_error=False)


def validate(world: Lab, day: str = DAY) -> dg.ExecuteInProcessResult:
    job = world.graph.resolve_job_def("validate_experiments")
    return job.execute_in_process(instance=world.instance, partition_key=day, raise_on_error=False)


def due(world: Lab) -> list[dg.RunRequest]:
    """What the daily schedule asks for."""
    repository = world.graph.get_repository_def()
    with dg.build_schedule_context(
        instance=world.instance,
        repository_def=repository,
        resources={"store": world.store},
        scheduled_execution_time=datetime(2030, 1, 1, tzinfo=UTC),
    ) as context:
        return list(repository.get_schedule_def("daily_experiments").evaluate_tick(context).run_requests or [])


def model_of(world: Lab, name: str, day: str = DAY) -> bytes:
    return (world.folder / f"store/assets/experiment_model.{name}/dt={day}/model.bin").read_bytes()


def mlflow(world: Lab) -> MlflowClient:
    return MlflowClient(world.settings.mlflow_tracking_uri.get_secret_value())


def runs(world: Lab, of_one_name: int = 1) -> dict[str, Any]:
    """All runs in MLflow by id or, where each is the only one of its name, by name."""
    client = mlflow(world)
    experiment = client.get_experiment_by_name(world.settings.mlflow_experiment)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in found} == {"FINISHED"}
    names = [str(run.info.run_name) for run in found]
    assert max(map(names.count, names)) == of_one_name, names
    return {name if of_one_name == 1 else run.info.run_id: run for name, run in zip(names, found, strict=True)}


def evaluated_ndcg(world: Lab, model: str) -> float:
    """NDCG@10 of a contender, as the gate of the day measured it."""
    rows = read(world, "ranker_evaluation", DAY).filter(pl.col("k") == 10, pl.col("metric") == "ndcg")
    return rows.filter(pl.col("model") == model)["value"].item()


def test_files_become_models_runs_and_one_comparison(world: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run in MLflow per model, to which each validation adds; nobody is trained on what it is tested on."""
    for name, text in FILES.items():
        put(world, name, text)
        assert train(world, name).success
    before = runs(world)
    assert before.keys() == {"experiment ranks", "experiment woods"}
    assert not [key for run in before.values() for key in run.data.metrics if "_test" in key]
    assert {"ndcg_at_5_val", "f_beta_val", "fit_seconds"} <= before["experiment ranks"].data.metrics.keys()
    learned = world.lineage("experiment_model.woods", DAY)
    assert [one.day for one in learned.inputs] == ["2015-05-22", "2015-05-27"], "they end a horizon before the test"

    # What happened in the test window is unknown to training: with another past it would be the same model.
    models_before = {name: model_of(world, name) for name in FILES}
    window = world.folder / f"store/assets/ranking_examples/dt={DAY}/data.parquet"
    stored = window.read_bytes()
    pl.read_parquet(window).with_columns(
        pl.col("label").shuffle(seed=1), item_price=pl.lit(7.0).cast(pl.Float32)
    ).write_parquet(window)
    assert train(world, "woods").success
    window.write_bytes(stored)
    assert {name: model_of(world, name) for name in FILES} == models_before
    assert runs(world).keys() == before.keys(), "the same model is the same run"

    assert [one.partition_key for one in due(world)] == [DAY]
    assert validate(world).success
    assert due(world) == []
    after = runs(world)
    assert after.keys() == {*before, f"model_comparison {DAY}"}
    table = read(world, "experiment_validation", DAY)
    assert set(table["users"]) == {28}, "all on the same users"
    for name in FILES:
        run = after[f"experiment {name}"]
        assert run.info.run_id == before[f"experiment {name}"].info.run_id
        rows = table.filter(pl.col("experiment") == name).to_dicts()
        assert {f"{row['metric']}_test": row["value"] for row in rows}.items() <= run.data.metrics.items()
        assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    woods = {row["metric"]: row["value"] for row in table.filter(pl.col("experiment") == "woods").to_dicts()}
    fused = evaluated_ndcg(world, "fused")
    assert woods["ndcg_at_10"] - woods["ndcg_at_10_gain"] == pytest.approx(fused), "as the ranker is measured"
    page = (world.folder / f"store/assets/model_comparison/dt={DAY}/comparison.html").read_text()
    assert "<td>ranks</td><td>logistic_regression</td>" in page
    assert f"{woods['auc']:.4f} [" in page
    serving = promotion(world, DAY).winner
    served = f"<td>served: {serving}</td><td></td><td></td><td></td><td>{evaluated_ndcg(world, serving):.4f} ["
    assert served in page, "with whom they are to be compared"

    put(world, "woods", FILES["woods"] + "seed: 3\n")
    assert train(world, "woods").success
    hashes = world.hashes("assets/experiment_validation")
    scored: list[bytes] = []
    monkeypatch.setattr(validated, "Scorer", lambda data, there: scored.append(data) or Scorer(data, there))
    assert [one.partition_key for one in due(world)] == [DAY]
    assert validate(world).success
    assert scored == [model_of(world, "woods")], "what was validated on this window is not scored again"
    assert world.hashes("assets/experiment_validation") != hashes
    history = mlflow(world).get_metric_history(after["experiment ranks"].info.run_id, "auc_test")
    assert len(history) == 1, "nor is it logged again"
    edited = runs(world, of_one_name=2)
    assert len(edited) == 4, "another file, another model, another run"


def test_the_best_goes_through_the_gate_and_orders_the_lists_of_the_next_day(
    world: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forest of the very labels that it is judged on stands in for a good model."""
    world.settings = world.settings.model_copy(update={"mode": "manual"})
    for asset in ("champion", "promotion"):
        world.store.partitions().delete(asset, DAY)  # it comes after the experiments of the day before
    gate_without_champion(world, EARLIER)
    monkeypatch.setattr(experiments, "collect_training_rows", lambda _: many_of(world, EARLIER, DAY))
    forest = "model: random_forest\nparams: {n_estimators: 20, max_depth: 20, min_samples_leaf: 1}\n"
    put(world, "woods", f"{forest}window: {{as_of: {EARLIER}}}\n")
    put(world, "order", f"model: generator\nparams: {{by: popular}}\nwindow: {{as_of: {EARLIER}}}\n")
    for name in ("woods", "order"):
        assert train(world, name).success
    data = model_of(world, "woods", EARLIER)
    set_experiment("elsewhere")  # as it would be in another process
    assert validate(world, EARLIER).success
    decided = promotion(world, EARLIER, "experiment_promotion")
    assert (decided.verdict, decided.gate.against, decided.before) == ("waiting", "fused", RegistryState())
    waiting = decided.after.challenger
    assert waiting is not None
    assert waiting.sha256 == sha256_bytes(data)
    assert registry_state_before(world.store.open(), EARLIER).registry_state == RegistryState(), (
        "it counts for later days"
    )
    version = mlflow(world).get_model_version_by_alias(f"{world.settings.mlflow_experiment}_ranker", "challenger")
    of = runs(world)["experiment woods"].info
    assert (version.tags["model_id"], version.run_id) == (waiting.id, of.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", world.settings.mlflow_tracking_uri.get_secret_value())
    loaded = load_model(f"models:/{version.name}@challenger")
    assert mlflow(world).get_logged_model(str(loaded.metadata.model_id)).experiment_id == of.experiment_id
    signature = loaded.metadata.signature
    assert signature is not None
    assert signature.inputs.input_names() == list(FEATURE_COLUMNS)
    table = read(world, "ranking_examples", EARLIER).to_arrow()
    frame = pd.DataFrame(features(table, FEATURE_COLUMNS), columns=pd.Index(FEATURE_COLUMNS))
    assert np.array_equal(loaded.predict(frame), Scorer(data, table.column_names).score(table))

    world.store.partitions().delete("experiment_model.woods", EARLIER)  # what waits is kept, whatever becomes of it
    assert decide(world, "approve_model", "promote", waiting.id)
    off = {"mode": "autonomous", "mlflow_tracking_uri": SecretStr("off")}
    world.settings = world.settings.model_copy(update=off)
    assert refresh(
        world, DAY, chain=("ranker_evaluation", "champion", "promotion", "served_ranker", "recommendations")
    ).success
    assert promotion(world, DAY).before.champion == promotion(world, DAY).after.champion == waiting
    assert (world.folder / f"store/assets/champion/dt={DAY}/model.cbm").read_bytes() == data
    assert set(read(world, "recommendations", DAY)["source"]) == {"ranker"}
    pointer = world.store.releases().current()
    assert pointer is not None
    assert world.store.releases().manifest(pointer.release_id).facts["model"] == waiting.id
    released = world.store.releases().fetch(pointer.release_id, world.folder)
    assert released["ranker.npz"].read_bytes() == data
    lineage = world.lineage("champion", DAY)
    assert ("experiment_challenger", EARLIER) in {(one.asset, one.day) for one in lineage.inputs}


def gate_without_champion(world: World, day: str) -> None:
    """What the gate of a day leaves where nothing has beaten the generators yet."""
    gate = GateResult(False, None, None, None, None, 0, "nothing was judged")
    decided = Promotion(
        day, "manual", RegistryState(), None, gate, "no model", RegistryState(), "fused", "nobody is champion"
    )
    files = (("champion", "model.cbm", b""), ("promotion", "promotion.json", decided.to_json().encode()))
    for asset, file, content in files:
        path = world.folder / "staged"
        path.write_bytes(content)
        lineage = Lineage(asset, day, 0, "1", file=file)
        world.store.partitions().write(asset, day, path, lineage)


def many_of(world: World, *days: str) -> pa.Table:
    """The examples of some days, several times, so that they are enough to train on."""
    frames = [
        read(world, "ranking_examples", day).with_columns(
            pl.col("user_id") + 1_000_000 * copy, dt=pl.lit(day).str.to_date()
        )
        for day in days
        for copy in range(4)
    ]
    return pl.concat(frames).to_arrow()
