"""Weights of generators: noise is silenced, and the lists of the window after get no worse."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.retrieval import tune_fusion as fusion
from recsys_assets.core.retrieval.candidates import fuse
from recsys_assets.core.retrieval.params import SearchResult
from recsys_assets.core.retrieval.protocol import CandidateParams, GeneratorQuota
from recsys_assets.core.retrieval.tune_fusion import ranked, tune_weights
from recsys_assets_tests.core.world import ENGINE

NAMES = ("popular", "covisit", "repeat")
"""Of these, 'popular' knows a little, 'covisit' nothing, 'repeat' much."""

KNOWS = {"popular": 0.8, "covisit": 0.0, "repeat": 2.5}
EVEN: dict[str, float] = dict.fromkeys(NAMES, 1.0)
CONSTANT = 10.0


def window(seed: int, users: int = 240, items: int = 40) -> pa.Table:
    """Examples in which every generator ranks half of a user's items by what it knows, and noise."""
    rng = np.random.default_rng(seed)
    likes = rng.normal(size=(users, items))
    columns = {
        "user_id": np.repeat(np.arange(users), items),
        "item_id": np.tile(np.arange(items), users),
        "label": (likes > np.quantile(likes, 0.95)).astype(np.int64).ravel(),
    }
    for name, knows in KNOWS.items():
        rank = (-(knows * likes + rng.normal(size=likes.shape))).argsort(axis=1).argsort(axis=1) + 1
        columns[f"{name}_rank"] = pa.array(rank.ravel().astype(np.int32), mask=rank.ravel() > items // 2)
    return pa.table(columns)


def learn(table: pa.Table, min_users: int = 30, base: dict[str, float] = EVEN) -> SearchResult:
    return tune_weights(ranked(table, NAMES, CONSTANT), base, "2020-01-15", "weights", 500, min_users)


def test_noise_gets_no_weight_and_the_next_window_is_ordered_better() -> None:
    found = learn(window(0))
    assert found.values["covisit"] <= 0.1 * found.values["repeat"]
    assert found.values["repeat"] > found.values["popular"] > found.values["covisit"]
    assert sum(found.values.values()) == pytest.approx(3.0)
    assert found.facts["kept"] == 1.0
    assert found.facts["ndcg_after"] > found.facts["ndcg_before"]
    later = ranked(window(1), NAMES, CONSTANT)
    assert later.ndcg(found.values).mean() > later.ndcg(EVEN).mean() + 0.02
    assert learn(window(0)) == found


def test_weights_that_are_no_better_on_held_out_users_are_not_used() -> None:
    """Labels that nothing explains: the search finds something to like about them, and the weights stay."""
    base: dict[str, float] = {"popular": 0.5, "covisit": 0.75, "repeat": 6.0}
    for seed in range(4):
        table = window(seed)
        shuffled = np.random.default_rng(seed).permutation(table["label"].to_numpy())
        found = learn(table.set_column(2, "label", pa.array(shuffled)), base=base)
        assert max(trial.value for trial in found.trials) > found.trials[0].value
        assert (found.values, found.facts["kept"]) == (base, 0.0)
    few = learn(window(0, users=20), base=base)
    assert (few.values, few.trials, few.tuned_on) == (base, (), None)
    assert learn(window(0).slice(0, 0), base=base).values == base


def test_lists_are_ordered_as_candidates_are() -> None:
    """By the weights in force, arrays and frames give the same order, so the search judges what will be served."""
    table = window(3, users=30)
    weights: dict[str, float] = {"popular": 0.3, "covisit": 0.7, "repeat": 2.0}
    frame = pl.DataFrame(table)
    given = {
        name: ENGINE.from_arrow(
            frame.drop_nulls(f"{name}_rank")
            .select("user_id", "item_id", score=-pl.col(f"{name}_rank").cast(pl.Float64), rank=f"{name}_rank")
            .to_arrow()
        )
        for name in NAMES
    }
    quotas = {name: GeneratorQuota(40, weight) for name, weight in weights.items()}
    fused = fuse(given, CandidateParams(quotas=quotas, fusion_constant=CONSTANT), BUILT_IN.names).collect().to_native()
    candidates = frame.join(fused.select("user_id", "item_id", "fused_rank"), on=["user_id", "item_id"])
    data = ranked(candidates.to_arrow(), NAMES, CONSTANT)
    expected = []
    for (_,), rows in candidates.sort("user_id").group_by("user_id", maintain_order=True):
        positives = rows.filter(label=1).height
        if positives:
            gains = rows.filter((pl.col("label") == 1) & (pl.col("fused_rank") <= 10))["fused_rank"].to_numpy()
            ideal = (1 / np.log2(np.arange(min(10, positives)) + 2)).sum()
            expected.append((1 / np.log2(gains + 1)).sum() / ideal)
    assert data.ndcg(weights) == pytest.approx(expected)


def test_rows_and_users_are_taken_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    table = window(4, users=50)
    order = np.random.default_rng(0).permutation(table.num_rows)
    one, other = ranked(table, NAMES, CONSTANT), ranked(table.take(order), NAMES, CONSTANT)
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("place", "positive", "valid"))
    assert one.positive.any(axis=1).all(), "users without a positive are left out"
    monkeypatch.setattr(fusion, "MOST_USERS", 7)
    few = ranked(table, NAMES, CONSTANT)
    assert len(few.positive) == 7
    rows = {row.tobytes() for row in one.positive}
    assert all(row.tobytes() in rows for row in few.positive)
