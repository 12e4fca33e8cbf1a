"""The union of the generators, ranked and fused, with features: what the ranker orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.activity.clock import last_days
from recsys_assets.core.contracts import GENERATORS
from recsys_assets.core.frames import dense_rank, top_k
from recsys_assets.core.parts import by_users
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.popular import ALL, TRENDING
from recsys_assets.engines.base import Engine, Frame


@dataclass(frozen=True)
class Generator:
    """How many items a generator gives each user, and its weight in the fusion (0: candidates without a voice)."""

    k: int
    weight: float = 1.0


@dataclass(frozen=True)
class CandidateParams:
    """How candidates are found.

    Args:
        popular: size and weight of the generator, as are trending, covisit, factors, repeat and category.
        fusion_constant: c of the fused score, sum of weight / (c + rank). The usual 60 fuses lists of hundreds; here
            the first few places decide.
        activity_days: window of the users' history.
        active_days: users with activity in the last so many days get candidates.
        popular_days: window of the items' features.
        trending_days: window of ``item_trend``.
        repeat_half_life: days in which a day's weight halves for 'repeat'.
        repeat_popularity: exponent of an item's recent user days (of the trending window) for 'repeat'.
        covisit_half_life: days in which a seed's weight halves for 'covisit'.
        covisit_seeds: last distinct items of a user that 'covisit' starts from.
        covisit_neighbours: neighbours per seed.
        favourite_categories: categories per user for 'category'.
        repeats: whether items that the user touched in the activity window may be recommended again.
        exclude_unavailable: leave out items known to be unavailable.
    """

    popular: Generator = Generator(50, 0.5)
    trending: Generator = Generator(30, 0.5)
    covisit: Generator = Generator(60, 0.75)
    factors: Generator = Generator(60, 1.0)
    repeat: Generator = Generator(50, 6.0)
    category: Generator = Generator(30, 0.25)
    fusion_constant: float = 10.0
    activity_days: int = 60
    active_days: int = 30
    popular_days: int = 28
    trending_days: int = 7
    repeat_half_life: float = 90.0
    repeat_popularity: float = 0.35
    covisit_half_life: float = 30.0
    covisit_seeds: int = 50
    covisit_neighbours: int = 50
    favourite_categories: int = 3
    repeats: bool = True
    exclude_unavailable: bool = True

    def of(self, name: str) -> Generator:
        """Size and weight of one of ``GENERATORS``."""
        found: Generator = getattr(self, name)
        return found


@dataclass(frozen=True)
class CandidateInputs:
    """The frames that candidates are made of, all as of day D; the activity windows with ``dt``."""

    user_activity: Frame
    item_activity: Frame
    item_features: Frame
    top_popular: Frame
    covisited_items: Frame
    user_factors: Frame
    item_factors: Frame


def candidates(engine: Engine, inputs: CandidateInputs, as_of: date, end: datetime, params: CandidateParams) -> Frame:
    """Candidates of every active user with scores, ranks and features (``CANDIDATES``).

    Args:
        engine: where the frames run.
        inputs: what is known at the end of D.
        as_of: D.
        end: the instant at which D ends, with its time zone.
        params: sizes and windows.
    """
    everybody = generators.user_history(inputs.user_activity, as_of, end, params.activity_days, params.repeat_half_life)
    users = last_days(inputs.user_activity, as_of, params.active_days).select("user_id").unique()
    history = everybody.join(users, on="user_id", how="semi")
    found = _generate(engine, inputs, params, as_of, history, users)
    popularity = last_days(inputs.item_activity, as_of, params.popular_days)
    return with_features(
        fuse(found, params), history, popularity, inputs.item_features, as_of, end, params.trending_days
    )


def in_parts(
    engine: Engine, inputs: CandidateInputs, as_of: date, params: CandidateParams
) -> Sequence[CandidateInputs]:
    """The inputs cut by users, as many at once as the engine likes; candidates of a part come before those of the next.

    Args:
        engine: where the frames run.
        inputs: what is known at the end of D.
        as_of: D.
        params: sizes and windows.
    """
    users = last_days(inputs.user_activity, as_of, params.active_days)
    return [
        replace(inputs, user_activity=activity, user_factors=factors)
        for activity, factors in by_users(engine, users, inputs.user_activity, inputs.user_factors)
    ]


def fuse(found: Mapping[str, Frame], params: CandidateParams) -> Frame:
    """Rank each generator's items, keep its k best, and fuse: sum of weight / (constant + rank).

    Args:
        found: user_id, item_id, score of each of ``GENERATORS``, and rank where the generator knows it.
        params: sizes and weights.

    Returns:
        user_id, item_id, <generator>_score and <generator>_rank of each, fused_score and fused_rank; in single
        precision, as candidates are stored: at tens of millions of rows, width is time.
    """
    parts = [
        _ranked(found[name], params.of(name).k).select(
            "user_id",
            "item_id",
            nw.col("score").cast(nw.Float32).alias(f"{name}_score"),
            nw.col("rank").cast(nw.Int32).alias(f"{name}_rank"),
        )
        for name in GENERATORS
    ]
    columns = [f"{name}_{what}" for name in GENERATORS for what in ("score", "rank")]
    wide = nw.concat(parts, how="diagonal").group_by("user_id", "item_id").agg(nw.col(*columns).max())
    # Added in one fixed order, so the sum has the same bits each time.
    score = nw.lit(0.0)
    for name in GENERATORS:
        rank = nw.col(f"{name}_rank").cast(nw.Float64)
        score = score + (params.of(name).weight / (params.fusion_constant + rank)).fill_null(0.0)
    return dense_rank(
        wide.with_columns(fused_score=score), by=["user_id"], score="fused_score", ties=["item_id"], name="fused_rank"
    )


def _ranked(found: Frame, k: int) -> Frame:
    """The k best of each user, with their rank."""
    if "rank" in found.collect_schema().names():
        return found.filter(nw.col("rank") <= k)
    return top_k(found, k, by=["user_id"], score="score", ties=["item_id"])


def _generate(
    engine: Engine, inputs: CandidateInputs, params: CandidateParams, as_of: date, history: Frame, users: Frame
) -> dict[str, Frame]:
    """user_id, item_id, score of each generator, without the items that the parameters leave out."""
    touched = None if params.repeats else history.select("user_id", "item_id")
    gone = inputs.item_features.filter(~nw.col("available")).select("item_id")

    def available(items: Frame) -> Frame:
        return items.join(gone, on="item_id", how="anti") if params.exclude_unavailable else items

    def untouched(pairs: Frame) -> Frame:
        return pairs if touched is None else pairs.join(touched, on=["user_id", "item_id"], how="anti")

    def segment(name: str) -> Frame:
        return available(inputs.top_popular.filter(nw.col("segment") == name))

    recent = last_days(inputs.item_activity, as_of, params.trending_days)
    near = generators.covisit(
        history, inputs.covisited_items, params.covisit_seeds, params.covisit_neighbours, params.covisit_half_life
    )
    by_factors = generators.factors(
        engine, inputs.user_factors, available(inputs.item_factors), users, params.factors.k, touched
    )
    by_category = generators.category(
        history, inputs.item_features, available(inputs.top_popular), params.favourite_categories, params.category.k
    )
    return {
        "popular": generators.listed(users, segment(ALL), params.popular.k, touched),
        "trending": generators.listed(users, segment(TRENDING), params.trending.k, touched),
        "covisit": untouched(available(near)),
        "factors": by_factors,
        "repeat": untouched(available(generators.repeat(history, recent, params.repeat_popularity))),
        "category": untouched(by_category),
    }
