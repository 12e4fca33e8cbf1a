"""Candidates of all generators, ranked and fused, with features: the input of the ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.clock import last_days
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import dense_rank, top_k
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.core.parts import Memo, by_users
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams, RetrievalContext, derived


def candidates(
    engine: Engine,
    inputs: CandidateInputs,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    registry: GeneratorRegistry,
) -> Frame:
    """Candidates of every active user with scores, ranks and features (``CANDIDATES``).

    Args:
        engine: where the frames run.
        inputs: as of the end of D.
        as_of: D.
        end: the instant at which D ends, with its time zone.
        params: sizes and windows.
        registry: generators that have columns; those of ``params.quotas`` give candidates.
    """
    context = retrieval_context(engine, inputs, as_of, end, params)
    popularity = last_days(inputs.item_activity, as_of, params.popular_days)

    def add(pairs: Frame) -> Frame:
        return with_features(
            _with_fused_rank(pairs),
            context.history,
            popularity,
            inputs.item_features,
            inputs.model_scores,
            as_of,
            end,
            params.trending_days,
            inputs.memoize,
        )

    return engine.add_columns(
        _fused(_recommended(context, registry), params, registry.names), ["user_id", "item_id"], add
    )


def retrieval_context(
    engine: Engine, inputs: CandidateInputs, as_of: date, end: datetime, params: CandidateParams
) -> RetrievalContext:
    """The context of the derived generators: active users and their history; arguments as for :func:`candidates`."""
    histories = generators.user_history(inputs.user_activity, as_of, end, params.activity_days, params.repeat_half_life)
    active = last_days(inputs.user_activity, as_of, params.active_days).select("user_id").unique()
    users = inputs.memoize_part("users", active)
    history = inputs.memoize_part("history", histories.join(users, on="user_id", how="semi"))
    return RetrievalContext(engine, inputs, params, as_of, users, history)


def union(context: RetrievalContext, registry: GeneratorRegistry) -> Frame:
    """The candidates of all generators, as :func:`fuse` gives them."""
    return fuse(_recommended(context, registry), context.params, registry.names)


def split_inputs(
    engine: Engine, inputs: CandidateInputs, as_of: date, params: CandidateParams
) -> Sequence[CandidateInputs]:
    """Split the inputs by users where the engine prefers parts; candidates of a part come before those of the next.

    Args:
        engine: where the frames run.
        inputs: as of the end of D.
        as_of: D.
        params: sizes and windows.
    """
    users = last_days(inputs.user_activity, as_of, params.active_days)
    fitted = inputs.fitted_candidates
    parts = by_users(engine, users, inputs.user_activity, inputs.user_factors, inputs.model_scores, *fitted.values())
    if len(parts) == 1:
        return [inputs]
    memoize = Memo(engine)
    return [
        replace(
            inputs,
            user_activity=activity,
            user_factors=factors,
            model_scores=model_scores,
            fitted_candidates=dict(zip(fitted, others, strict=True)),
            memoize=memoize,
            memoize_part=Memo(engine),
        )
        for activity, factors, model_scores, *others in parts
    ]


def fuse(by_generator: Mapping[str, Frame], params: CandidateParams, generators: Sequence[str]) -> Frame:
    """Rank each generator's items, keep its k best, and fuse: sum of weight / (constant + rank).

    Args:
        by_generator: user_id, item_id, score by generator, and rank where the generator gives it.
        params: sizes and weights.
        generators: names of all that have columns, in the order of the columns.

    Returns:
        user_id, item_id, <generator>_score and <generator>_rank of each of ``generators`` (null where it gave
        nothing), fused_score and fused_rank; in single precision, as candidates are stored: at tens of millions of
        rows, width costs time.
    """
    return _with_fused_rank(_fused(by_generator, params, generators))


def _fused(by_generator: Mapping[str, Frame], params: CandidateParams, names: Sequence[str]) -> Frame:
    """The columns of :func:`fuse` without fused_rank."""
    present = [name for name in names if name in by_generator]
    parts = [
        _ranked(by_generator[name], params.quotas[name].k).select(
            "user_id",
            "item_id",
            nw.col("score").cast(nw.Float32).alias(f"{name}_score"),
            nw.col("rank").cast(nw.Int32).alias(f"{name}_rank"),
        )
        for name in present
    ]
    columns = [f"{name}_{what}" for name in present for what in ("score", "rank")]
    wide = nw.concat(parts, how="diagonal").group_by("user_id", "item_id").agg(nw.col(*columns).max())
    # One fixed order of addition, so that the sum has the same bits each time.
    score = nw.lit(0.0)
    for name in present:
        rank = nw.col(f"{name}_rank").cast(nw.Float64)
        score = score + (params.quotas[name].weight / (params.fusion_constant + rank)).fill_null(0.0)
    types = {"score": nw.Float32, "rank": nw.Int32}
    absent = [name for name in names if name not in by_generator]
    nulls = {f"{name}_{what}": nw.lit(None, dtype) for name in absent for what, dtype in types.items()}
    return wide.with_columns(fused_score=score, **nulls)


def _with_fused_rank(fused: Frame) -> Frame:
    return dense_rank(fused, by=["user_id"], score="fused_score", ties=["item_id"], name="fused_rank")


def _ranked(scored: Frame, k: int) -> Frame:
    """The k best of each user, with their rank."""
    if "rank" in scored.collect_schema().names():
        return scored.filter(nw.col("rank") <= k)
    return top_k(scored, k, by=["user_id"], score="score", ties=["item_id"])


def _recommended(context: RetrievalContext, registry: GeneratorRegistry) -> dict[str, Frame]:
    """The candidates of each generator that has a quota."""
    return {name: _recommend(name, context, registry) for name in registry.names if name in context.params.quotas}


def _recommend(name: str, context: RetrievalContext, registry: GeneratorRegistry) -> Frame:
    """The candidates of one generator, without items that may not be recommended."""
    if name in registry.fitted:
        candidates = context.inputs.fitted_candidates[name].select("user_id", "item_id", "score")
        return context.allowed(candidates.join(context.users, on="user_id", how="semi"))
    return derived(registry, name).recommend(context, context.params.quotas[name].k)
