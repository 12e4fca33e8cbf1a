"""The generator 'sessions': whom it recommends what, and that a stored model recommends what the fitted one does."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from recsys_assets.core.contracts import CLEAN_EVENTS, IdTypes
from recsys_assets.core.models import stored_arrays
from recsys_assets.core.models.interactions import LEAST_ITEMS
from recsys_assets.core.models.session_model import from_bytes, to_bytes
from recsys_assets.core.retrieval.next_in_session import fit_session_model, recommend
from recsys_assets_tests.core.world import FIRST, INTS, STRINGS, Row, events, frame

K = 6


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_users_with_several_items_get_items_that_they_have_not_clicked(ids: IdTypes) -> None:
    happened = events(seed=51, ids=ids, items=60)
    clicks = frame(happened, CLEAN_EVENTS, ids)
    model = fit_session_model(clicks)
    excluded = model.items.take(pa.array([0, 7, 20]))
    recommended = recommend(model, clicks, K, excluded).to_pylist()
    pairs = {(row["user_id"], row["item_id"]) for row in recommended}
    assert len(pairs) == len(recommended)
    clicked = {(e["user_id"], e["item_id"]) for e in happened}
    assert not pairs & clicked
    assert not {item for _, item in pairs} & set(excluded.to_pylist())
    several = {
        user for user, _ in clicked if user is not None and sum(one == user for one, _ in clicked) >= LEAST_ITEMS
    }
    assert {user for user, _ in pairs} == several
    assert all(sum(one == user for one, _ in pairs) <= K for user in several)


def test_a_list_does_not_depend_on_the_other_users_or_on_the_order_of_rows() -> None:
    happened = events(seed=52)
    model = fit_session_model(frame(happened, CLEAN_EVENTS))
    everybody = recommend(model, frame(happened, CLEAN_EVENTS), K).to_pylist()
    shuffled = random.Random(1).sample(happened, len(happened))
    assert to_bytes(fit_session_model(frame(shuffled, CLEAN_EVENTS))) == to_bytes(model)
    for user in {row["user_id"] for row in everybody}:
        mine = frame([e for e in shuffled if e["user_id"] == user], CLEAN_EVENTS)
        assert recommend(model, mine, K).to_pylist() == [row for row in everybody if row["user_id"] == user]


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_a_stored_model_recommends_what_the_fitted_one_does(ids: IdTypes) -> None:
    for happened in (events(seed=53, ids=ids), []):
        clicks = frame(happened, CLEAN_EVENTS, ids)
        model = fit_session_model(clicks)
        stored = from_bytes(to_bytes(model))
        assert to_bytes(stored) == to_bytes(model)
        assert recommend(stored, clicks, K).equals(recommend(model, clicks, K))
        assert (recommend(stored, clicks, K).num_rows > 0) == bool(happened)


def test_a_model_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"session model: .*link_items.*; fit it again"):
        from_bytes(_without("link_items", to_bytes(fit_session_model(frame(events(seed=54), CLEAN_EVENTS)))))


def test_items_that_follow_in_sessions_come_first() -> None:
    """Users who view an even item view the next odd one; the last session of each user stops before it."""
    happened: list[Row] = []
    rng = random.Random(8)
    for user in range(30):
        evens = rng.sample(range(0, 60, 2), 10)
        for offset, item in enumerate(evens):
            start = datetime(FIRST.year, FIRST.month, FIRST.day, 9, user, tzinfo=UTC) + timedelta(days=offset)
            steps = (item, item + 1) if offset < 9 else (item,)
            happened += [_view(user, one, start + timedelta(seconds=place), start) for place, one in enumerate(steps)]
    clicks = frame(happened, CLEAN_EVENTS)
    found = recommend(fit_session_model(clicks), clicks, K)
    first = {row["user_id"]: row["item_id"] for row in reversed(found.to_pylist())}
    last = {e["user_id"]: e["item_id"] for e in happened}
    assert first == {user: item + 1 for user, item in last.items()}


def _without(name: str, content: bytes) -> bytes:
    items, arrays = stored_arrays.from_bytes(content)
    return stored_arrays.to_bytes(items, {one: array for one, array in arrays.items() if one != name})


def _view(user: int, item: int, at: datetime, start: datetime) -> Row:
    return {
        "user_id": user, "item_id": item, "event_type": "view", "ts": at, "session_id": int(start.timestamp()),
        "source_file": "f", "source_row": 0, "dt": at.date(),
    }  # fmt: skip
