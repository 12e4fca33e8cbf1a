"""Nearest items by embedding: what brute force finds, and a graph that finds nearly all of it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.contracts import ITEM_EMBEDDINGS, IdTypes
from recsys_assets.core.retrieval.by_embedding import NearestParams, fit, recommend
from recsys_assets_tests.core.world import INTS, STRINGS, fit_context_at, frame, typed

DAY = date(2024, 3, 1)
K = 10
Vectors = dict[int | str, list[float]]


def vectors(items: int, length: int, ids: IdTypes) -> Vectors:
    """Random directions of any length."""
    rng = np.random.default_rng(3)
    return {typed(item, ids.item): list(rng.normal(size=length) * rng.uniform(0.1, 9)) for item in range(items)}


def touches(users: int, items: int, ids: IdTypes) -> list[tuple[int | str, int | str, int]]:
    """User, item and days ago; items beyond those with a vector among them, and users from one item to many."""
    rng = random.Random(4)
    return [
        (typed(user, ids.user), typed(item, ids.item), rng.randrange(20))
        for user in range(users)
        for item in rng.sample(range(items + items // 10), rng.choice([1, 3, 30]))
    ]


def found(
    happened: Iterable[tuple[int | str, int | str, int]],
    embeddings: Vectors,
    ids: IdTypes,
    unavailable: frozenset[int | str] = frozenset(),
    params: NearestParams | None = None,
) -> pa.Table:
    """What is recommended to histories whose weights halve in five days."""
    embedded = [{"item_id": item, "embedding": vector} for item, vector in embeddings.items()]
    frames = {"item_embeddings": frame(embedded, ITEM_EMBEDDINGS, ids, day=False)}
    schema = pa.schema([("user_id", ids.user), ("item_id", ids.item), ("weight", pa.float64())])
    rows = [{"user_id": user, "item_id": item, "weight": 0.5 ** (ago / 5)} for user, item, ago in happened]
    exclude = pa.array(sorted(unavailable, key=str), schema.field("item_id").type)
    history = pa.Table.from_pylist(rows, schema)
    return recommend(fit(fit_context_at(DAY, frames)), history, K, exclude, params)


def lists(table: pa.Table) -> dict[int | str, dict[int | str, float]]:
    scores: dict[int | str, dict[int | str, float]] = {}
    for row in table.to_pylist():
        scores.setdefault(row["user_id"], {})[row["item_id"]] = row["score"]
    assert sum(map(len, scores.values())) == table.num_rows, "each pair once"
    return scores


def brute_force(
    happened: Iterable[tuple[int | str, int | str, int]], embeddings: Vectors, unavailable: frozenset[int | str]
) -> dict[int | str, dict[int | str, float]]:
    """Cosines with the mean, weighed by half-life, of the directions that a user touched."""
    units = {item: np.array(vector) / np.linalg.norm(vector) for item, vector in embeddings.items()}
    expected: dict[int | str, dict[int | str, float]] = {}
    for user in {user for user, _, _ in happened}:
        mine = [(item, ago) for who, item, ago in happened if who == user]
        means = [units[item] * 0.5 ** (ago / 5) for item, ago in mine if item in units]
        if means:
            mean = np.sum(means, axis=0) / np.linalg.norm(np.sum(means, axis=0))
            free = set(units) - {item for item, _ in mine} - unavailable
            scores = {item: float(units[item] @ mean) for item in free}
            expected[user] = dict(sorted(scores.items(), key=lambda pair: -pair[1])[:K])
    return expected


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_few_items_are_compared_exactly(ids: IdTypes):
    embeddings, happened = vectors(200, 8, ids), touches(60, 200, ids)
    unavailable = frozenset(list(embeddings)[::7])
    actual, expected = (
        lists(found(happened, embeddings, ids, unavailable)),
        brute_force(happened, embeddings, unavailable),
    )
    assert len(expected) > 30
    assert {user: set(mine) for user, mine in actual.items()} == {user: set(mine) for user, mine in expected.items()}
    for user, mine in actual.items():
        assert mine == {item: pytest.approx(score, abs=1e-5) for item, score in expected[user].items()}


def test_the_graph_of_many_items_finds_nearly_all_of_it_and_the_same_each_time():
    embeddings, happened = vectors(3000, 16, INTS), touches(100, 3000, INTS)
    approximate = NearestParams(most_exact=0)
    table = found(happened, embeddings, INTS, params=approximate)
    actual, expected = lists(table), brute_force(happened, embeddings, frozenset())
    hits = [len(set(actual[user]) & set(mine)) / K for user, mine in expected.items()]
    assert len(hits) > 50
    assert np.mean(hits) > 0.95
    interacted = {(user, item) for user, item, _ in happened}
    assert not interacted & {(user, item) for user, mine in actual.items() for item in mine}
    assert found(happened, embeddings, INTS, params=approximate).equals(table)


def test_vectors_of_length_zero_are_ignored_and_without_vectors_there_are_no_candidates():
    happened = [("u", "a", 0), ("v", "z", 0), ("w", "a", 0), ("w", "b", 0), ("w", "c", 0)]
    embeddings: Vectors = {"a": [1.0, 0.0], "b": [2.0, 2.0], "c": [0.0, 3.0], "z": [0.0, 0.0]}
    actual = lists(found(happened, embeddings, STRINGS))
    assert actual == {"u": {"b": pytest.approx(0.5**0.5), "c": pytest.approx(0.0)}}
    assert found(happened, {}, STRINGS).num_rows == 0
    assert found([], embeddings, STRINGS).num_rows == 0
