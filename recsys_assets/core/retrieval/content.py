"""The generator 'content': new items that are similar in category and price to the user's recent items."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.clock import half_life, last_days
from recsys_assets.core.engine import Frame, Memoize, passthrough
from recsys_assets.core.frames import exact_sum, top_k
from recsys_assets.core.retrieval.protocol import Derived, RetrievalContext

_PAIR = ["user_id", "item_id"]
_GROUPS = ("category_id", "root_id", "price")
_ROOT = 0.25
"""Weight of another category below the same root, against 1 for the same category."""
_NO_PRICE = 0.5
"""Similarity of unknown prices: between equal (1) and very different ones (0)."""


def new_items(item_features: Frame, item_activity: Frame, days: int, users: int) -> Frame:
    """Items that are known for a few days or have no event, and that few users have interacted with.

    Args:
        item_features: ``ITEM_FEATURES``.
        item_activity: recent days of ``ITEM_ACTIVITY``.
        days: for how many days an item is new.
        users: most user days of a new item.

    Returns:
        The rows of ``item_features`` with ``newness``: 1 on an item's first day, half after as many days as it is new.
    """
    crowd = item_activity.group_by("item_id").agg(__users=nw.col("users").sum().cast(nw.Int64))
    items = item_features.join(crowd, on="item_id", how="left")
    without_events = nw.col("__users").is_null()
    few = nw.col("__users").fill_null(0) <= users
    age = (nw.col("days_known") - 1).cast(nw.Float64)
    return items.filter(few & (without_events | (nw.col("days_known") <= days))).select(
        *item_features.collect_schema().names(), newness=half_life(age, float(days))
    )


def alike(
    history: Frame, item_features: Frame, fresh: Frame, categories: int, k: int, memoize: Memoize = passthrough
) -> Frame:
    """New items of the user's categories, the nearer in price the better.

    The score sums, over the item's category and (at a quarter) its root, the share of the user's weight that lies there
    x the similarity of the price to the geometric mean of the user's items there (the smaller of the two divided by
    the larger; one half where a price is unknown), and multiplies the sum by the item's newness.

    Args:
        history: of the users who get candidates.
        item_features: ``ITEM_FEATURES``.
        fresh: :func:`new_items` that may be recommended.
        categories: categories, and as many roots, of a user.
        k: newest items of a category or root that are compared.
        memoize: for what does not depend on the users, where the history is of a part of them.

    Returns:
        user_id, item_id, score. No items of the user's history; no rows where there are no categories.
    """
    weight = nw.col("fresh_weight")
    total = history.group_by("user_id").agg(exact_sum(weight).alias("__total"))
    priced = nw.when(~nw.col("__price").is_null()).then(weight)
    taste = (
        _in_groups(
            history.join(memoize("groups", item_features.select("item_id", *_GROUPS)), on="item_id", how="inner")
        )
        .with_columns(__priced=priced, __worth=priced * nw.col("__price"))
        .group_by("user_id", "level", "group")
        .agg(
            exact_sum(weight).alias("__weight"),
            exact_sum(nw.col("__priced")).alias("__priced"),
            exact_sum(nw.col("__worth")).alias("__worth"),
        )
        .join(total.filter(nw.col("__total") > 0), on="user_id", how="inner")
        .with_columns(
            share=nw.col("__weight") / nw.col("__total"),
            usual=nw.when(nw.col("__priced") > 0).then(nw.col("__worth")) / nw.col("__priced"),
        )
    )
    favourites = top_k(taste, categories, by=["user_id", "level"], score="share", ties=["group"])
    newest = top_k(_in_groups(fresh), k, by=["level", "group"], score="newness", ties=["item_id"]).select(
        "level", "group", "item_id", "newness", "__price"
    )
    part = nw.when(nw.col("level") == "root").then(nw.lit(_ROOT)).otherwise(nw.lit(1.0))
    price_similarity = half_life((nw.col("usual") - nw.col("__price")).abs(), 1.0).fill_null(_NO_PRICE)
    return (
        favourites.select("user_id", "level", "group", "share", "usual")
        .join(memoize("newest", newest), on=["level", "group"], how="inner")
        .join(history.select(*_PAIR), on=_PAIR, how="anti")
        .with_columns(score=nw.col("share") * part * price_similarity * nw.col("newness"))
        .group_by(*_PAIR)
        .agg(exact_sum(nw.col("score")).alias("score"))
    )


def _in_groups(items: Frame) -> Frame:
    """Each item once by its category and once by its root, with the logarithm (base 2) of its price as ``__price``."""
    price = nw.when(nw.col("price").is_between(1e-9, 1e12)).then(nw.col("price"))
    with_price = items.with_columns(__price=price.log(2))
    levels = [
        with_price.filter(~nw.col(column).is_null()).with_columns(level=nw.lit(level), group=nw.col(column))
        for level, column in (("category", "category_id"), ("root", "root_id"))
    ]
    return nw.concat(levels, how="vertical")


def _recommend(context: RetrievalContext, k: int) -> Frame:
    params, inputs = context.params, context.inputs
    recent = last_days(inputs.item_activity, context.as_of, params.popular_days)
    fresh = new_items(inputs.item_features, recent, params.new_item_days, params.new_item_users)
    return alike(
        context.history, inputs.item_features, context.available(fresh), params.favourite_categories, k, inputs.memoize
    )


# Most new items get no events: they rank behind items of proven interest.
CONTENT = Derived(
    about="New items in the categories and at the prices of the user's recent items.",
    share=0.25,
    weight=0.1,
    on_by_default=False,
    recommend=_recommend,
)
