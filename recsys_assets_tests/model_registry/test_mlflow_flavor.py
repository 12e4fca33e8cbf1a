"""A stored model as an MLflow model: loaded by MLflow, it gives the scores that the platform orders by."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow import pyfunc
from mlflow.utils import requirements_utils

from recsys_assets.assets.tracking import as_pyfunc
from recsys_assets.core.experiments import models
from recsys_assets.core.experiments.config import parse
from recsys_assets.core.experiments.kinds import KINDS
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.model import Kind, RankerParams, Scorer, train
from recsys_assets.core.ranking.split import features
from recsys_assets.resources.tracking import Tracking
from recsys_assets.settings import load_settings
from recsys_assets_tests.core.ranking import synthetic

SMALL = dict.fromkeys(("catboost_ranker", "catboost_classifier"), "{iterations: 9}") | {
    "random_forest": "{n_estimators: 5}"
}
OWN: dict[str, Kind] = {"linear": "linear", "boosted_linear": "boosted_linear"}


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return synthetic.examples(40, 12, day=date(2020, 1, 1))


def of_experiment(kind: str, rows: pa.Table) -> bytes:
    columns = "all" if kind == "generator" else "[popular_rank, ui_hours_since, item_conversion]"
    text = f"model: {kind}\nparams: {SMALL.get(kind, '{}')}\nfeatures: {columns}\n"
    return models.train(rows, parse(text.encode(), "experiments/one.yaml", BUILT_IN.names)).data


def of_the_platform(kind: Kind, rows: pa.Table) -> bytes:
    return train(rows, RankerParams(kind=kind, iterations=9)).model


@pytest.mark.parametrize("kind", [*KINDS, *OWN])
def test_a_model_loaded_by_mlflow_gives_the_same_scores_bit_by_bit(kind: str, rows: pa.Table, tmp_path: Path) -> None:
    """Every kind of experiment and of own ranker; the frame has the columns of the signature and no others."""
    stored = of_the_platform(OWN[kind], rows) if kind in OWN else of_experiment(kind, rows)
    saved = tmp_path / "saved"
    pyfunc.save_model(str(saved), **as_pyfunc(stored, tmp_path))
    loaded = pyfunc.load_model(str(saved))
    signature = loaded.metadata.signature
    assert signature is not None
    names = signature.inputs.input_names()
    table, _ = synthetic.candidates(30, 12, seed=8)
    scorer = Scorer(stored, table.column_names)
    assert set(names) == set(scorer.columns)
    matrix = features(table, names)
    assert kind == "generator" or np.isnan(matrix).any(), "nulls are part of it"
    assert np.array_equal(loaded.predict(pd.DataFrame(matrix, columns=names)), scorer.score(table))
    assert not [path for path in saved.rglob("*") if path.suffix in (".pkl", ".pickle")]


def test_to_register_a_model_reads_no_list_of_all_installed_files(
    rows: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's map of modules costs most of a second. What is stated is found without; others' models still get it."""
    asked: list[bool] = []
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr("importlib_metadata.packages_distributions", lambda: asked.append(True) or {})
    settings, _ = load_settings(
        mlflow_tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}",
        mlflow_artifacts_uri=(tmp_path / "artifacts").as_uri(),
    )
    tracking = Tracking(settings, dg.build_init_resource_context())
    client = tracking.client()
    experiment = client.create_experiment(settings.mlflow_experiment, settings.mlflow_artifacts_uri)
    run = client.create_run(experiment).info.run_id
    form = as_pyfunc(of_the_platform("linear", rows), tmp_path)
    tracking.register(client, run, form, {"partition": "2020-01-01"})
    (version,) = client.search_model_versions(f"name = '{tracking.registered_name}'")
    assert version.tags["partition"] == "2020-01-01"
    required = Path(pyfunc.get_model_dependencies(version.source)).read_text("utf-8").split()
    assert set(form["pip_requirements"]) <= set(required)
    assert not asked
    requirements_utils.warn_dependency_requirement_mismatches(["numpy==0.1"])
    assert asked
