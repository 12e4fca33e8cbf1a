"""What each feature adds to a score: with the baseline, the contributions of every kind of model give its score."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from catboost import EFstrType, Pool

from recsys_assets.core.experiments import models
from recsys_assets.core.experiments.config import parse
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.contributions import ModelExplainer
from recsys_assets.core.ranking.formats import GeneratorOrder, Linear, TreesOfCatBoost, read_model
from recsys_assets.core.ranking.model import RankerParams, train
from recsys_assets.core.ranking.split import features
from recsys_assets.core.ranking.tree_shap import TreeShap
from recsys_assets_tests.core.ranking import synthetic

EXAMPLES = synthetic.examples(60, 20)
RANKERS = {
    "linear": RankerParams(kind="linear", prior_weight=0.7),
    "boosted_linear": RankerParams(iterations=30, depth=4, prior_weight=0.7),
    "trees": RankerParams(kind="trees", iterations=30, depth=6),
    "trees_with_prior": RankerParams(kind="trees", iterations=20, depth=3, prior_weight=0.7),
}
EXPERIMENTS = {
    "logistic_regression": "{C: 0.5}",
    "random_forest": "{n_estimators: 12, max_depth: 6}",
    "catboost_classifier": "{iterations: 30, depth: 4}",
    "catboost_ranker": "{iterations: 5, depth: 10, loss: QueryRMSE}",
}


def stored(kind: str) -> bytes:
    if kind in RANKERS:
        return train(EXAMPLES, RANKERS[kind]).model
    if kind == "generator":
        return GeneratorOrder("covisit").to_bytes()
    text = f"model: {kind}\nparams: {EXPERIMENTS[kind]}\nfeatures: all"
    return models.train(EXAMPLES, parse(text.encode(), "experiments/one.yaml", BUILT_IN.names)).data


def rows_with_nulls(columns: tuple[str, ...]) -> np.ndarray:
    """Features of which each may be missing, whatever the training rows had; the fused rank never is."""
    table, _ = synthetic.candidates(40, 20, seed=3)
    matrix = features(table, columns)
    missing = np.random.default_rng(0).random(matrix.shape) < 0.2
    missing[:, [name == "fused_rank" for name in columns]] = False
    return np.where(missing, np.float32(np.nan), matrix)


@pytest.mark.parametrize("kind", [*RANKERS, *EXPERIMENTS, "generator"])
def test_contributions_and_the_baseline_add_up_to_the_score(kind: str) -> None:
    model = read_model(stored(kind))
    explainer = ModelExplainer(model)
    matrix = rows_with_nulls(explainer.columns)
    found = explainer.contributions(matrix)
    score = model.score(matrix)
    if isinstance(model, Linear):
        score = np.log(score / (1 - score))
    assert np.ptp(score) > 0
    assert found.sum(axis=1) + explainer.baseline == pytest.approx(score, abs=1e-9)
    assert np.array_equal(found[7:9], explainer.contributions(matrix[7:9])), "a row's depend on that row alone"
    assert explainer.contributions(matrix[:0]).shape == (0, len(model.columns))


@pytest.mark.parametrize("params", [RANKERS["trees"], RankerParams(kind="trees", iterations=3, depth=9)])
def test_shap_values_are_those_of_catboost(params: RankerParams) -> None:
    model = read_model(train(EXAMPLES, params).model)
    assert isinstance(model, TreesOfCatBoost)
    matrix = rows_with_nulls(model.columns)
    expected = np.asarray(model.model.get_feature_importance(Pool(matrix), type=EFstrType.ShapValues))
    shap = TreeShap(model)
    assert np.abs(expected[:, :-1]).max() > 0.01
    assert shap.values(matrix) == pytest.approx(expected[:, :-1], abs=1e-12)
    assert shap.baseline == pytest.approx(expected[0, -1], abs=1e-12)


def test_a_feature_that_decides_weighs_most() -> None:
    """The planted rule is a product of two features: where both are high, both speak for the row."""
    explainer = ModelExplainer(read_model(train(synthetic.examples(200, 30), RANKERS["boosted_linear"]).model))
    table, acts = synthetic.candidates(100, 30, seed=9)
    found = explainer.contributions(features(table.filter(pa.array(acts)), explainer.columns)).mean(axis=0)
    strongest = [explainer.columns[at] for at in np.argsort(-found)[:2]]
    assert set(strongest) == {"ui_hours_since", "item_conversion"}
