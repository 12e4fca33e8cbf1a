"""The ensemble: the result for a history depends on that history and the file of the models alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.core.ids import distinct
from recsys_assets.core.models import cf_ensemble
from recsys_assets.core.models.cf_ensemble import CfEnsemble, best_of, candidates, score, weighted
from recsys_assets.core.models.stored_arrays import to_bytes
from recsys_assets.core.models.top_k import best_of_rows
from recsys_assets_tests.core.models.test_cf_models import ITEMS, KNOWN, USERS, interactions

MODEL = cf_ensemble.fit(KNOWN)


def test_a_history_gets_the_same_bits_in_any_company() -> None:
    """Blocks of users at night, the users of a training window and one visitor get the very same numbers."""
    together = candidates(MODEL, KNOWN.matrix, 7)
    for user in range(USERS):
        alone = candidates(MODEL, KNOWN.matrix[[user]], 7)
        mine = together.rows == user
        assert np.array_equal(alone.columns, together.columns[mine])
        assert np.array_equal(alone.scores, together.scores[:, mine])
        assert np.array_equal(
            score(MODEL, KNOWN.matrix[[user]], np.zeros(ITEMS, np.int64), np.arange(ITEMS)),
            score(MODEL, KNOWN.matrix, np.full(ITEMS, user), np.arange(ITEMS)),
        )


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = candidates(MODEL, KNOWN.matrix, 7)
    monkeypatch.setattr(cf_ensemble, "_ROWS", 9)
    parts = candidates(MODEL, KNOWN.matrix, 7)
    assert np.array_equal(whole.rows, parts.rows)
    assert np.array_equal(whole.columns, parts.columns)
    assert np.array_equal(whole.scores, parts.scores)


def test_candidates_are_new_and_available_and_their_scores_are_those_of_the_pairs() -> None:
    unavailable = np.array([4, 30])
    found = candidates(MODEL, KNOWN.matrix, 7, unavailable)
    assert not np.isin(found.columns, unavailable).any()
    assert not (KNOWN.matrix[found.rows, found.columns].A1 > 0).any()
    pairs = found.rows * ITEMS + found.columns
    assert (np.diff(pairs) > 0).all()
    assert np.array_equal(score(MODEL, KNOWN.matrix, found.rows, found.columns), found.scores)
    weights = {"ials": 2.0, "item_knn": 0.5}
    totals = weighted(found, weights, MODEL)
    names = list(MODEL.models)
    expected = sum(weight * found.scores[names.index(name)] for name, weight in weights.items())
    assert totals == pytest.approx(expected, abs=1e-5)
    best = best_of(found, totals, 3)
    assert (np.bincount(found.rows[best], minlength=USERS) <= 3).all()
    for user in (0, 9, 33):
        mine = found.rows == user
        assert totals[best][found.rows[best] == user] == pytest.approx(np.sort(totals[mine])[::-1][:3])


@pytest.mark.parametrize("ids", [int, str])
def test_the_file_holds_all_of_it(ids: Callable[[int], int | str]) -> None:
    model = cf_ensemble.fit(interactions(ids=ids))
    content = model.to_bytes()
    assert content == cf_ensemble.fit(interactions(ids=ids)).to_bytes(), "equal pairs, other bytes"
    read = CfEnsemble.from_bytes(content)
    assert read.items.equals(model.items)
    first, second = candidates(model, KNOWN.matrix, 5), candidates(read, KNOWN.matrix, 5)
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(first.columns, second.columns)


def test_a_file_that_is_not_one_is_refused() -> None:
    items = pa.array([1, 2])
    with pytest.raises(ValueError, match="unknown model 'oracle'; fit it again"):
        CfEnsemble.from_bytes(to_bytes(items, {"oracle.weights": np.ones(2)}))
    with pytest.raises(ValueError, match="item_knn lacks 'starts'; fit it again"):
        CfEnsemble.from_bytes(to_bytes(items, {"item_knn.weights": np.ones(2)}))
    with pytest.raises(ValueError, match="not the file of a fitted model"):
        CfEnsemble.from_bytes(b"something else")


def test_nothing_to_learn_from_recommends_nothing() -> None:
    nothing = pa.table({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())})
    known = cf_ensemble.Interactions.of(nothing)
    model = CfEnsemble.from_bytes(cf_ensemble.fit(known).to_bytes())
    assert len(candidates(model, known.matrix, 5).rows) == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.floats(width=32, allow_nan=False)), max_size=40).map(sorted),
    st.integers(1, 5),
)
def test_the_best_of_rows_are_those_of_a_sort_by_row_score_and_position(pairs: list[tuple[int, float]], k: int) -> None:
    rng = np.random.default_rng(len(pairs))
    rows = np.array([row for row, _ in pairs], np.int64)
    scores = rng.permutation(np.array([score for _, score in pairs] * 2, np.float32))[: len(pairs)]  # equal ones, too
    expected: list[int] = []
    for row in range(6):
        places = sorted(np.flatnonzero(rows == row).tolist(), key=lambda place: (-scores[place], place))
        expected += places[:k]
    assert best_of_rows(rows, scores, k).tolist() == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_distinct_values_ascend(values: list[int]) -> None:
    assert distinct(np.array(values, np.int64)).tolist() == sorted(set(values))
