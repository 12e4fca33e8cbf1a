"""Configuration files of experiments: every fault is reported by file, line and field."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from recsys_assets.core.contracts import feature_columns
from recsys_assets.core.experiments.config import ExperimentError, name_of, parse
from recsys_assets.core.experiments.kinds import KINDS, ForestParams, LogisticParams
from recsys_assets.core.experiments.models import TRAINERS
from recsys_assets.core.generator_registry import BUILT_IN

GENERATORS = BUILT_IN.names
FEATURE_COLUMNS = feature_columns(GENERATORS)
KEY = "experiments/ranks.yaml"
GOOD = b"""\
about: what ranks alone are worth
model: logistic_regression
params:
  C: 1e-3
  class_weight: balanced
features: [item_price, "*_rank"]
window:
  as_of: 2015-06-01
  training_windows: 3
metrics: [recall_at_20, auc]
target: ndcg_at_5
seed: 7
"""


def test_a_file_describes_an_experiment() -> None:
    experiment = parse(GOOD, KEY, GENERATORS)
    assert (experiment.name, experiment.model, experiment.as_of, experiment.training_windows) == (
        "ranks",
        "logistic_regression",
        date(2015, 6, 1),
        3,
    )
    assert experiment.params == LogisticParams(C=0.001, class_weight="balanced")
    assert experiment.features == (*(name for name in FEATURE_COLUMNS if name.endswith("_rank")), "item_price")
    assert (experiment.metrics, experiment.target, experiment.seed) == (
        ("ndcg_at_5", "recall_at_20", "auc"),
        "ndcg_at_5",
        7,
    )


def test_every_field_but_the_model_has_a_default() -> None:
    experiment = parse(b"model: random_forest", KEY, GENERATORS)
    assert (experiment.features, experiment.as_of, experiment.params) == (FEATURE_COLUMNS, None, ForestParams())
    assert {"auc", "f_beta", "ndcg_at_10"} <= set(experiment.metrics)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("model: logistic_regression", "model: os.system", "2: model: expected one of catboost_ranker"),
        ("model: logistic_regression\n", "", "1: model: is missing"),
        ("  C: 1e-3", "  C: -1", "4: params.C: expected at least 0.00001 (found '-1')"),
        ("  C: 1e-3", "  C: true", "4: params.C: expected a number (found 'True')"),
        ("  C: 1e-3", "  depth: 3", "4: params.depth: is not known"),
        ("item_price", "item_prize", "6: features[0]: matches no feature of candidates (found 'item_prize')"),
        ("item_price", "label", "6: features[0]: matches no feature of candidates"),
        ("  as_of: 2015-06-01", "  as_of: newest", "8: window.as_of: expected"),
        ("training_windows: 3", "training_windows: 0", "9: window.training_windows: expected at least 1"),
        ("recall_at_20", "recall_at_0", "10: metrics[0]: expected auc, f_beta, or <metric>_at_<1 to 100>"),
        ("ndcg_at_5", "profit", "11: target: expected auc, f_beta"),
        ("seed: 7", "sead: 7", "12: sead: is not known; did you mean seed?"),
        ("seed: 7", "seed: 7\nseed: 8", "13: seed: stands there twice"),
        ("seed: 7", "seed: !!python/object/apply:os.getcwd []", "12: not YAML: could not determine a constructor"),
        ("seed: 7", "seed: [7", "13: not YAML:"),
        ("about: what", "about: &a what\ntarget: *a\nmore:", "2: not YAML: aliases are not taken"),
    ],
)
def test_a_fault_is_reported_by_file_line_and_field(old: str, new: str, message: str) -> None:
    text = GOOD.decode()
    assert old in text
    with pytest.raises(ExperimentError) as error:
        parse(text.replace(old, new).encode(), KEY, GENERATORS)
    assert str(error.value).startswith(f"{KEY}:{message}")


def test_all_faults_of_a_file_are_reported_at_once() -> None:
    text = GOOD.replace(b"seed: 7", b"seed: -7").replace(b"ndcg_at_5", b"ndcg_at_101")
    with pytest.raises(ExperimentError) as error:
        parse(text, KEY, GENERATORS)
    assert [line.split(": ")[0] for line in str(error.value).splitlines()] == [f"{KEY}:11", f"{KEY}:12"]


@pytest.mark.parametrize("data", [b"", b"- a\n- b", b"\xff\xfe\xfa", b"a: \x00", b"model", b"#" * 70_000, b"[" * 5000])
def test_invalid_yaml_is_reported_too(data: bytes) -> None:
    with pytest.raises(ExperimentError, match=r"^experiments/ranks\.yaml:"):
        parse(data, KEY, GENERATORS)


def test_a_generator_has_no_features() -> None:
    assert parse(b"model: generator\nparams: {by: covisit}", KEY, GENERATORS).features == ()
    with pytest.raises(ExperimentError, match=r"yaml:2: features: a generator has none"):
        parse(b"model: generator\nfeatures: [item_price]", KEY, GENERATORS)
    with pytest.raises(
        ExperimentError, match=r"yaml:2: params\.by: expected one of fused, popular, .* \(found 'loudest'\)"
    ):
        parse(b"model: generator\nparams: {by: loudest}", KEY, GENERATORS)


def test_names_are_plain() -> None:
    assert name_of("experiments/a-1.yml") == "a-1"
    assert name_of("experiments/old/a.yaml") is None
    assert name_of("experiments/a.csv") is None
    assert name_of("events.yaml") is None
    with pytest.raises(ExperimentError, match=r"^experiments/A b\.yaml: name: expected lower-case"):
        name_of("experiments/A b.yaml")


def test_every_kind_can_be_trained() -> None:
    assert TRAINERS.keys() == KINDS.keys()


def test_the_examples_of_the_documents_are_experiments() -> None:
    docs = Path(__file__).parents[3] / "docs"
    shown = re.findall(r"```yaml\n(.*?)```", (docs / "experiments.md").read_text(), re.DOTALL)
    assert [parse(text.encode(), KEY, GENERATORS).model for text in shown] == ["logistic_regression"]
    files = sorted((docs / "experiments").glob("*.yaml"))
    assert [parse(file.read_bytes(), f"experiments/{file.name}", GENERATORS).name for file in files] == [
        "forest",
        "ranks",
    ]


def test_the_documents_name_every_model_parameter_and_default() -> None:
    text = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text()
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.*) \|$", text.split("| model | parameters")[1], re.MULTILINE)[: len(KINDS)]
    )
    assert rows.keys() == KINDS.keys()
    for name, kind in KINDS.items():
        named = set(re.findall(r"`(\w+)`", rows["catboost_ranker" if name == "catboost_classifier" else name]))
        assert named - ({"loss"} if name == "catboost_classifier" else set()) == kind.params.model_fields.keys()


def test_faults_of_the_file_and_of_the_model_are_told_at_once() -> None:
    text = b"model: random_forest\nparams:\n  depth: 3\nsead: 7\n"
    with pytest.raises(ExperimentError) as error:
        parse(text, "experiments/ranks.yaml", ())
    assert str(error.value).splitlines() == [
        "experiments/ranks.yaml:4: sead: is not known; did you mean seed?",
        "experiments/ranks.yaml:3: params.depth: is not known; did you mean max_depth?",
    ]
