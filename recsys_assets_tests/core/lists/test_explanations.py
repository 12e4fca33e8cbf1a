"""Why items stand where they do: the rows of the lists, the ranks of the candidates, contributions that add up."""

from __future__ import annotations

from pathlib import Path

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from recsys_assets.core.contracts import arrow_schema, explanations_contract
from recsys_assets.core.engine import Frame
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.explanations import explain_in_parts, explainer_of, order_of, rounded
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.core.retrieval.candidates import candidates
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.retrieval.test_candidates import DAY, END, PARAMS, featured, inputs
from recsys_assets_tests.core.world import ENGINE, INTS, events, properties, stored
from recsys_assets_tests.engines.function_inputs import trained_model

CONTRACT = explanations_contract(BUILT_IN.names)
GIVEN = inputs(events(seed=51), properties())
MOST = 4


@pytest.fixture(scope="module")
def pairs() -> Frame:
    return stored(candidates(ENGINE, GIVEN, DAY, END, PARAMS, BUILT_IN))


def scores_of(order_by: str) -> Frame | None:
    return stored(score_candidates(ENGINE, featured(GIVEN), trained_model(), INTS)) if order_by == "ranker" else None


def explained(engine: PolarsEngine, pairs: Frame, order_by: str, lists: Frame, path: Path) -> pl.DataFrame:
    """The explanations as they are written."""
    frames = explain_in_parts(
        engine,
        lists,
        pairs,
        GIVEN,
        DAY,
        END,
        PARAMS,
        explainer=explainer_of(order_by, trained_model() if order_by == "ranker" else b"", PARAMS),
        ids=INTS,
        most=MOST,
    )
    engine.sink(frames, path, arrow_schema(CONTRACT, INTS), CONTRACT.sort_by)
    return pl.read_parquet(path)


@pytest.mark.parametrize("order_by", ["ranker", "fused", "covisit"])
def test_the_first_items_of_each_list_are_explained(tmp_path: Path, pairs: Frame, order_by: str) -> None:
    scores = scores_of(order_by)
    lists = stored(recommend(pairs, order_by, scores, 8))
    assert order_of(lists) == order_by
    found = explained(ENGINE, pairs, order_by, lists, tmp_path / "all")
    first = lists.filter(nw.col("rank") <= MOST).sort("user_id", "rank").collect().to_native()
    assert found.select("user_id", "item_id", "rank").equals(first.select("user_id", "item_id", "rank"))

    ranks = [f"{name}_rank" for name in BUILT_IN.names]
    proposed = found.select("user_id", "item_id").join(pairs.collect().to_native(), on=["user_id", "item_id"])
    assert found.sort("user_id", "item_id").select(ranks).equals(proposed.sort("user_id", "item_id").select(ranks))
    assert found.select(pl.any_horizontal(pl.col(ranks).is_not_null()).all()).item(), "somebody proposed each"

    # Lists are in the order of these scores, and no policy has changed them.
    total = found.select(pl.sum_horizontal("baseline", "others", *(f"contribution_{n}" for n in (1, 2, 3))))
    size = found.select(
        pl.sum_horizontal(pl.col("others").abs(), *(pl.col(f"contribution_{n}").abs() for n in (1, 2, 3)))
    )
    difference = np.abs(total.to_series().to_numpy() - first["score"].to_numpy())
    # What the strongest lose by rounding is among the others, which are rounded themselves.
    assert (difference <= np.abs(found["others"].to_numpy()) / 64 + 1e-6 * (1 + size.to_series().to_numpy())).all()
    strength = found.select(pl.col(f"contribution_{n}").abs().fill_null(0.0) for n in (1, 2, 3)).to_numpy()
    assert (np.diff(strength, axis=1) <= 0).all(), "the strongest first"
    assert strength[:, 0].min() > 0

    small = PolarsEngine()
    small.users_at_once = 2
    explained(small, pairs, order_by, lists, tmp_path / "parts")
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "all").read_bytes()


def test_a_generator_that_orders_is_the_whole_reason_and_the_fusion_where_it_ends(tmp_path: Path, pairs: Frame) -> None:
    lists = stored(recommend(pairs, "category", None, 8))
    found = explained(ENGINE, pairs, "category", lists, tmp_path / "found")
    own = found.filter(pl.col("category_rank").is_not_null())
    assert own["feature_1"].unique().to_list() == ["category_score"]
    assert own["feature_2"].null_count() == len(own), "nothing else adds to it"
    others = found.filter(pl.col("category_rank").is_null())
    assert len(others)
    assert others["feature_1"].str.ends_with("_rank").all()
    for row in others.to_dicts():
        shares = {
            f"{name}_rank": quota.weight / (PARAMS.fusion_constant + row[f"{name}_rank"])
            for name, quota in PARAMS.quotas.items()
            if row[f"{name}_rank"] is not None
        }
        assert row["contribution_1"] == pytest.approx(max(shares.values()), rel=1 / 64)
        assert row["value_1"] == row[row["feature_1"]]


def test_rounding_keeps_so_many_bits_of_any_number() -> None:
    values = np.array([0.0, 1.0, -3.14159, 255.0, 2047.0, 1e-30, 1e30, np.nan, -0.1])
    known = ~np.isnan(values)
    for bits in (6, 11):
        found = rounded(values, bits)
        assert (np.abs(found[known] - values[known]) <= np.abs(values[known]) * 2.0**-bits).all()
        assert np.array_equal(rounded(found, bits), found, equal_nan=True)
    assert rounded(values, 11)[[3, 4]].tolist() == [255.0, 2047.0]
