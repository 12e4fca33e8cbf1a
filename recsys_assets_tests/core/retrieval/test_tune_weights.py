"""Weights that are learned on past windows: a signal moves them, noise does not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.retrieval import tune_weights as tuning
from recsys_assets.core.retrieval.candidates import fuse
from recsys_assets.core.retrieval.params import SearchResult
from recsys_assets.core.retrieval.protocol import CandidateParams, GeneratorQuota
from recsys_assets.core.retrieval.tune_weights import ensemble_scores, fusion_scores, shrunk, tune_weights
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


def learn(*windows: pa.Table, min_users: int = 30, base: dict[str, float] = EVEN) -> SearchResult:
    data = fusion_scores(windows, NAMES, CONSTANT)
    return tune_weights(data, base, "2020-01-15", "weights", 500, min_users)


DAYS = ("2020-01-01", "2020-01-08", "2020-01-15")


def held_out_of(*windows: pa.Table) -> dict[str, dict[str, float]]:
    data = fusion_scores(windows, NAMES, CONSTANT)
    return tune_weights(data, EVEN, "2020-01-22", "weights", 500, 30, DAYS[: len(windows)]).held_out


def test_what_is_held_out_of_a_window_does_not_know_its_labels() -> None:
    """Weights by which the fusion is compared on a window that the weights in force were learned on."""
    windows = [window(seed) for seed in range(3)]
    before = held_out_of(*windows)
    assert tuple(sorted(before)) == DAYS
    assert all(weights["repeat"] > max(weights["popular"], weights["covisit"]) for weights in before.values())
    flipped = windows[1].set_column(2, "label", pa.array(1 - windows[1]["label"].to_numpy()))
    after = held_out_of(windows[0], flipped, windows[2])
    assert _relative(after[DAYS[1]]) == pytest.approx(_relative(before[DAYS[1]]), rel=1e-3), (
        "but for how far all of them go"
    )
    assert _relative(after[DAYS[0]]) != pytest.approx(_relative(before[DAYS[0]]), rel=1e-3)
    assert held_out_of(windows[0]) == {DAYS[0]: EVEN}, "there is no other window"


def _relative(weights: dict[str, float]) -> list[float]:
    """The direction in which weights were moved: logarithms over the largest, which no share of the way changes."""
    moved = np.log([weights[name] / weights["popular"] for name in NAMES])
    return (moved / np.abs(moved).max()).tolist()


def noise(seed: int, users: int = 60) -> pa.Table:
    """Labels that nothing explains."""
    table = window(seed, users)
    shuffled = np.random.default_rng(seed).permutation(table["label"].to_numpy())
    return table.set_column(2, "label", pa.array(shuffled))


@pytest.mark.parametrize("windows", [1, 3])
def test_what_is_clear_moves_the_weights_and_the_next_window_is_ordered_better(windows: int) -> None:
    found = learn(*(window(seed) for seed in range(windows)))
    assert found.values["repeat"] > found.values["popular"] > found.values["covisit"] > 0, "nothing is silenced"
    assert found.values["covisit"] <= 0.1 * found.values["repeat"]
    assert sum(found.values.values()) == pytest.approx(3.0)
    assert found.facts["share"] >= 0.5
    assert found.facts["windows"] == windows
    assert found.facts["users"] > 200 * windows
    assert found.facts["ndcg_after"] > found.facts["ndcg_before"]
    later = fusion_scores([window(9)], NAMES, CONSTANT)
    assert later.ndcg(found.values).mean() > later.ndcg(EVEN).mean() + 0.02
    assert learn(*(window(seed) for seed in range(windows))) == found


def test_few_users_of_many_windows_are_enough_together() -> None:
    """No window alone has enough users to tell anything; together they have."""
    windows = [window(seed, users=25) for seed in range(8)]
    assert all(learn(one).values == EVEN for one in windows)
    found = learn(*windows)
    assert found.values["repeat"] > 1.5 > 0.7 > found.values["covisit"]


def test_noise_leaves_the_weights_where_they_are() -> None:
    """The search finds something to like about it, which does not hold on the windows that it has not seen."""
    base: dict[str, float] = {"popular": 0.5, "covisit": 0.75, "repeat": 6.0}
    shares = []
    for seed in range(6):
        found = learn(*(noise(10 * seed + number) for number in range(4)), base=base)
        assert max(trial.value for trial in found.trials) > found.trials[0].value
        shares.append(found.facts["share"])
        if not shares[-1]:
            assert found.values == base
    assert np.mean(shares) <= 0.25
    few = learn(window(0, users=20), base=base)
    assert (few.values, few.trials, few.tuned_on) == (base, (), None)
    assert learn(window(0).slice(0, 0), base=base).values == base
    assert learn(base=base).values == base


def test_weights_on_the_way_are_geometric_means_with_the_sum_of_the_base() -> None:
    base = {"a": 1.0, "b": 4.0, "c": 0.0}
    assert shrunk(base, {"a": 9.0, "b": 1.0, "c": 0.0}, 0.0) == base
    assert shrunk(base, {"a": 9.0, "b": 1.0, "c": 0.0}, 1.0) == {"a": 4.5, "b": 0.5, "c": 0.0}
    half = shrunk(base, {"a": 9.0, "b": 1.0, "c": 0.0}, 0.5)
    assert half["a"] / half["b"] == pytest.approx((1 / 4 * 9 / 1) ** 0.5, rel=1e-5)
    assert sum(half.values()) == pytest.approx(5.0)
    silenced = shrunk(base, {"a": 0.0, "b": 1.0, "c": 1.0}, 0.5)
    assert silenced["a"] > 0 < silenced["c"]


def test_the_ensemble_is_judged_on_what_is_new_to_the_user_and_known_to_a_model() -> None:
    rows = pa.table(
        {
            "user_id": [1, 1, 1, 1, 2],
            "item_id": [1, 2, 3, 4, 1],
            "label": [1, 1, 0, 0, 0],
            "ui_events": pa.array([0, 3, None, 0, 0], pa.float32()),
            **{f"ui_{name}": pa.array([0.5, 2.0, -1.0, None, 0.0], pa.float32()) for name in MODEL_NAMES},
        }
    )
    data = ensemble_scores([rows])
    assert data.positive.tolist() == [[True, False]]
    assert data.scores[0].tolist() == [[0.5, -1.0]]
    assert data.ndcg(dict.fromkeys(MODEL_NAMES, 1.0)).tolist() == [1.0]
    assert data.ndcg(dict.fromkeys(MODEL_NAMES, -1.0)).tolist() == [pytest.approx(1 / np.log2(3))]


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
    data = fusion_scores([candidates.to_arrow()], NAMES, CONSTANT)
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
    one, other = (fusion_scores([some], NAMES, CONSTANT) for some in (table, table.take(order)))
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("scores", "positive", "valid"))
    assert one.positive.any(axis=1).all(), "users without a positive are left out"
    monkeypatch.setattr(tuning, "MOST_USERS", 7)
    few = fusion_scores([table, table], NAMES, CONSTANT)
    assert few.window.tolist() == [0] * 7 + [1] * 7
    rows = {row.tobytes() for row in one.positive}
    assert all(row.tobytes() in rows for row in few.positive)
