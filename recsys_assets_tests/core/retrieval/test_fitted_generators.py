"""Fitted generators: whom they recommend what, and which data they must not use."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.core.catalog.features import item_features
from recsys_assets.core.contracts import CLEAN_EVENTS, ITEM_FEATURES, IdTypes
from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.generator_registry import BUILT_IN, DERIVED
from recsys_assets.core.models.cf_models import MODELS
from recsys_assets.core.models.interactions import LEAST_ITEMS
from recsys_assets.core.retrieval.cf_ensemble import CfEnsembleParams, fit, recommend, score
from recsys_assets.core.retrieval.protocol import FitContext, derived, fitted, generator
from recsys_assets_tests.core.world import (
    FIRST,
    INTS,
    STRINGS,
    Row,
    end_of,
    events,
    fit_context_at,
    frame,
    marts,
    property_frame,
    tree,
)

DAY = FIRST + timedelta(days=9)
K = 6


def context_of(
    happened: list[Row], ids: IdTypes = INTS, snapshots: list[Row] | None = None, **stated: Any
) -> FitContext:
    """The context as of DAY, from the events up to then."""
    past = [e for e in happened if e["dt"] <= DAY]
    window = marts(past, ids)
    bare = frame([], ITEM_FEATURES, ids, day=False)
    features = (
        item_features(property_frame(snapshots, ids), window.item_activity, tree(), end_of(DAY), DAY)
        if snapshots
        else bare
    )
    frames = {
        "user_activity": window.user_activity,
        "clean_events": frame(past, CLEAN_EVENTS, ids),
        "item_features": features,
    }
    return fit_context_at(DAY, frames, k=K, **stated)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_users_get_available_items_that_they_do_not_know_yet(ids: IdTypes) -> None:
    happened = events(seed=51, ids=ids, items=60)
    everybody = context_of(happened, ids).history()
    last = everybody["user_id"].to_pylist().index(everybody["user_id"][-1].as_py())
    history = everybody.slice(0, last + 1)  # of the last user, one item
    model = fit(history)
    everything = recommend(model, history, K, {})
    unavailable = everything["item_id"].unique()[:5]
    found = recommend(model, history, K, {}, unavailable).to_pylist()
    items_of = {user: set[Any]() for user in history["user_id"].to_pylist()}
    for row in history.to_pylist():
        items_of[row["user_id"]].add(row["item_id"])
    several = {user for user, items in items_of.items() if len(items & set(model.items.to_pylist())) >= LEAST_ITEMS}
    assert {row["user_id"] for row in found} == several < set(items_of)
    assert not set(unavailable.to_pylist()) & {row["item_id"] for row in found}
    pairs = [(row["user_id"], row["item_id"]) for row in found]
    assert len(set(pairs)) == len(pairs)
    assert all(sum(user == other for other, _ in pairs) == K for user in several)
    assert all(item not in items_of[user] for user, item in pairs)


def test_the_order_of_rows_changes_nothing() -> None:
    happened = events(seed=52)
    histories = [context_of(some).history() for some in (happened, random.Random(1).sample(happened, len(happened)))]
    first, second = (recommend(fit(history), history, K, {}) for history in histories)
    assert first.equals(second)
    nothing = context_of([]).history()
    assert recommend(fit(nothing), nothing, K, {}).num_rows == 0
    assert recommend(fit(nothing), histories[0], K, {}).num_rows == 0


def test_users_get_items_of_their_taste() -> None:
    """Four in five events of a user are with items of the user's third of the catalogue."""
    history = context_of(events(seed=53, items=60)).history()
    found = recommend(fit(history), history, K, {}).to_pylist()
    alike = [row["user_id"] % 3 == row["item_id"] % 3 for row in found]
    assert sum(alike) / len(alike) > 0.6


def test_a_visitor_gets_what_a_user_with_the_same_history_gets() -> None:
    history = context_of(events(seed=56, items=60)).history()
    model = fit(history)
    users = history["user_id"].unique().to_pylist()
    found = recommend(model, history, K, {}).to_pylist()
    for user in users[:10]:
        mine = history.filter(pc.call_function("equal", [history["user_id"], pa.scalar(user)]))
        visitor = mine.set_column(0, "user_id", pa.array([-1] * len(mine)))
        expected = [(row["item_id"], row["score"]) for row in found if row["user_id"] == user]
        got = recommend(model, visitor, K, {}).to_pylist()
        assert [(row["item_id"], row["score"]) for row in got] == expected


def test_every_known_pair_has_a_score_of_every_model() -> None:
    history = context_of(events(seed=56, items=60)).history()
    model = fit(history)
    best = recommend(model, history, K, {"item_knn": 1.0, **dict.fromkeys(set(MODELS) - {"item_knn"}, 0.0)})
    assert tuple(MODELS) == MODEL_NAMES
    strangers = pa.table({"user_id": [-5, best["user_id"][0].as_py()], "item_id": [best["item_id"][0].as_py(), -7]})
    pairs = pa.concat_tables([strangers, best.select(["user_id", "item_id"]), history.select(["user_id", "item_id"])])
    found = score(model, history, pairs)
    known = pc.call_function("is_in", [history["item_id"]], pc.SetLookupOptions(value_set=model.items))
    assert found.num_rows == best.num_rows + pc.call_function("sum", [known.cast(pa.int64())]).as_py()
    assert all(found[name].null_count == 0 for name in MODEL_NAMES)
    scores = {(row["user_id"], row["item_id"]): row["item_knn"] for row in found.to_pylist()}
    assert all(scores[row["user_id"], row["item_id"]] == row["score"] for row in best.to_pylist())


def test_pairs_of_users_of_whom_none_has_a_history_have_no_score() -> None:
    history = context_of(events(seed=56, items=60)).history()
    pairs = history.select(["user_id", "item_id"]).slice(0, 3)
    assert score(fit(history), history.slice(0, 0), pairs).num_rows == 0


def test_limits_leave_out_the_rarest_items() -> None:
    history = context_of(events(seed=55, items=60)).history()
    counts: dict[Any, int] = {}
    for item in history["item_id"].to_pylist():
        counts[item] = counts.get(item, 0) + 1
    best = sorted(sorted(counts), key=lambda item: -counts[item])[:20]
    assert fit(history, CfEnsembleParams(most_items=20)).items.to_pylist() == sorted(best)
    often = {item for item, users in counts.items() if users >= 4}
    assert fit(history, CfEnsembleParams(item_users=4)).items.to_pylist() == sorted(often)


def test_the_table_names_every_generator_once() -> None:
    assert set(BUILT_IN.names) == {*DERIVED, *BUILT_IN.fitted}
    for name in BUILT_IN.names:
        one = generator(BUILT_IN, name)
        assert one is (fitted(BUILT_IN, name) if name in BUILT_IN.fitted else derived(BUILT_IN, name))
        assert one.about.endswith(".")
        assert one.share > 0 <= one.weight
