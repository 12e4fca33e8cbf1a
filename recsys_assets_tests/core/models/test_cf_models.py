"""Each model against its formula, written out on dense matrices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.models.cf_models import MODELS, fit_models
from recsys_assets.core.models.graph_filter import GraphFilter, GraphFilterParams
from recsys_assets.core.models.ials import Ials, IalsParams
from recsys_assets.core.models.interactions import InteractionModel, Interactions
from recsys_assets.core.models.item_models import (
    Ease,
    EaseParams,
    ItemKnnParams,
    Rp3BetaParams,
    item_knn,
    rp3beta,
)

USERS, ITEMS = 70, 40
EVERYBODY = np.arange(USERS)


def interactions(seed: int = 0, ids: Callable[[int], int | str] = int) -> Interactions:
    """Weighted pairs in which one user touched nearly everything, and one item nobody but that user."""
    rng = np.random.default_rng(seed)
    weights = np.where(rng.random((USERS, ITEMS)) < 0.15, rng.uniform(0.5, 3.0, (USERS, ITEMS)), 0.0)
    weights[3] = 1.0
    weights[4:, 7] = weights[:3, 7] = 0.0
    rows, columns = np.nonzero(weights)
    order = rng.permutation(len(rows))
    return Interactions.of(
        pa.table(
            {
                "user_id": [ids(1000 + int(n)) for n in rows[order]],
                "item_id": [ids(500 + int(n)) for n in columns[order]],
                "weight": weights[rows, columns][order],
            }
        )
    )


KNOWN = interactions()
R = KNOWN.matrix.toarray().astype(np.float64)


def test_the_matrix_holds_the_pairs_whatever_their_ids_and_order() -> None:
    assert KNOWN.shape == (USERS, ITEMS)
    assert KNOWN.users.to_pylist() == list(range(1000, 1000 + USERS))
    words = interactions(ids=str)
    assert words.users.to_pylist()[0] == "1000"
    assert np.array_equal(words.matrix.toarray(), KNOWN.matrix.toarray())
    ones = Interactions.of(pa.table({"user_id": [2, 1], "item_id": ["b", "a"]}))
    assert ones.matrix.toarray().tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("factors", [5, 60])
def test_ials_solves_the_equations_of_its_loss(factors: int) -> None:
    """With 5 factors most rows have more entries than unknowns, with 60 fewer."""
    params = IalsParams(factors, 3, 0.1, 0.02, 0.7, seed=1)
    model = Ials(KNOWN, params)
    items = model.items.astype(np.float64)
    for user in EVERYBODY:
        interacted = R[user] > 0
        penalty = 0.02 * (interacted.sum() + 0.1 * ITEMS) ** 0.7
        left = 0.1 * items.T @ items + (items * R[user][:, None]).T @ items + penalty * np.eye(factors)
        assert model.users[user] == pytest.approx(np.linalg.solve(left, items.T @ R[user]), abs=1e-4)
    assert model.scores(np.array([3, 5])) == pytest.approx((model.users @ model.items.T)[[3, 5]], abs=1e-6)


@pytest.mark.parametrize(("rank", "sharpening"), [(1, 0.0), (1, 0.7), (ITEMS, 0.0), (ITEMS, 0.7), (ITEMS, 3.0)])
def test_the_graph_filter_smooths_and_sharpens_as_in_the_papers(rank: int, sharpening: float) -> None:
    """At 0.7 no component reaches the bound; at 3 those with an eigenvalue above 0.25 do."""
    model = GraphFilter(KNOWN, GraphFilterParams(rank, low_pass=0.4, sharpening=sharpening))
    users, items = R.sum(axis=1), R.sum(axis=0)
    smooth = R / np.sqrt(np.outer(users, items))
    graph = smooth.T @ smooth
    _, roots, right = np.linalg.svd(smooth)
    passed = right[: min(rank, ITEMS // 4)]
    ideal = np.diag(items**-0.5) @ passed.T @ passed @ np.diag(items**0.5)
    sharpen = np.eye(ITEMS) - right.T @ np.diag(np.minimum(sharpening * roots**2, 0.75)) @ right
    assert model.scores(EVERYBODY) == pytest.approx(R @ (graph + 0.4 * ideal) @ sharpen, rel=1e-3, abs=1e-3)


def test_ease_predicts_each_item_from_the_others_alone() -> None:
    model = Ease(KNOWN, EaseParams(regularization=3.0))
    for item in (0, 7, 20):
        others = np.delete(np.arange(ITEMS), item)
        left = R[:, others].T @ R[:, others] + 3.0 * np.eye(ITEMS - 1)
        assert model.weights[others, item] == pytest.approx(
            np.linalg.solve(left, R[:, others].T @ R[:, item]), abs=1e-4
        )
        assert model.weights[item, item] == 0.0
    with pytest.raises(ValueError, match="40 items, expected at most 39"):
        Ease(KNOWN, EaseParams(most_items=39))


def test_walks_and_neighbours_by_hand() -> None:
    ones = (R > 0).astype(float)
    up, down = (ones.T / ones.sum(axis=0)[:, None]) ** 0.8, (ones / ones.sum(axis=1)[:, None]) ** 0.8
    walks = up @ down / ones.sum(axis=0) ** 0.4
    lengths = np.sqrt((R**2).sum(axis=0))
    cosines = R.T @ R / (np.outer(lengths, lengths) + 2.0)
    for k in (5, ITEMS):
        found = rp3beta(KNOWN, Rp3BetaParams(0.8, 0.4, k)), item_knn(KNOWN, ItemKnnParams(2.0, k))
        for model, dense in zip(found, (walks, cosines), strict=True):
            expected = dense.copy()
            np.fill_diagonal(expected, 0.0)
            if k < ITEMS:
                order = np.argsort(-expected.round(6), axis=1, kind="stable")
                np.put_along_axis(expected, order[:, k:], 0.0, axis=1)
            assert model.weights.toarray() == pytest.approx(expected, abs=1e-5)
            assert model.scores(EVERYBODY) == pytest.approx(R @ expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_equal_pairs_give_equal_bits_and_users_are_scored_alike_in_any_company(name: str) -> None:
    first, second = (fit_models(interactions())[name]() for _ in range(2))
    everybody = first.scores(EVERYBODY)
    assert np.array_equal(everybody, second.scores(EVERYBODY))
    few = np.array([9, 2])
    assert first.scores(few) == pytest.approx(everybody[few], rel=1e-4, abs=1e-5)
    assert np.isfinite(everybody).all()
    assert everybody.shape == (USERS, ITEMS)


def test_models_find_the_group_that_a_user_belongs_to() -> None:
    """Two groups of users with items of their own: what is missing of the own group comes before the other's."""
    rng = np.random.default_rng(5)
    own = np.arange(ITEMS) // 20
    pairs = [(u, i) for u in range(USERS) for i in range(ITEMS) if own[i] == u % 2 and rng.random() < 0.5]
    known = Interactions.of(pa.table({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs]}))
    models: dict[str, InteractionModel] = {name: fit() for name, fit in fit_models(known).items()}
    for name, model in models.items():
        scores = model.scores(EVERYBODY)
        scores[known.matrix.toarray() > 0] = np.nan
        for user in EVERYBODY:
            mine = own == user % 2
            assert np.nanmean(scores[user, mine]) > np.nanmax(scores[user, ~mine]), name
