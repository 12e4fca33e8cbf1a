"""Latent factors: they find planted tastes, and every byte is the same twice."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import ITEM_FACTORS, IdTypes, arrow_schema
from recsys_assets.core.models.als import (
    AlsFitParams,
    fit_factors,
    similar_by_factors,
    vectors_of,
)
from recsys_assets.core.models.als_fold_in import AlsFoldIn
from recsys_assets.core.models.interactions import Interactions
from recsys_assets.core.models.nearest import nearest
from recsys_assets.core.retrieval.by_factors import recommend
from recsys_assets_tests.core.world import ENGINE, INTS, STRINGS, typed

SMALL = AlsFitParams(factors=8, iterations=8, num_threads=2)
BLOCKS, ITEMS = 4, 60


def planted(ids: str = "int64", seed: int = 0) -> tuple[pa.Table, dict[int | str, set[int | str]]]:
    """Users who touch 6 items of their block (and 1 of any); what else of the block they touched is held out."""
    rng = random.Random(seed)
    seen, held = [], {}
    for user in range(80):
        block = [item for item in range(ITEMS) if item % BLOCKS == user % BLOCKS]
        liked = rng.sample(block, 9)
        for item in {*liked[:6], rng.randrange(ITEMS)}:
            seen.append({"user_id": typed(user, ids), "item_id": typed(item, ids), "weight": rng.choice([1.0, 6.0])})
        held[typed(user, ids)] = {typed(item, ids) for item in liked[6:]}
    return pa.Table.from_pylist(seen), held


def as_lists(table: pa.Table) -> dict[int | str, list[int | str]]:
    found: dict[int | str, list[int | str]] = {}
    for row in table.to_pylist():
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


@pytest.mark.parametrize("ids", ["int64", "string"])
def test_planted_tastes_are_found_and_popularity_does_not_find_them(ids: str):
    seen, held = planted(ids)
    items = fit_factors(ENGINE, ENGINE.from_arrow(seen), SMALL)
    lists = as_lists(recommend(items, seen, SMALL, 10, repeats=False))
    counts = pl.DataFrame(seen).group_by("item_id").len().sort("len", "item_id", descending=True)["item_id"].to_list()
    interacted = as_lists(seen)
    popular = {user: [item for item in counts if item not in interacted[user]][:10] for user in held}

    def recall(found: dict[int | str, list[int | str]]) -> float:
        return sum(len(held[user] & set(found[user])) for user in held) / sum(map(len, held.values()))

    assert recall(lists) > 0.75 > 3 * recall(popular)
    assert all(not set(found) & set(interacted[user]) and len(found) == 10 for user, found in lists.items())
    near = similar_by_factors(items, 5).to_pylist()
    block = {typed(item, ids): item % BLOCKS for item in range(ITEMS)}
    assert sum(block[n["item_id"]] == block[n["similar_item_id"]] for n in near) / len(near) > 0.9
    assert all(n["item_id"] != n["similar_item_id"] and n["rank"] <= 5 for n in near)


def test_two_fits_give_equal_bytes_whatever_the_threads_and_the_order_of_rows(tmp_path: Path):
    seen, _ = planted()
    shuffled = seen.take(pa.array(np.random.default_rng(0).permutation(len(seen))))
    written = set()
    for given, threads in ((seen, 1), (seen, 2), (shuffled, 2)):
        items = fit_factors(ENGINE, ENGINE.from_arrow(given), replace(SMALL, num_threads=threads))
        path = tmp_path / "items"
        ENGINE.sink(ENGINE.from_arrow(items), path, arrow_schema(ITEM_FACTORS, INTS), ITEM_FACTORS.sort_by)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_rare_items_are_left_out_and_weightless_pairs_ignored():
    seen, _ = planted()
    rare = {"user_id": [0, 1], "item_id": [1000, 1001], "weight": [1.0, 0.0]}
    given = pa.concat_tables([seen, pa.table(rare)])
    items = fit_factors(ENGINE, ENGINE.from_arrow(given), replace(SMALL, min_item_users=1))
    assert max(items["item_id"].to_pylist()) == 1000
    assert items["item_id"].to_pylist() == sorted(items["item_id"].to_pylist())
    strict = fit_factors(ENGINE, ENGINE.from_arrow(given), SMALL)
    assert 1000 not in strict["item_id"].to_pylist()


def test_a_history_that_is_folded_in_gets_the_vector_that_a_fit_would_give_it():
    """``implicit`` solves for its users by the same equations, given the vectors of items."""
    seen, _ = planted()
    params = replace(SMALL, iterations=60)
    fitted = ENGINE.factorize(ENGINE.from_arrow(seen), params)
    ids, items = vectors_of(fitted.items, "item_id")
    known = Interactions.onto(seen, ids)
    folded = AlsFoldIn(items, params.regularization, params.alpha)(known.matrix)
    users, vectors = vectors_of(fitted.users, "user_id")
    assert users.equals(known.users)
    assert folded == pytest.approx(vectors, abs=0.02)
    alone = AlsFoldIn(items, params.regularization, params.alpha)(known.matrix[[7]])
    assert alone[0].tobytes() == folded[7].tobytes()


def test_top_k_equals_sorting_everything_with_ties_by_position():
    rng = np.random.default_rng(5)
    queries = rng.integers(-2, 3, (300, 4)).astype(np.float32)
    items = rng.integers(-2, 3, (700, 4)).astype(np.float32)
    for k in (1, 7, 700, 900):
        found_rows, found_items, scores = nearest(queries, items, k)
        everything = queries @ items.T
        best = np.argsort(-everything, axis=1, kind="stable")[:, :k]
        assert found_rows.tolist() == np.repeat(np.arange(300), best.shape[1]).tolist()
        assert found_items.tolist() == best.reshape(-1).tolist()
        assert scores.tolist() == np.take_along_axis(everything, best, 1).reshape(-1).tolist()


def test_no_barred_pair_is_found_wherever_tiles_and_groups_end():
    rng = np.random.default_rng(7)
    queries = rng.integers(-3, 4, (520, 5)).astype(np.float32)
    for count in (1, 33, 1025, 2500):
        items = rng.integers(-3, 4, (count, 5)).astype(np.float32)
        barred = rng.random((520, count)) < 0.3
        barred[0] = True

        def forbid(start: int, stop: int, barred: np.ndarray = barred) -> tuple[np.ndarray, np.ndarray]:
            return np.nonzero(barred[start:stop])  # pyright: ignore[reportReturnType]

        found_rows, found_items, _ = nearest(queries, items, 9, forbid)
        allowed = np.where(barred, -np.inf, queries @ items.T)
        best = np.argsort(-allowed, axis=1, kind="stable")[:, :9]
        rows, places = np.nonzero(np.take_along_axis(allowed, best, 1) > -np.inf)
        assert found_rows.tolist() == rows.tolist()
        assert found_items.tolist() == best[rows, places].tolist()


def test_a_users_list_does_not_depend_on_the_batch():
    rng = np.random.default_rng(6)
    queries, items = (rng.normal(size=(n, 64)).astype(np.float32) for n in (600, 3001))
    whole = nearest(queries, items, 20)
    for start, stop in ((0, 1), (255, 257), (300, 599), (599, 600)):
        part = nearest(queries[start:stop], items, 20)
        inside = (whole[0] >= start) & (whole[0] < stop)
        assert part[1].tolist() == whole[1][inside].tolist()
        assert part[2].tobytes() == whole[2][inside].tobytes()


def test_items_without_direction_are_nobodys_neighbour():
    table = pa.table(
        {"item_id": ["z", "a", "b"], "factors": pa.array([[0, 0], [1, 0], [2, 0.1]], pa.list_(pa.float32()))}
    )
    assert [(n["item_id"], n["similar_item_id"]) for n in similar_by_factors(table, 5).to_pylist()] == [
        ("a", "b"),
        ("b", "a"),
    ]


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_nothing_gives_nothing(ids: IdTypes):
    key = arrow_schema(ITEM_FACTORS, ids).field("item_id").type
    nothing = pa.schema([("user_id", key), ("item_id", key), ("weight", pa.float64())]).empty_table()
    items = fit_factors(ENGINE, ENGINE.from_arrow(nothing), SMALL)
    assert items.num_rows == 0
    assert similar_by_factors(items, 5).num_rows == 0
    assert recommend(items, nothing, SMALL, 5).num_rows == 0
