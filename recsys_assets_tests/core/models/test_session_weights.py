"""Weights of the session model are chosen on held-out clicks: what is held out, what is chosen, when nothing is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys_assets.core.ids import lookup
from recsys_assets.core.models.next_items import recommend
from recsys_assets.core.models.session_model import CHOSEN, SessionParams
from recsys_assets.core.models.session_parts import visits
from recsys_assets.core.models.session_scores import SessionScores
from recsys_assets.core.models.session_weights import LEAST_USERS, choose_params, hold_out
from recsys_assets.core.models.sessions import fit

DEFAULTS = SessionParams()
Click = tuple[int, int, int, int]
"""User, session, item, time."""


def table(clicks: list[Click]) -> pa.Table:
    ordered = sorted(clicks, key=lambda click: (click[0], click[3], click[2]))
    names = ("user_id", "session_id", "item_id", "ts")
    return pa.table({name: pa.array([click[at] for click in ordered], pa.int64()) for at, name in enumerate(names)})


def random_clicks(seed: int, users: int, items: int, sessions: int = 3, length: int = 4) -> list[Click]:
    """Users whose sessions are spread over the time."""
    rng = np.random.default_rng(seed)
    return [
        (user, user * sessions + session, int(rng.integers(items)), start + place)
        for user in range(users)
        for session, start in enumerate(sorted(rng.choice(100_000, sessions, replace=False).tolist()))
        for place in range(length)
    ]


def themed_clicks(sessions: int) -> list[Click]:
    """The first click of a session decides its last one; what is clicked between is the same for all."""
    rng = np.random.default_rng(0)
    clicks: list[Click] = []
    for session in range(sessions):
        theme = int(rng.integers(100))
        items = [theme, *(1_000 + rng.choice(200, 4, replace=False)).tolist(), 2_000 + theme]
        clicks += [(session, session, item, 10 * session + place) for place, item in enumerate(items)]
    return clicks


@pytest.mark.parametrize("nightly", [False, True])
@pytest.mark.parametrize("least_items", [1, 2])
def test_what_is_held_out_is_new_to_its_user_and_later_than_all_that_is_learned_from(
    least_items: int, nightly: bool
) -> None:
    clicks = table(random_clicks(1, users=200, items=80))
    held_out = hold_out(clicks, 5, least_items, 100, nightly=nightly)
    assert held_out is not None
    rows = clicks.to_pylist()
    since = max(held_out.past["ts"].to_pylist()) + 1
    assert len(held_out.past) == sum(row["ts"] < since for row in rows)
    known = set(held_out.past["item_id"].to_pylist())
    possible: Counter[tuple[tuple[int, ...], int]] = Counter()
    for place, row in enumerate(rows):
        before = [one for one in rows[:place] if one["user_id"] == row["user_id"]]
        asked = [one["item_id"] for one in before if one["ts"] < since or not nightly]
        is_new = row["item_id"] not in {one["item_id"] for one in before}
        if row["ts"] >= since and is_new and row["item_id"] in known and len({*asked}) >= least_items:
            possible[tuple(asked[-5:]), row["item_id"]] += 1
    queries = [tuple(held_out.items.filter(pa.array(held_out.rows == query)).to_pylist()) for query in range(100)]
    found = Counter(zip((queries[query] for query in held_out.queries), held_out.targets.to_pylist(), strict=True))
    assert found.total() > 0
    assert found <= possible
    assert held_out.queries.tolist() == sorted(held_out.queries)
    assert held_out.queries.max() < 100
    assert np.bincount(held_out.users).max() <= (10 if nightly else 3)
    assert np.bincount(held_out.users).min() >= 1


@pytest.mark.parametrize("nightly", [False, True])
def test_at_most_a_tenth_of_the_clicks_and_so_many_queries_are_held_out(nightly: bool) -> None:
    clicks = table(random_clicks(2, users=300, items=50))
    at_once = clicks.set_column(3, "ts", pa.array(np.tile(np.repeat([1, 2], [10, 2]), 300)))
    tenth, few, some = (
        hold_out(log, 50, 1, most, nightly=nightly) for log, most in ((clicks, 10_000), (clicks, 20), (at_once, 20))
    )
    assert tenth is not None
    assert few is not None
    assert some is not None
    assert len(tenth.past) >= 0.89 * len(clicks)
    assert len({*few.queries}) == len({*some.queries}) == 20
    later = max(few.past["ts"].to_pylist()) > max(tenth.past["ts"].to_pylist())
    assert later != nightly, "the newest clicks are predicted, or all that follow a night"


@pytest.mark.parametrize(
    "clicks", [[], [(1, 1, 1, 1)], [(user, user, item, 5) for user in range(50) for item in range(3)]]
)
def test_where_nothing_can_be_held_out_the_defaults_stay(clicks: list[Click]) -> None:
    chosen = choose_params(table(clicks), DEFAULTS)
    assert (chosen.params, chosen.examples, chosen.gain) == (DEFAULTS, 0, None)
    assert chosen.why == f"the defaults: clicks of fewer than {LEAST_USERS} users could be held out"


@pytest.mark.parametrize("strings", [False, True])
def test_weights_that_find_what_comes_next_are_chosen(strings: bool) -> None:
    clicks = table(themed_clicks(1_500))
    if strings:
        clicks = clicks.set_column(2, "item_id", clicks["item_id"].cast(pa.string()))
    chosen = choose_params(clicks, DEFAULTS)
    assert chosen.params.click_decay > DEFAULTS.click_decay, "the first click counts as well"
    assert chosen.gain is not None
    assert chosen.gain.low > 0
    assert chosen.why.startswith(f"chosen: the best of {chosen.evaluated} tried gain +")
    assert chosen.params == replace(DEFAULTS, **{name: getattr(chosen.params, name) for name in CHOSEN})
    for name in CHOSEN:
        factor = getattr(chosen.params, name) / getattr(DEFAULTS, name)
        assert factor in [2.0**power for power in range(-4, 5)]
        assert (name in chosen.ends) == (factor in (1 / 16, 16))


def test_weights_of_a_night_are_those_that_find_what_users_come_back_for() -> None:
    """Each of some users returns for what the first click of the earlier session leads to in the sessions of others."""
    clicks = themed_clicks(1_500)
    rng = np.random.default_rng(1)
    for user in range(1_500, 2_100):
        theme = int(rng.integers(100))
        before = [theme, *(1_000 + rng.choice(200, 4, replace=False)).tolist()]
        clicks += [(user, 2 * user, item, 20_000 + place) for place, item in enumerate(before)]
        clicks.append((user, 2 * user + 1, 2_000 + theme, 30_000))
    chosen = choose_params(table(clicks), DEFAULTS, 2, nightly=True)
    assert chosen.gain is not None
    assert chosen.gain.low > 0
    assert chosen.params.click_decay > DEFAULTS.click_decay


@pytest.mark.parametrize("nightly", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_luck_changes_nothing(seed: int, nightly: bool) -> None:
    chosen = choose_params(table(random_clicks(seed, users=1_200, items=300)), DEFAULTS, 2, nightly=nightly)
    assert chosen.examples >= LEAST_USERS
    assert chosen.params == DEFAULTS
    assert chosen.why.startswith("the defaults: the best of ")


@pytest.mark.parametrize(
    "changed",
    [
        {"link_weight": 0.1},
        {"distance_decay": 30.0},
        {"similarity_power": 4.0},
        {"link_weight": 0.0},
        {"neighbour_weight": 0.0},
    ],
    ids=str,
)
def test_candidates_with_other_weights_have_the_scores_of_a_model_with_these_weights(changed: dict[str, float]) -> None:
    clicks = table(random_clicks(3, users=60, items=40))
    model = fit(clicks.select(["session_id", "item_id", "ts"]))
    items = lookup(clicks["item_id"], model.items)
    params = replace(DEFAULTS, **changed)
    candidates = SessionScores(model, visits(clicks["user_id"].to_numpy(), items, 50))
    scores = candidates.scores(params)
    wanted = recommend(
        replace(model, params=params),
        clicks.select(["user_id", "item_id", "ts"]).rename_columns(["session_id", "item_id", "ts"]),
        40,
    )
    keys = wanted["session_id"].to_numpy() * len(model.items) + lookup(wanted["item_id"], model.items)
    order = np.argsort(keys)
    assert np.array_equal(keys[order], candidates.keys[scores > 0])
    assert scores[scores > 0] == pytest.approx(wanted["score"].to_numpy()[order], rel=1e-12)
