"""Group serving: the lists that a release holds for each user."""

from collections.abc import Iterator
from dataclasses import asdict

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import (
    activity_read,
    candidate_parameters,
    feature_inputs,
    feature_reads,
    history_days,
)
from recsys_assets.assets.order import order_in_force
from recsys_assets.assets.reranking import policy_text, reranking_policy
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import dense_ranks, not_empty, ordered_by
from recsys_assets.core.engine import Frame
from recsys_assets.core.lists.histories import user_histories as recent_items
from recsys_assets.core.lists.nightly import recommend_in_parts
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import MOST_DAYS
from recsys_assets.resources.store import StoreResource

Result = dg.MaterializeResult[Staged]
_HISTORY_ITEMS = 50
"""Items of a user's history in a release where repeats are allowed; models of sessions look no further back."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The assets as of a day that the API serves."""
    settings, policy, params = graph.settings, reranking_policy(graph), candidate_parameters(graph)

    @graph.asset(
        "serving",
        reads={
            **dict.fromkeys(("candidates", "served_ranker", "promotion", "retrieval_params")),
            **feature_reads(graph, params),
        },
        kinds=("parquet", "catboost"),
        code_version="2",
        checks=("contract", "ranks_are_dense", "not_empty", "ordered_by_winner"),
        advisory=("model_inputs_present",),
    )
    def recommendations(
        context: dg.AssetExecutionContext, frames: FrameWriter, store: StoreResource, **upstream: Partitions
    ) -> Result:
        """The best candidates of each active user, in the order of the winner of the evaluation, champion or generator.

        The fused generators order them until there is something to evaluate on, and where the ranker misses what it was
        trained with. Then the re-ranking policy is applied; `ranker_evaluation` shows its cost.
        """
        day, pool = context.partition_key, upstream["candidates"].frame().drop("dt")
        weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)
        inputs = feature_inputs(upstream, day)
        order = order_in_force(graph, weighted, frames, store, upstream, inputs, day)

        def ordered(day: str) -> Iterator[Frame]:
            return recommend_in_parts(
                frames.run,
                pool,
                inputs,
                graph.day(day),
                graph.end(day),
                weighted,
                order_by=order.by,
                model=order.model,
                ids=graph.ids,
                k=settings.recommendations_k,
                policy=policy,
            )

        return frames.write(
            context,
            ordered,
            partition_checks=[dense_ranks("user_id"), not_empty, ordered_by(order.by)],
            params={**order.recorded, "k": settings.recommendations_k, **asdict(policy)},
            metadata={**order.told, "reranking": policy_text(policy)},
            checks=[order.check],
        )

    @graph.asset(
        "serving",
        reads={"user_activity": activity_read(graph, params)},
        kinds=("parquet", settings.engine),
        checks=("contract", "ranks_are_dense"),
    )
    def user_histories(context: dg.AssetExecutionContext, user_activity: Partitions, frames: FrameWriter) -> Result:
        """The last items of each user and what the user purchased, which the API continues with fresh events."""
        days = history_days(params) if params.repeats else MOST_DAYS

        def histories(day: str) -> Frame:
            return recent_items(
                user_activity.frame(),
                graph.day(day),
                graph.end(day),
                days=days,
                half_life_days=params.factors_half_life,
                purchased_from=policy.purchased_from,
                most=_HISTORY_ITEMS if params.repeats else None,
            )

        return frames.write(
            context,
            histories,
            partition_checks=[dense_ranks("user_id")],
            params={"days": days, "half_life": params.factors_half_life, "purchased_from": policy.purchased_from},
            metadata=user_activity.facts,
        )

    return [recommendations, user_histories]
