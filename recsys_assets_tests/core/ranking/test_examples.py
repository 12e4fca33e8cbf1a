from datetime import date

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import IdTypes, arrow_schema, examples_contract
from recsys_assets.core.engine import Frame
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking import examples
from recsys_assets.core.ranking.examples import collect_training_rows, label, training_rows
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()


def _collect(frame: Frame) -> pl.DataFrame:
    return frame.collect().to_native()


@pytest.mark.parametrize("ids", [IdTypes(), IdTypes("string", "string")])
def test_label_marks_targets_and_injects_nothing(ids: IdTypes):
    table, acts = synthetic.candidates(6, 8, ids=ids)
    keys = table.select(["user_id", "item_id"])
    stranger, elsewhere = ("u999999", "x") if ids.user == "string" else (999, 10**6)
    outside = pa.table({"user_id": [keys["user_id"][0].as_py(), stranger], "item_id": [elsewhere, elsewhere]})
    targets = pa.concat_tables([keys.filter(pa.array(acts)), outside.cast(keys.schema)])

    labelled = _collect(label(ENGINE.from_arrow(table), ENGINE.from_arrow(targets))).sort("user_id", "item_id")

    schema = arrow_schema(examples_contract(BUILT_IN.names), ids)
    assert labelled.to_arrow().cast(schema).drop(["label"]).equals(table)
    assert labelled["label"].to_list() == acts.astype(int).tolist()


def test_training_rows_keep_users_with_a_positive_and_every_positive():
    table = synthetic.examples(5, 10)
    labels = table["label"].to_numpy().copy()
    labels[10:20] = 0  # user 1 did nothing
    table = table.set_column(table.column_names.index("label"), "label", pa.array(labels))

    everything = _collect(training_rows(ENGINE.from_arrow(table)))
    assert set(everything["user_id"]) == {0, 2, 3, 4}
    assert everything.height == 40
    assert everything.columns == table.column_names

    few = _collect(training_rows(ENGINE.from_arrow(table), negatives=3, spread=1000))
    for user in (0, 2, 3, 4):
        rows = everything.filter(user_id=user).sort("fused_rank")
        sample = few.filter(user_id=user)
        assert set(sample.filter(label=1)["item_id"]) == set(rows.filter(label=1)["item_id"])
        assert set(sample.filter(label=0)["item_id"]) == set(rows.filter(label=0)["item_id"][:3])


def test_training_rows_spread_reaches_the_tail_and_follows_the_seed():
    frame = ENGINE.from_arrow(synthetic.examples(4, 30))
    best, spread, other = (
        set(_collect(training_rows(frame, 5, step, seed)).select("user_id", "item_id").rows())
        for step, seed in ((1000, 0), (5, 0), (5, 1))
    )
    assert best < spread
    assert spread != other
    assert 3 * 4 <= len(spread - best) <= 5 * 4
    with pytest.raises(ValueError, match="spread is 0, expected at least 1"):
        training_rows(frame, 5, spread=0)


def test_training_rows_treat_each_window_by_itself():
    first, second = (synthetic.examples(3, 6, seed, date(2020, 1, day)) for seed, day in ((0, 1), (1, 8)))
    silent = second.set_column(second.column_names.index("label"), "label", pa.array(np.zeros(18, dtype=np.int64)))
    labelled = _collect(training_rows(ENGINE.from_arrow(pa.concat_tables([first, silent]))))
    assert set(labelled["dt"]) == {date(2020, 1, 1)}


def test_training_rows_are_sampled_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch):
    """With a third of the rows allowed, the best negatives stay and every third of the others."""
    table = synthetic.examples(4, 30, day=date(2020, 1, 1))
    everything = pl.DataFrame(collect_training_rows(ENGINE.from_arrow(table)))
    assert everything.height == 120
    assert everything.equals(everything.sort("dt", "user_id", "item_id"))
    monkeypatch.setattr(examples, "_MOST_ROWS", 40)
    monkeypatch.setattr(examples, "_HARD_NEGATIVES", 5)
    sample = pl.DataFrame(collect_training_rows(ENGINE.from_arrow(table)))
    expected = _collect(training_rows(ENGINE.from_arrow(table), negatives=5, spread=3)).sort("dt", "user_id", "item_id")
    assert sample.equals(expected)
