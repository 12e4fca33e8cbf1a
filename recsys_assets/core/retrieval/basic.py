"""The generators that follow from popularity, co-visitation, factors and the user's own history."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.clock import last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.models.covisitation import CO_PURCHASE as CO_PURCHASE_KIND
from recsys_assets.core.models.covisitation import VIEW_TO_PURCHASE as VIEW_TO_PURCHASE_KIND
from recsys_assets.core.models.popular import ALL
from recsys_assets.core.models.popular import TRENDING as TRENDING_SEGMENT
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.protocol import Derived, RetrievalContext


def _segment(given: RetrievalContext, name: str, k: int) -> Frame:
    items = given.inputs.top_popular.filter(nw.col("segment") == name)
    return generators.listed(given.users, given.available(items), k, given.interacted)


def _near(given: RetrievalContext, name: str, seeds: Frame, similar: Frame) -> Frame:
    """Neighbours of seeds, by a table whose name tells it from others."""
    params = given.params
    near = similar.filter(nw.col("rank") <= params.covisit_neighbours)
    # There are far fewer rows in the table than there are of what users find in it.
    ends = given.available(near.select("score", "rank", nw.col("item_id").alias("__seed"), item_id="similar_item_id"))
    kept = given.inputs.memoize(
        name, ends.select("score", "rank", nw.col("__seed").alias("item_id"), similar_item_id="item_id")
    )
    found = generators.covisit(seeds, kept, params.covisit_seeds, params.covisit_neighbours, params.covisit_half_life)
    return given.not_interacted(found)


def _view_to_purchase(given: RetrievalContext, k: int) -> Frame:
    return _near(
        given,
        "view_to_purchase",
        given.history,
        given.inputs.covisited_targets.filter(nw.col("kind") == VIEW_TO_PURCHASE_KIND),
    )


def _co_purchase(given: RetrievalContext, k: int) -> Frame:
    purchased = given.history.filter(nw.col("targets") > 0)
    return _near(
        given, "co_purchase", purchased, given.inputs.covisited_targets.filter(nw.col("kind") == CO_PURCHASE_KIND)
    )


def _als(given: RetrievalContext, k: int) -> Frame:
    items = given.inputs.memoize("item_factors", given.available(given.inputs.item_factors))
    return generators.factors(given.engine, given.inputs.user_factors, items, given.users, k, given.interacted)


def _repeat(given: RetrievalContext, k: int) -> Frame:
    recent = last_days(given.inputs.item_activity, given.as_of, given.params.trending_days)
    return given.allowed(generators.repeat(given.history, recent, given.params.repeat_popularity))


def _category(given: RetrievalContext, k: int) -> Frame:
    inputs = given.inputs
    items = inputs.memoize("top_popular", given.available(inputs.top_popular))
    return given.not_interacted(
        generators.category(given.history, inputs.item_features, items, given.params.favourite_categories, k)
    )


# The lists for everybody and for a category are the same few items over and over: fewer of them say as much.
POPULAR = Derived(
    about="What most people touched in the popularity window.",
    share=0.5,
    weight=0.5,
    recommend=lambda given, k: _segment(given, ALL, k),
)
TRENDING = Derived(
    about="What people touch now.",
    share=1 / 3,
    weight=0.5,
    recommend=lambda given, k: _segment(given, TRENDING_SEGMENT, k),
)
COVISIT = Derived(
    about="Neighbours, by co-visitation, of what the user last touched.",
    weight=0.75,
    recommend=lambda given, k: _near(given, "covisit", given.history, given.inputs.covisited_items),
)
# Of one data set's few targets, long lists would be chance.
VIEW_TO_PURCHASE = Derived(
    about="What sessions with what the user last touched went on to buy.",
    share=0.5,
    weight=0.5,
    recommend=_view_to_purchase,
)
CO_PURCHASE = Derived(
    about="What was bought together with what the user last bought.", share=0.5, weight=0.75, recommend=_co_purchase
)
ALS = Derived(about="Items whose vectors (ALS) agree most with the user's.", recommend=_als)
REPEAT = Derived(about="What the user touched before.", weight=20.0, recommend=_repeat)
CATEGORY = Derived(
    about="What is popular in the user's favourite categories.", share=0.5, weight=0.25, recommend=_category
)
