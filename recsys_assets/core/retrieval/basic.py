"""The derived generators: popularity, co-visitation, matrix factorization and the user's own history."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.clock import last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.models.popular import ALL
from recsys_assets.core.models.popular import TRENDING as TRENDING_SEGMENT
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.protocol import Derived, RetrievalContext, model_history


def _segment(context: RetrievalContext, name: str, k: int, share: float) -> Frame:
    """The list that is the fallback of the day at its full depth, another at its share."""
    items = context.inputs.top_popular.filter(nw.col("segment") == name)
    depth = nw.when(nw.col("is_fallback")).then(nw.lit(k)).otherwise(nw.lit(max(1, int(k * share))))
    return generators.shared_list(context.users, context.available(items), depth, context.interacted)


def _covisit(context: RetrievalContext, k: int) -> Frame:
    params, similar = context.params, context.inputs.covisited_items
    near = similar.filter(nw.col("rank") <= params.covisit_neighbours)
    # Filtered before the join: the table is far smaller than the candidates made from it.
    ends = context.available(near.select("score", "rank", nw.col("item_id").alias("__seed"), item_id="similar_item_id"))
    available = context.inputs.memoize(
        "covisit", ends.select("score", "rank", nw.col("__seed").alias("item_id"), similar_item_id="item_id")
    )
    return generators.covisit(
        context.history, available, params.covisit_seeds, params.covisit_neighbours, params.covisit_half_life
    )


def _als(context: RetrievalContext, k: int) -> Frame:
    from recsys_assets.core.retrieval.by_factors import recommend  # SciPy: loading the graph must not take it

    params, repeats, most = context.params.als, context.params.repeats, context.more(k)
    table, unavailable = context.inputs.item_factors.collect(backend="polars").to_arrow(), context.unavailable_items()
    history = model_history(context.inputs, context.users, context.as_of, context.end, context.params, params.half_life)
    return context.by_users(history, lambda some: recommend(table, some, params, most, unavailable, repeats=repeats))


def _repeat(context: RetrievalContext, k: int) -> Frame:
    recent = last_days(context.inputs.item_activity, context.as_of, context.params.trending_days)
    return context.available(generators.repeat(context.history, recent, context.params.repeat_popularity))


def _category(context: RetrievalContext, k: int) -> Frame:
    inputs = context.inputs
    items = inputs.memoize("top_popular", context.available(inputs.top_popular))
    return generators.category(context.history, inputs.item_features, items, context.params.favourite_categories, k)


# Shared lists and those of a category repeat the same few items, so a smaller share loses nothing.
POPULAR = Derived(
    about="What most people interacted with in the popularity window.",
    weight=0.5,
    recommend=lambda context, k: _segment(context, ALL, k, 1 / 2),
)
TRENDING = Derived(
    about="What people interact with now.",
    weight=0.5,
    recommend=lambda context, k: _segment(context, TRENDING_SEGMENT, k, 1 / 3),
)
COVISIT = Derived(
    about="Neighbours, by co-visitation, of the items that the user last interacted with.",
    weight=0.75,
    recommend=_covisit,
)
ALS = Derived(about="Items whose vectors (ALS) agree most with the user's.", recommend=_als)
REPEAT = Derived(about="Items that the user interacted with before.", weight=20.0, recommend=_repeat)
CATEGORY = Derived(
    about="What is popular in the user's favourite categories.", share=0.5, weight=0.25, recommend=_category
)
