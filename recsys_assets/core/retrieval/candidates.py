"""Candidates of all generators, ranked and fused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import TypeVar

import narwhals as nw

from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import dense_rank, top_k
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.core.parts import Memo, by_users, of_users
from recsys_assets.core.retrieval.protocol import (
    CandidateInputs,
    CandidateParams,
    FeatureInputs,
    RetrievalContext,
    active_history,
    derived,
    fitted,
)

Inputs = TypeVar("Inputs", bound=FeatureInputs)


def candidates(
    engine: Engine,
    inputs: CandidateInputs,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    registry: GeneratorRegistry,
) -> Frame:
    """Candidates of every active user of the inputs with scores and ranks (``CANDIDATES``).

    The candidates of a user do not depend on the other users of the inputs.

    Args:
        engine: where the frames run.
        inputs: as of the end of D.
        as_of: D.
        end: the instant at which D ends, with its time zone.
        params: sizes and windows.
        registry: generators that have columns; those of ``params.quotas`` give candidates.
    """
    context = retrieval_context(engine, inputs, as_of, end, params)
    fused = _fused(_recommended(context, registry), params, registry.names)
    return engine.add_columns(fused, ["user_id", "item_id"], _with_fused_rank)


def retrieval_context(
    engine: Engine, inputs: CandidateInputs, as_of: date, end: datetime, params: CandidateParams
) -> RetrievalContext:
    """The context of the derived generators: active users and their history; arguments as for :func:`candidates`."""
    return RetrievalContext(engine, inputs, params, as_of, end, *active_history(inputs, as_of, end, params))


def union(context: RetrievalContext, registry: GeneratorRegistry) -> Frame:
    """The candidates of all generators, as :func:`fuse` gives them."""
    return fuse(_recommended(context, registry), context.params, registry.names)


def inputs_of(inputs: Inputs, users: Frame) -> Inputs:
    """The inputs reduced to some users.

    Args:
        inputs: as of the end of D.
        users: user_id, each once.
    """
    return inputs.with_users(*of_users(users, *inputs.of_users))


def split_inputs(
    engine: Engine, inputs: Inputs, users: Frame, *others: Frame
) -> Sequence[tuple[Inputs, tuple[Frame, ...]]]:
    """Split the inputs by users where the engine prefers parts; what is made of a part comes before that of the next.

    Args:
        engine: where the frames run.
        inputs: as of the end of D.
        users: user_id of all users; repeated ids count once.
        others: further frames with a user_id, to be split likewise.

    Returns:
        The inputs of each part, and its rows of the other frames.
    """
    parts = by_users(engine, users, *others, *inputs.of_users)
    if len(parts) == 1:
        return [(inputs, others)]
    memoize = Memo(engine)
    return [
        (
            replace(inputs.with_users(*part[len(others) :]), memoize=memoize, memoize_part=Memo(engine)),
            part[: len(others)],
        )
        for part in parts
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


def fuse_again(candidates: Frame, weights: Mapping[str, float], constant: float) -> Frame:
    """Candidates with the fused scores and ranks that other weights give.

    Args:
        candidates: with the columns of contract CANDIDATES.
        weights: by generator; the ranks of others do not count.
        constant: of the fusion.
    """
    others = candidates.drop("fused_score", "fused_rank")
    return _with_fused_rank(others.with_columns(fused_score=_fused_score(weights, constant)))


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
    score = _fused_score({name: params.quotas[name].weight for name in present}, params.fusion_constant)
    types = {"score": nw.Float32, "rank": nw.Int32}
    absent = [name for name in names if name not in by_generator]
    nulls = {f"{name}_{what}": nw.lit(None, dtype) for name in absent for what, dtype in types.items()}
    return wide.with_columns(fused_score=score, **nulls)


def _fused_score(weights: Mapping[str, float], constant: float) -> nw.Expr:
    """The fused score: terms are added in the order of the weights, so that the sum has the same bits each time."""
    score = nw.lit(0.0)
    for name, weight in weights.items():
        rank = nw.col(f"{name}_rank").cast(nw.Float64)
        score = score + (weight / (constant + rank)).fill_null(0.0)
    return score


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
    k = context.params.quotas[name].k
    if name in registry.fitted:
        model, state = fitted(registry, name), context.inputs.fitted_models[name]
        unavailable, most = context.unavailable_items(), context.more(k)
        best = context.by_users(context.model_history, lambda some: model.recommend(state, some, most, unavailable))
        return context.not_interacted(context.available(best))
    return context.not_interacted(derived(registry, name).recommend(context, k))
