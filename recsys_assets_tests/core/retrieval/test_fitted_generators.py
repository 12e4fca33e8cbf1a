"""Fitted generators: whom they recommend what, and which data they must not use."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.core.catalog.features import item_features
from recsys_assets.core.contracts import CLEAN_EVENTS, ITEM_FEATURES, IdTypes
from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.generator_registry import BUILT_IN, DERIVED
from recsys_assets.core.ids import lookup
from recsys_assets.core.models.cf_models import MODELS, ModelParams, fit_models
from recsys_assets.core.models.interactions import Interactions
from recsys_assets.core.models.item_models import EaseParams
from recsys_assets.core.retrieval.cf_ensemble import CfEnsembleParams, learn_weights, recommend, scored
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
    properties,
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
def test_active_users_get_available_items_that_they_do_not_know_yet(ids: IdTypes) -> None:
    happened, snapshots = events(seed=51, ids=ids, items=60), properties(ids=ids, items=60)
    context = context_of(happened, ids, snapshots)
    unavailable = set(context.unavailable_items().to_pylist())
    found = fitted(BUILT_IN, "cf_ensemble").fit(context).to_pylist()
    active = {e["user_id"] for e in happened if DAY - timedelta(days=2) <= e["dt"] <= DAY} - {None}
    assert unavailable
    assert {row["user_id"] for row in found} == active
    assert not unavailable & {row["item_id"] for row in found}
    whatever = (
        fitted(BUILT_IN, "cf_ensemble").fit(context_of(happened, ids, snapshots, exclude_unavailable=False)).to_pylist()
    )
    assert unavailable & {row["item_id"] for row in whatever}
    pairs = [(row["user_id"], row["item_id"]) for row in found]
    assert len(set(pairs)) == len(pairs)
    assert all(sum(user == other for other, _ in pairs) <= K for user in active)
    assert not set(pairs) & {(e["user_id"], e["item_id"]) for e in happened if e["dt"] <= DAY}


def test_the_order_of_rows_changes_nothing() -> None:
    happened = events(seed=52)
    shuffled = random.Random(1).sample(happened, len(happened))
    assert (
        fitted(BUILT_IN, "cf_ensemble")
        .fit(context_of(happened))
        .equals(fitted(BUILT_IN, "cf_ensemble").fit(context_of(shuffled)))
    )
    assert fitted(BUILT_IN, "cf_ensemble").fit(context_of([])).num_rows == 0


def test_users_get_items_of_their_taste() -> None:
    """Four in five events of a user are with items of the user's third of the catalogue."""
    found = recommend(context_of(events(seed=53, items=60))).to_pylist()
    alike = [row["user_id"] % 3 == row["item_id"] % 3 for row in found]
    assert sum(alike) / len(alike) > 0.6


@pytest.mark.parametrize("repeats", [True, False])
def test_every_model_scores_the_items_that_may_be_recommended(repeats: bool) -> None:
    """Each score is that of a model fitted on the same days, standardized over all items of the user."""
    context, params = context_of(events(seed=56, items=60), repeats=repeats), CfEnsembleParams(pool=3)
    found = scored(context, params)
    assert tuple(MODELS) == MODEL_NAMES
    matrix = Interactions.of(context.history())
    users, items = lookup(found["user_id"], matrix.users), lookup(found["item_id"], matrix.items)
    interacted = matrix.matrix[users, items].A1 > 0
    assert interacted.any() == repeats
    assert found["score"].is_null().to_numpy()[interacted].all()
    for name, fit in fit_models(matrix, params.models).items():
        scores = fit().scores(np.arange(len(matrix.users)))
        wanted = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
        assert np.abs(found[name].to_numpy() - wanted[users, items]).max() < 1e-3, name
        new = np.where(matrix.matrix.toarray() > 0, -np.inf, wanted)
        best = {(user, new[user].argmax()) for user in np.unique(users)}
        assert best <= set(zip(users.tolist(), items.tolist(), strict=True)), f"the first of {name}"
    popular = matrix.items[np.bincount(matrix.matrix.indices, matrix.matrix.data).argmax()]
    scores_of_popular = found.filter(pc.call_function("equal", [found["item_id"], pa.scalar(popular)]))
    assert scores_of_popular.num_rows == len(context.users()) if repeats else scores_of_popular.num_rows > 0


def test_weights_are_learned_on_the_last_horizon_by_models_that_do_not_know_it() -> None:
    cut, params = DAY - timedelta(days=2), CfEnsembleParams(fewest=5)
    happened = events(seed=54, users=60, items=60)
    weights = learn_weights(context_of(happened), cut, params, MODELS)
    assert max(weights.values()) > 0
    # What nobody wants within the horizon cannot be learned from, whatever was wanted before.
    idle = [e for e in happened if e["dt"] <= cut or e["event_type"] != "buy"]
    assert learn_weights(context_of(idle), cut, params, MODELS) == {}
    assert learn_weights(context_of(happened), cut, CfEnsembleParams(fewest=1000), MODELS) == {}


def test_a_catalogue_that_outgrows_a_model_goes_on_without_it() -> None:
    """Before the last horizon EASE could still be fitted; by now there are more items than it takes."""
    cut = DAY - timedelta(days=2)
    before = events(seed=54, users=60, items=60)
    new = [{**e, "item_id": e["item_id"] + 100, "user_id": e["user_id"]} for e in before if e["dt"] > cut]
    ease = EaseParams(regularization=5.0, most_items=60)
    params = CfEnsembleParams(models=ModelParams(ease=ease), fewest=5)
    assert "ease" in learn_weights(context_of(before + new), cut, params, MODELS)
    found = scored(context_of(before + new), params)
    assert found.num_rows > found["score"].null_count > 0
    assert found["ease"].null_count == found.num_rows > found["ials"].null_count == 0


def test_a_matrix_that_is_too_large_is_left_alone() -> None:
    assert scored(context_of(events(seed=55)), CfEnsembleParams(most_cells=10)).num_rows == 0


def test_the_table_names_every_generator_once() -> None:
    assert set(BUILT_IN.names) == {*DERIVED, *BUILT_IN.fitted}
    for name in BUILT_IN.names:
        one = generator(BUILT_IN, name)
        assert one is (fitted(BUILT_IN, name) if name in BUILT_IN.fitted else derived(BUILT_IN, name))
        assert one.about.endswith(".")
        assert one.share > 0 <= one.weight
