"""The functions of the derived generators.

Each returns user_id, item_id, score: at least the k best of each user, as far as there are so many. Those that return
``rank`` too return exactly the k best.

``history`` below is :func:`user_history`; ``interacted`` holds the pairs that may not be recommended, or is None.
"""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.activity.merge import merge_user_activity
from recsys_assets.core.clock import days_before, half_life, hours_before, last_days
from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank, exact_sum, top_k
from recsys_assets.core.models.popular import CATEGORY

_PAIR = ["user_id", "item_id"]


def user_history(user_activity: Frame, as_of: date, end: datetime, days: int, half_life_days: float) -> Frame:
    """The interactions of each user with each item in the activity window, with a weight that decays.

    Args:
        user_activity: window of ``USER_ACTIVITY`` with ``dt``.
        as_of: D.
        end: the instant at which D ends.
        days: length of the window.
        half_life_days: days in which a day's weight halves in ``fresh_weight``.

    Returns:
        The columns of :func:`~recsys_assets.core.activity.merge.merge_user_activity` with fresh_weight (decayed sum
        over days of log2(1 + weight of the day), so that events on many days weigh more than many events of one)
        and hours_since (hours from the last event to ``end``).
    """
    freshness = half_life(days_before(nw.col("dt"), as_of), half_life_days)
    window = last_days(user_activity, as_of, days).with_columns(
        fresh_weight=(1.0 + nw.col("weight")).log(2) * freshness
    )
    merged = merge_user_activity(window, also=["fresh_weight"])
    return merged.with_columns(hours_since=hours_before(nw.col("last_ts"), end))


def shared_list(users: Frame, items: Frame, k: nw.Expr, interacted: Frame | None) -> Frame:
    """Candidates from one list that all users share, as for 'popular' and 'trending'.

    Args:
        users: user_id.
        items: item_id, score and rank of the list.
        k: items per user, by columns of ``items`` that are the same in all rows.
        interacted: pairs to leave out; the next items of the list take their place.

    Returns:
        user_id, item_id, score and rank.
    """
    ranked = dense_rank(items.with_columns(__first=-nw.col("rank")), [], "__first", ["item_id"], name="__place")
    if interacted is None:
        short = ranked.filter(nw.col("__place") <= k).select("item_id", "score", rank="__place")
        return users.join(short, how="cross").select(*_PAIR, "score", "rank")
    taken = (
        interacted.join(items.select("item_id"), on="item_id", how="inner").group_by("user_id").agg(__taken=nw.len())
    )
    room = users.join(taken, on="user_id", how="left").with_columns(nw.col("__taken").fill_null(0))
    longer = room.join(ranked.with_columns(__k=k), how="cross").filter(
        nw.col("__place") <= nw.col("__k") + nw.col("__taken")
    )
    left = longer.select(*_PAIR, "score", "__first", "__k").join(interacted.select(*_PAIR), on=_PAIR, how="anti")
    placed = dense_rank(left, by=["user_id"], score="__first", ties=["item_id"])
    return placed.filter(nw.col("rank") <= nw.col("__k")).select(*_PAIR, "score", "rank")


def covisit(history: Frame, similar: Frame, seeds: int, neighbours: int, half_life_days: float) -> Frame:
    """Neighbours of the last items of a user: sum over seeds of weight x recency x similarity.

    Args:
        history: of the users who get candidates.
        similar: item_id, similar_item_id, score, rank.
        seeds: last distinct items of a user to start from.
        neighbours: neighbours per seed.
        half_life_days: days in which a seed's weight halves.
    """
    recency = half_life(nw.col("hours_since") * (1 / 24), half_life_days)
    depth = (1.0 + nw.col("top_weight")).log(2)
    latest = top_k(
        history.with_columns(__fresh=-nw.col("hours_since"), __seed=recency * depth),
        seeds,
        by=["user_id"],
        score="__fresh",
        ties=["item_id"],
    ).select(*_PAIR, "__seed")
    near = similar.filter(nw.col("rank") <= neighbours).select("item_id", "similar_item_id", "score")
    return (
        latest.join(near, on="item_id", how="inner")
        .with_columns(score=nw.col("__seed") * nw.col("score"))
        .group_by("user_id", "similar_item_id")
        .agg(exact_sum(nw.col("score")).alias("score"))
        .select("user_id", nw.col("similar_item_id").alias("item_id"), "score")
    )


def repeat(history: Frame, item_activity: Frame, popularity: float) -> Frame:
    """Items of the user's history: decayed weight x (1 + recent user days of the item) ^ popularity.

    Most items of a user have one event, many on the same day; popularity orders those.

    Args:
        history: of the users who get candidates.
        item_activity: recent days of ``ITEM_ACTIVITY``.
        popularity: exponent; 0 ignores popularity.
    """
    recent = item_activity.group_by("item_id").agg(nw.col("users").sum().alias("__users"))
    crowd = (1.0 + nw.col("__users").fill_null(0).cast(nw.Float64)) ** popularity
    return history.join(recent, on="item_id", how="left").select(
        *_PAIR, (nw.col("fresh_weight") * crowd).alias("score")
    )


def category(history: Frame, item_features: Frame, top_popular: Frame, categories: int, items: int) -> Frame:
    """Popular items of the user's favourite categories: share of the user's weight x the item's share of its top item.

    Args:
        history: of the users who get candidates.
        item_features: item_id, category_id.
        top_popular: ``TOP_POPULAR``.
        categories: favourite categories per user.
        items: items per category.
    """
    favourites = top_k(
        category_shares(history, item_features), categories, by=["user_id"], score="share", ties=["category_id"]
    ).select("user_id", "share", nw.concat_str(nw.lit(CATEGORY), nw.col("category_id")).alias("segment"))
    popular = top_popular.with_columns(nw.col("score").cast(nw.Float64))  # engines divide float32 in either precision
    best = popular.filter(nw.col("rank") == 1).select("segment", nw.col("score").alias("__best"))
    shares = (
        popular.filter(nw.col("rank") <= items)
        .join(best, on="segment", how="inner")
        .select("segment", "item_id", (nw.col("score") / nw.col("__best")).alias("__part"))
    )
    # An item has one category, so a pair occurs once.
    return favourites.join(shares, on="segment", how="inner").select(
        *_PAIR, (nw.col("share") * nw.col("__part")).alias("score")
    )


def category_shares(history: Frame, item_features: Frame) -> Frame:
    """user_id, category_id and the share of the user's weight that lies in the category."""
    total = history.group_by("user_id").agg(exact_sum(nw.col("weight")).alias("__total"))
    known = item_features.filter(~nw.col("category_id").is_null()).select("item_id", "category_id")
    return (
        history.join(known, on="item_id", how="inner")
        .group_by("user_id", "category_id")
        .agg(exact_sum(nw.col("weight")).alias("__weight"))
        .join(total.filter(nw.col("__total") > 0), on="user_id", how="inner")
        .select("user_id", "category_id", (nw.col("__weight") / nw.col("__total")).alias("share"))
    )
