"""Models of experiments in the store: which may be tested on a day, what is scored again, and which is the best."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_assets.core.experiments.metrics import STANDARD
from recsys_assets.core.ranking.formats import GeneratorOrder
from recsys_assets.model_registry.experiment_models import MODEL_FILE, models_to_test, stored_as
from recsys_assets.model_registry.experiment_validation import (
    CODE_VERSION,
    VALIDATION,
    Validation,
    score_models,
    stored_rows,
    unvalidated,
    validate,
)
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.partition_store import PartitionStore, partition_key
from recsys_assets_tests.core.ranking import synthetic

HORIZON = 7


@pytest.fixture
def partitions(tmp_path: Path) -> PartitionStore:
    return PartitionStore(LocalStore(tmp_path / "store"))


def put(partitions: PartitionStore, name: str, as_of: str, window: str, by: str = "fused") -> None:
    path = Path(partitions.store.uri()).parent / "staged"
    path.write_bytes(GeneratorOrder(by).to_bytes())
    read = (Input("ranking_examples", window, "0" * 64),)
    params = {"metrics": ["recall_at_20"], "threshold": -3.0, "config_sha256": "c", "target": "ndcg_at_10"}
    lineage = Lineage(stored_as(name), as_of, 9, "1", params=params, inputs=read, file=MODEL_FILE)
    partitions.write(lineage.asset, as_of, path, lineage)


def test_a_model_is_tested_on_days_whose_window_begins_after_its_training_windows(partitions: PartitionStore) -> None:
    put(partitions, "a", "2015-05-10", "2015-05-03")
    put(partitions, "a", "2015-05-20", "2015-05-13")
    put(partitions, "b", "2015-05-12", "2015-05-09")  # the horizon was three days then

    def tested(day: str) -> dict[str, str]:
        return {model.name: model.lineage.day for model in models_to_test(partitions, ["b", "a", "none"], day, HORIZON)}

    assert tested("2015-05-09") == {}
    assert tested("2015-05-10") == {"a": "2015-05-10"}
    assert tested("2015-05-15") == {"a": "2015-05-10"}
    assert tested("2015-05-16") == {"a": "2015-05-10", "b": "2015-05-12"}
    assert tested("2015-05-20") == {"a": "2015-05-20", "b": "2015-05-12"}


def test_a_model_that_cannot_be_used_is_reported_and_stops_no_other(partitions: PartitionStore) -> None:
    for name, by in (("good", "covisit"), ("unknown", "palmistry"), ("torn", "fused")):
        put(partitions, name, "2015-05-10", "2015-05-03", by)
    partitions.store.put(partition_key(stored_as("torn"), "2015-05-10", MODEL_FILE), b"half")
    models = models_to_test(partitions, ["good", "unknown", "torn"], "2015-05-10", HORIZON)
    rows = synthetic.examples(20, 12)
    table, faults = score_models(partitions, models, {}, lambda: rows, seed=0)
    assert set(table["experiment"].to_pylist()) == {"good"}
    assert set(table["metric"].to_pylist()) == {"recall_at_20", *STANDARD, "ndcg_at_10_gain"}
    assert faults["good"] == ""
    assert "palmistry_rank" in faults["unknown"]
    assert "materialize experiment_model again" in faults["torn"]


def test_models_that_no_validation_of_the_day_read_are_due(partitions: PartitionStore) -> None:
    for name in ("a", "b"):
        put(partitions, name, "2015-05-10", "2015-05-03")
    a, b = models_to_test(partitions, ["a", "b"], "2015-05-10", HORIZON)
    assert unvalidated(partitions, [a, b], "2015-05-10") == ["a", "b"]
    path = Path(partitions.store.uri()).parent / "staged"
    lineage = Lineage("experiment_validation", "2015-05-10", 0, "1", inputs=(a.input,))
    partitions.write(lineage.asset, lineage.day, path, lineage)
    assert unvalidated(partitions, [a, b], "2015-05-10") == ["b"]
    assert unvalidated(partitions, [a, b], "2015-05-11") == ["a", "b"]
    put(partitions, "a", "2015-05-10", "2015-05-03", "popular")
    (again,) = models_to_test(partitions, ["a"], "2015-05-10", HORIZON)
    assert unvalidated(partitions, [again], "2015-05-10") == ["a"], "an edited one is another model"


DAY, WINDOW = "2015-05-10", "hash of the window"
BOTH = [("first", "fused"), ("second", "covisit")]


def two_candidates() -> pa.Table:
    """One user who bought the first of two items: fusion puts it first, co-visitation second."""
    rows = synthetic.examples(1, 2)
    for name, values in {"label": [1, 0], "fused_rank": [1, 2], "covisit_rank": [2, 1]}.items():
        at = rows.column_names.index(name)
        rows = rows.set_column(at, rows.schema.field(name), pa.array(values, rows.schema.field(name).type))
    return rows


def validated(
    partitions: PartitionStore, window: str = WINDOW, names: Sequence[str] = ("first", "second")
) -> tuple[Validation, int]:
    """The validation of the newest models, and how often the rows of the window were asked for."""
    asked: list[pa.Table] = []

    def rows() -> pa.Table:
        asked.append(two_candidates())
        return asked[-1]

    models = models_to_test(partitions, names, DAY, HORIZON)
    return validate(partitions, models, DAY, window, rows, seed=0), len(asked)


def keep(partitions: PartitionStore, validation: Validation, window: str = WINDOW, version: str = CODE_VERSION) -> None:
    """Store a validation as the asset does."""
    path = Path(partitions.store.uri()).parent / "staged.parquet"
    pq.write_table(validation.table, path)
    partitions.write(VALIDATION, DAY, path, Lineage(VALIDATION, DAY, 1, version, params={"window": window}))


def test_the_best_by_hand(partitions: PartitionStore) -> None:
    for name, by in BOTH:
        put(partitions, name, DAY, "2015-05-03", by)
    validation, _ = validated(partitions)
    ndcg = {row["experiment"]: row["value"] for row in validation.table.to_pylist() if row["metric"] == "ndcg_at_10"}
    assert ndcg == {"first": pytest.approx(1.0), "second": pytest.approx(1 / log2(3))}
    assert validation.best is not None
    assert (validation.best.name, validation.models) == ("first", 2)
    assert validation.faults == {"first": "", "second": ""}


def test_what_was_scored_on_this_very_window_is_not_scored_again(partitions: PartitionStore) -> None:
    for name, by in BOTH:
        put(partitions, name, DAY, "2015-05-03", by)
    before, asked = validated(partitions)
    assert asked == 1
    keep(partitions, before)
    after, asked = validated(partitions)
    assert (asked, after.faults) == (0, {})
    assert after.table.equals(before.table)
    assert after.best == before.best
    put(partitions, "second", DAY, "2015-05-03", "popular")
    edited, asked = validated(partitions)
    assert (asked, edited.faults) == (1, {"second": ""}), "an edited experiment is due, the other is not"
    assert set(edited.table["experiment"].to_pylist()) == {"first", "second"}


@pytest.mark.parametrize(
    ("window", "version"), [("another window", CODE_VERSION), (WINDOW, f"{CODE_VERSION} of another code")]
)
def test_other_rows_or_other_code_score_all_again(partitions: PartitionStore, window: str, version: str) -> None:
    for name, by in BOTH:
        put(partitions, name, DAY, "2015-05-03", by)
    keep(partitions, validated(partitions)[0], window, version)
    assert stored_rows(partitions, DAY, WINDOW) == {}
    again, asked = validated(partitions)
    assert (asked, again.faults) == (1, {"first": "", "second": ""})


def test_no_experiment_and_none_that_can_be_scored_have_no_best(partitions: PartitionStore) -> None:
    nothing, asked = validated(partitions)
    assert (nothing.best, nothing.models, nothing.table.num_rows, asked) == (None, 0, 0, 0)
    put(partitions, "first", DAY, "2015-05-03", "palmistry")
    faulty, asked = validated(partitions)
    assert (faulty.best, faulty.models, asked) == (None, 1, 1)
    assert "palmistry_rank" in faulty.faults["first"]


def test_a_window_without_rows_measures_nothing_and_is_no_fault(partitions: PartitionStore) -> None:
    put(partitions, "first", DAY, "2015-05-03")
    models = models_to_test(partitions, ["first"], DAY, HORIZON)
    empty = validate(partitions, models, DAY, WINDOW, lambda: two_candidates().slice(0, 0), seed=0)
    assert (empty.best, empty.table.num_rows, empty.faults) == (None, 0, {"first": ""})
