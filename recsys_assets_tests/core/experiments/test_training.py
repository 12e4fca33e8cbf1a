"""Which windows an experiment is trained on, and what is recorded of a training."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.evaluation.threshold import best_threshold
from recsys_assets.core.experiments import models
from recsys_assets.core.experiments.config import parse
from recsys_assets.core.experiments.metrics import Figure
from recsys_assets.core.experiments.training import TrainingResult, held_out_figures, training_windows
from recsys_assets.core.experiments.window import lists_to_evaluate
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets_tests.core.ranking import synthetic

EXPERIMENT = parse(b"model: logistic_regression\nfeatures: ['*_rank']", "experiments/ranks.yaml", BUILT_IN.names)
DAYS = [f"2015-05-{day:02}" for day in range(1, 31)]


def test_the_windows_end_a_horizon_before_the_as_of_day_and_share_no_label() -> None:
    assert training_windows(EXPERIMENT, DAYS, 7) == ("2015-05-30", ["2015-05-16", "2015-05-23"])
    past = replace(EXPERIMENT, as_of=date(2015, 5, 20), training_windows=3)
    assert training_windows(past, DAYS, 7) == ("2015-05-20", ["2015-05-06", "2015-05-13"])


def test_without_a_window_the_message_names_the_days() -> None:
    with pytest.raises(NotEnoughExamples, match="no examples to learn from yet"):
        training_windows(EXPERIMENT, [], 7)
    with pytest.raises(NotEnoughExamples, match=r"as of 2015-05-05, which would end 7 days before it"):
        training_windows(replace(EXPERIMENT, as_of=date(2015, 5, 5)), DAYS, 7)


def test_figures_are_of_all_candidates_of_the_held_out_users_and_no_others() -> None:
    """The model is trained on a sample; other users' labels, turned around, change nothing."""
    examples = synthetic.examples(100, 20, day=date(2020, 1, 1))
    sample = examples.filter(pa.array(np.arange(examples.num_rows) % 20 < 15))
    model = models.train(sample, EXPERIMENT).data
    users = models.held_out_users(sample, EXPERIMENT)
    held_out = np.isin(examples["user_id"].to_numpy(), users)
    lists = lists_to_evaluate(examples.filter(pa.array(held_out)))
    scores = Scorer(model, examples.column_names).score(examples.filter(pa.array(held_out)))

    threshold, figures = held_out_figures(examples, sample, model, EXPERIMENT, seed=0)

    assert threshold == best_threshold(lists.labels, scores)
    assert [figure.metric for figure in figures] == [*EXPERIMENT.metrics, "ndcg_at_10_gain"]
    labels = examples["label"].to_numpy()
    flipped = examples.set_column(
        examples.column_names.index("label"), "label", pa.array(np.where(held_out, labels, 1 - labels))
    )
    assert held_out_figures(flipped, sample, model, EXPERIMENT, seed=0) == (threshold, figures)


def test_what_is_recorded_leaves_out_undefined_metrics_and_flattens_parameters() -> None:
    figures = [Figure("auc", 0.8, 0.7, 0.9), Figure("f_beta", math.nan, math.nan, math.nan)]
    fitted = models.FittedModel(b"bytes", {})
    result = TrainingResult(EXPERIMENT, "2015-05-30", ["2015-05-16", "2015-05-23"], fitted, 12, None, figures)
    assert result.metrics() == {"auc_val": 0.8, "model_bytes": 5.0, "training_rows": 12.0}
    assert replace(result, threshold=0.5).metrics()["threshold"] == 0.5
    facts = result.facts("hash", 7)
    assert facts["validation"] == {"auc": [0.8, 0.7, 0.9], "f_beta": [None, None, None]}
    assert (facts["config_sha256"], facts["horizon_days"], facts["windows"]) == ("hash", 7, result.windows)
    params = result.params()
    assert (params["params.C"], params["windows"]) == ("1.0", "2015-05-16, 2015-05-23")
    assert all(isinstance(value, str) for value in params.values())
