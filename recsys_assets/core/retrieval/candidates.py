"""The union of the generators, ranked and fused, with features: what the ranker orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.clock import last_days
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import dense_rank, top_k
from recsys_assets.core.generator_registry import GENERATORS, PROPOSERS
from recsys_assets.core.parts import Once, by_users
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams, RetrievalContext, derived


def candidates(engine: Engine, inputs: CandidateInputs, as_of: date, end: datetime, params: CandidateParams) -> Frame:
    """Candidates of every active user with scores, ranks and features (``CANDIDATES``).

    Args:
        engine: where the frames run.
        inputs: what is known at the end of D.
        as_of: D.
        end: the instant at which D ends, with its time zone.
        params: sizes and windows.
    """
    given = asked(engine, inputs, as_of, end, params)
    popularity = last_days(inputs.item_activity, as_of, params.popular_days)

    def add(pairs: Frame) -> Frame:
        return with_features(
            _placed(pairs),
            given.history,
            popularity,
            inputs.item_features,
            inputs.model_scores,
            as_of,
            end,
            params.trending_days,
            inputs.memoize,
        )

    return engine.add_columns(_fused(_proposals(given), params), ["user_id", "item_id"], add)


def asked(
    engine: Engine, inputs: CandidateInputs, as_of: date, end: datetime, params: CandidateParams
) -> RetrievalContext:
    """What the generators are asked with: the active users and their history; arguments as for :func:`candidates`."""
    everybody = generators.user_history(inputs.user_activity, as_of, end, params.activity_days, params.repeat_half_life)
    active = last_days(inputs.user_activity, as_of, params.active_days).select("user_id").unique()
    users = inputs.memoize_part("users", active)
    history = inputs.memoize_part("history", everybody.join(users, on="user_id", how="semi"))
    return RetrievalContext(engine, inputs, params, as_of, users, history)


def union(given: RetrievalContext) -> Frame:
    """What all generators propose, as :func:`fuse` gives it."""
    return fuse(_proposals(given), given.params)


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
    proposed = inputs.proposed
    parts = by_users(engine, users, inputs.user_activity, inputs.user_factors, inputs.model_scores, *proposed.values())
    if len(parts) == 1:
        return [inputs]
    memoize = Once(engine)
    return [
        replace(
            inputs,
            user_activity=activity,
            user_factors=factors,
            model_scores=model_scores,
            proposed=dict(zip(proposed, others, strict=True)),
            memoize=memoize,
            memoize_part=Once(engine),
        )
        for activity, factors, model_scores, *others in parts
    ]


def fuse(found: Mapping[str, Frame], params: CandidateParams) -> Frame:
    """Rank each generator's items, keep its k best, and fuse: sum of weight / (constant + rank).

    Args:
        found: user_id, item_id, score of generators by name, and rank where the generator knows it.
        params: sizes and weights.

    Returns:
        user_id, item_id, <generator>_score and <generator>_rank of each of ``GENERATORS`` (null where it was not
        asked), fused_score and fused_rank; in single precision, as candidates are stored: at tens of millions of rows,
        width is time.
    """
    return _placed(_fused(found, params))


def _fused(found: Mapping[str, Frame], params: CandidateParams) -> Frame:
    """What :func:`fuse` gives, without fused_rank."""
    asked = [name for name in GENERATORS if name in found]
    parts = [
        _ranked(found[name], params.quotas[name].k).select(
            "user_id",
            "item_id",
            nw.col("score").cast(nw.Float32).alias(f"{name}_score"),
            nw.col("rank").cast(nw.Int32).alias(f"{name}_rank"),
        )
        for name in asked
    ]
    columns = [f"{name}_{what}" for name in asked for what in ("score", "rank")]
    wide = nw.concat(parts, how="diagonal").group_by("user_id", "item_id").agg(nw.col(*columns).max())
    # Added in one fixed order, so the sum has the same bits each time.
    score = nw.lit(0.0)
    for name in asked:
        rank = nw.col(f"{name}_rank").cast(nw.Float64)
        score = score + (params.quotas[name].weight / (params.fusion_constant + rank)).fill_null(0.0)
    types = {"score": nw.Float32, "rank": nw.Int32}
    silent = [name for name in GENERATORS if name not in found]
    nothing = {f"{name}_{what}": nw.lit(None, dtype) for name in silent for what, dtype in types.items()}
    return wide.with_columns(fused_score=score, **nothing)


def _placed(fused: Frame) -> Frame:
    return dense_rank(fused, by=["user_id"], score="fused_score", ties=["item_id"], name="fused_rank")


def _ranked(found: Frame, k: int) -> Frame:
    """The k best of each user, with their rank."""
    if "rank" in found.collect_schema().names():
        return found.filter(nw.col("rank") <= k)
    return top_k(found, k, by=["user_id"], score="score", ties=["item_id"])


def _proposals(given: RetrievalContext) -> dict[str, Frame]:
    """What each generator that is asked gives."""
    return {name: _propose(name, given) for name in GENERATORS if name in given.params.quotas}


def _propose(name: str, given: RetrievalContext) -> Frame:
    """What a generator gives, without what the rules forbid."""
    if name in PROPOSERS:
        proposed = given.inputs.proposed[name].select("user_id", "item_id", "score")
        return given.allowed(proposed.join(given.users, on="user_id", how="semi"))
    return derived(name).recommend(given, given.params.quotas[name].k)
