"""Training examples: for the users who acted, exactly what would have served, and a label."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from recsys_assets.core.contracts import IdTypes, arrow_schema, examples_contract
from recsys_assets.core.evaluation.window import targets_after
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.examples import label
from recsys_assets.core.retrieval.labelled import labelled_candidates
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.retrieval.test_candidates import DAY, END, PARAMS, featured, inputs
from recsys_assets_tests.core.world import ENGINE, INTS, STRINGS, events, properties, rows, stored

EXAMPLES = examples_contract(BUILT_IN.names)


@pytest.mark.parametrize("users_at_once", [None, 2])
@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_examples_are_the_rows_that_would_have_served(tmp_path: Path, ids: IdTypes, users_at_once: int | None) -> None:
    given = inputs(events(seed=42, ids=ids), properties(ids=ids), ids)
    targets = stored(targets_after(given.user_activity, DAY))
    served = featured(given)
    acted = {row["user_id"] for row in rows(targets)}
    recommended = {row["user_id"] for row in rows(served)}
    assert acted & recommended
    assert acted - recommended, "some acted without being active before"
    assert recommended - acted, "some were active before and did not act"

    expected = label(served.join(targets.select("user_id").unique(), on="user_id", how="semi"), targets)
    engine, schema = PolarsEngine(), arrow_schema(EXAMPLES, ids)
    engine.users_at_once = users_at_once
    found = labelled_candidates(engine, given, targets, DAY, END, PARAMS, BUILT_IN)
    for name, frame in (("expected", expected), ("found", found)):
        engine.sink(frame, tmp_path / name, schema, EXAMPLES.sort_by)
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()

    examples = rows(expected)
    assert {row["user_id"] for row in examples} == acted & recommended
    pairs = {(row["user_id"], row["item_id"]) for row in rows(targets)}
    assert all(row["label"] == ((row["user_id"], row["item_id"]) in pairs) for row in examples)
    assert {row["label"] for row in examples} == {0, 1}


def test_nobody_acted(tmp_path: Path) -> None:
    given = inputs(events(seed=43), properties())
    nothing = ENGINE.from_arrow(pa.table({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())}))
    found = labelled_candidates(ENGINE, given, nothing, DAY, END, PARAMS, BUILT_IN)
    assert ENGINE.sink(found, tmp_path / "none", arrow_schema(EXAMPLES, INTS), EXAMPLES.sort_by) == 0
