"""Every frame function of ``core.lists`` with a call of it; part of :mod:`recsys_assets_tests.engines.functions`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.lists import (
    attribution,
    explanations,
    histories,
    model_inputs,
    new_items,
    nightly,
    recommend,
    reranking,
)
from recsys_assets_tests.engines.frames import LAST
from recsys_assets_tests.engines.function_inputs import CANDIDATES, POLICY, FunctionInputs, end_of, trained_model


def lists_and_reranked(inputs: FunctionInputs, order_by: str) -> tuple[Frame, Frame]:
    """Lists before and after re-ranking."""
    rows, scores = inputs["featured"], inputs["scores"] if order_by == "ranker" else None
    reranked = recommend.recommend(rows, order_by, scores, policy=POLICY, item_features=inputs["item_features"])
    return recommend.recommend(rows, order_by, scores), reranked


def _explained(inputs: FunctionInputs, order_by: str) -> tuple[Frame, ...]:
    """The explanations of lists in some order."""
    scores = inputs["scores"] if order_by == "ranker" else None
    frames = explanations.explain_in_parts(
        inputs.engine,
        recommend.recommend(inputs["candidates"], order_by, scores, 4),
        inputs["candidates"],
        inputs.candidate_inputs,
        *inputs.as_of,
        explainer=explanations.explainer_of(order_by, trained_model(), CANDIDATES),
        ids=inputs.ids,
        most=3,
    )
    return tuple(frames)


LIST_FUNCTIONS: Mapping[str, Callable[[FunctionInputs], Any]] = {
    "lists.new_items.apply_new_item_quota": lambda inputs: new_items.apply_new_item_quota(
        recommend.recommend(inputs["candidates"], "fused"), inputs["featured"], 6, new_items.NewItemQuota(0.34, 2)
    ),
    "lists.nightly.recommend_in_parts": lambda inputs: tuple(
        nightly.recommend_in_parts(
            inputs.engine,
            inputs["candidates"],
            inputs.candidate_inputs,
            *inputs.as_of,
            order_by="ranker",
            model=trained_model(),
            ids=inputs.ids,
            k=4,
            policy=POLICY,
        )
    ),
    "lists.reranking.apply_policy": lambda inputs: tuple(
        reranking.apply_policy(
            recommend.recommend(inputs["candidates"], order_by), inputs["featured"], inputs["item_features"], POLICY
        )
        for order_by in ("fused", "covisit")
    ),
    "lists.attribution.with_generator": lambda inputs: attribution.with_generator(
        inputs["candidates"].select("user_id", "item_id"), inputs["candidates"], CANDIDATES
    ),
    "lists.histories.user_histories": lambda inputs: histories.user_histories(
        inputs["user_activity"],
        LAST,
        end_of(LAST),
        days=4,
        half_life_days=14.0,
        purchased_from=POLICY.purchased_from,
        most=2,
    ),
    "lists.reranking.categories_of": lambda inputs: reranking.categories_of(inputs["item_features"]),
    "lists.recommend.recommend": lambda inputs: (
        recommend.recommend(inputs["candidates"], "ranker", inputs["scores"], 4),
        recommend.recommend(inputs["candidates"], "fused", k=3),
        recommend.recommend(inputs["candidates"], "covisit"),
        lists_and_reranked(inputs, "ranker")[1],
    ),
    "lists.explanations.explain_in_parts": lambda inputs: _explained(inputs, "ranker"),
    "lists.explanations.explain_rows": lambda inputs: explanations.explain_rows(
        inputs.engine,
        inputs["candidates"].with_columns(rank=nw.col("fused_rank")),
        explanations.explainer_of("covisit", b"", CANDIDATES),
        inputs.ids,
    ),
    "lists.model_inputs.sample_features": lambda inputs: model_inputs.sample_features(
        inputs.engine, inputs["candidates"], inputs.candidate_inputs, *inputs.as_of
    ),
    "lists.explanations.order_of": lambda inputs: tuple(
        explanations.order_of(recommend.recommend(inputs["candidates"], order_by)) for order_by in ("fused", "covisit")
    ),
}
"""Function (its module within ``core``) to a call of it."""
