"""Each model against its formula, written out on dense matrices, and what it says of histories."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from recsys_assets.core.models.cf_models import MODELS, ModelParams
from recsys_assets.core.models.factor_models import FactorModel
from recsys_assets.core.models.graph_filter import GraphFilterParams, graph_filter, low_pass
from recsys_assets.core.models.ials import IalsParams, ials
from recsys_assets.core.models.interactions import InteractionModel, Interactions
from recsys_assets.core.models.item_models import (
    EaseParams,
    ItemKnnParams,
    Neighbours,
    Rp3BetaParams,
    ease,
    item_knn,
    rp3beta,
)

USERS, ITEMS = 70, 40


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


def raw_scores(model: InteractionModel, histories: csr_matrix) -> npt.NDArray[np.float64]:
    """Scores [rows, items] that are not standardized."""
    if isinstance(model, Neighbours):
        return csr_matrix(histories @ model.weights).toarray().astype(np.float64)
    assert isinstance(model, FactorModel)
    return model.vectors(histories).astype(np.float64) @ model.items.T.astype(np.float64)


def test_the_matrix_holds_the_pairs_whatever_their_ids_and_order() -> None:
    assert KNOWN.shape == (USERS, ITEMS)
    assert KNOWN.users.to_pylist() == list(range(1000, 1000 + USERS))
    words = interactions(ids=str)
    assert words.users.to_pylist()[0] == "1000"
    assert np.array_equal(words.matrix.toarray(), KNOWN.matrix.toarray())
    pairs = pa.table({"user_id": [2, 1], "item_id": ["b", "a"]})
    assert Interactions.of(pairs).matrix.toarray().tolist() == [[1, 0], [0, 1]]
    assert Interactions.onto(pairs, pa.array(["a", "c"])).matrix.toarray().tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("factors", [5, 60])
def test_ials_folds_a_history_in_by_the_equations_of_its_loss(factors: int) -> None:
    """With 5 factors most rows have more entries than unknowns, with 60 fewer."""
    model = ials(KNOWN, IalsParams(factors, 3, 0.1, 0.02, 0.7, seed=1))
    items, users = model.items.astype(np.float64), model.vectors(KNOWN.matrix)
    for user in range(USERS):
        interacted = R[user] > 0
        penalty = 0.02 * (interacted.sum() + 0.1 * ITEMS) ** 0.7
        left = 0.1 * items.T @ items + (items * R[user][:, None]).T @ items + penalty * np.eye(factors)
        assert users[user] == pytest.approx(np.linalg.solve(left, items.T @ R[user]), abs=1e-4)
    # The vectors of items solve theirs too, given the users of the round before: scores rank what was touched first.
    scores = raw_scores(model, KNOWN.matrix)
    assert np.mean(scores[R > 0]) > np.mean(scores[R == 0]) + 0.3


@pytest.mark.parametrize(("rank", "sharpening"), [(1, 0.0), (1, 0.7), (ITEMS, 0.0), (ITEMS, 0.7), (ITEMS, 3.0)])
def test_the_graph_filters_smooth_and_sharpen_as_in_the_papers(rank: int, sharpening: float) -> None:
    """At 0.7 no component reaches the bound; at 3 those with an eigenvalue above 0.25 do."""
    params = GraphFilterParams(rank, sharpening)
    users, items = R.sum(axis=1), R.sum(axis=0)
    smooth = R / np.sqrt(np.outer(users, items))
    graph = smooth.T @ smooth
    _, roots, right = np.linalg.svd(smooth)
    passed = right[: min(rank, ITEMS // 4)]
    ideal = np.diag(items**-0.5) @ passed.T @ passed @ np.diag(items**0.5)
    sharpen = np.eye(ITEMS) - right.T @ np.diag(np.minimum(sharpening * roots**2, 0.75)) @ right
    for model, expected in ((graph_filter(KNOWN, params), graph), (low_pass(KNOWN, params), ideal)):
        assert raw_scores(model, KNOWN.matrix) == pytest.approx(R @ expected @ sharpen, rel=3e-3, abs=3e-3)


@pytest.mark.parametrize("most_items", [ITEMS, 25])
def test_ease_predicts_each_item_from_the_others_alone(most_items: int) -> None:
    model = ease(KNOWN, EaseParams(regularization=3.0, most_items=most_items))
    weights = model.weights.toarray()
    chosen = np.sort(np.argsort(-(R > 0).sum(axis=0), kind="stable")[:most_items])
    for item in chosen[::7]:
        others = np.setdiff1d(chosen, [item])
        left = R[:, others].T @ R[:, others] + 3.0 * np.eye(most_items - 1)
        assert weights[others, item] == pytest.approx(np.linalg.solve(left, R[:, others].T @ R[:, item]), abs=1e-4)
        assert weights[item, item] == 0.0
    left_out = np.setdiff1d(np.arange(ITEMS), chosen)
    assert not weights[left_out].any()
    assert not weights[:, left_out].any()
    few = ease(KNOWN, EaseParams(regularization=3.0, most_items=most_items, neighbours=4)).weights.toarray()
    for item in chosen:
        largest = np.sort(np.abs(weights[item]))[-4:]
        assert np.sort(np.abs(few[item][few[item] != 0])) == pytest.approx(largest)


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


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_standardized_over_all_items_and_the_best_are_the_best(name: str) -> None:
    model = MODELS[name].fit(KNOWN, ModelParams())
    raw, barred = raw_scores(model, KNOWN.matrix), np.asarray(R > 0)
    barred[:, 11] = True
    available = np.arange(ITEMS) != 11
    wanted = (raw - raw.mean(axis=1, keepdims=True)) / raw.std(axis=1, keepdims=True)
    scores = model.scores(KNOWN.matrix)
    rows, columns = np.nonzero(np.ones(R.shape))
    assert scores.standardized(rows, columns) == pytest.approx(wanted[rows, columns], rel=1e-3, abs=1e-3)
    found = np.zeros(R.shape, np.bool_)
    found[scores.best(6, KNOWN.matrix, available)] = True
    assert not (found & barred).any()
    for user in range(USERS):
        open_items = np.flatnonzero(~barred[user] & ((raw[user] > 0) | isinstance(model, FactorModel)))
        assert found[user].sum() == min(6, len(open_items))
        if len(open_items):
            worst, left = raw[user, found[user]].min(), np.setdiff1d(open_items, np.flatnonzero(found[user]))
            assert (raw[user, left] <= worst + 1e-5).all()


@pytest.mark.parametrize("name", MODELS)
def test_equal_pairs_give_equal_bits(name: str) -> None:
    first, second = (MODELS[name].fit(interactions(), ModelParams()).arrays for _ in range(2))
    assert first.keys() == second.keys()
    assert all(np.array_equal(array, second[part]) for part, array in first.items())


def test_models_find_the_group_that_a_user_belongs_to() -> None:
    """Two groups of users with items of their own: what is missing of the own group comes before the other's."""
    rng = np.random.default_rng(5)
    own = np.arange(ITEMS) // 20
    pairs = [(u, i) for u in range(USERS) for i in range(ITEMS) if own[i] == u % 2 and rng.random() < 0.5]
    known = Interactions.of(pa.table({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs]}))
    params = ModelParams(graph_filter=GraphFilterParams(rank=2, sharpening=0.0))
    for name, kind in MODELS.items():
        scores = raw_scores(kind.fit(known, params), known.matrix)
        scores[known.matrix.toarray() > 0] = np.nan
        for user in range(USERS):
            mine = own == user % 2
            assert np.nanmean(scores[user, mine]) > np.nanmax(scores[user, ~mine]), name
