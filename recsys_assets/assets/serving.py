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
from recsys_assets.assets.promotion import partition_bytes, stored_promotion
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
    )
    def recommendations(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        """The best candidates of each active user, in the order of the winner of the evaluation, champion or generator.

        The fused generators order them until there is something to evaluate on. The re-ranking policy is applied
        (purchased items, categories, diversity, the quota of new items); `ranker_evaluation` shows its cost.
        """
        day = context.partition_key
        decided = stored_promotion(upstream["promotion"], day)
        model = partition_bytes(upstream["served_ranker"], day)
        pool = upstream["candidates"].frame().drop("dt")
        weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)

        def ordered(day: str) -> Iterator[Frame]:
            return recommend_in_parts(
                frames.run,
                pool,
                feature_inputs(upstream, day),
                graph.day(day),
                graph.end(day),
                weighted,
                order_by=decided.order_by,
                model=model,
                ids=graph.ids,
                k=settings.recommendations_k,
                policy=policy,
            )

        return frames.write(
            context,
            ordered,
            partition_checks=[dense_ranks("user_id"), not_empty, ordered_by(decided.order_by)],
            params={"order_by": decided.order_by, "k": settings.recommendations_k, **asdict(policy)},
            metadata={
                "order_by": decided.order_by,
                "why": decided.why,
                "reranking": policy_text(policy),
                "champion": decided.after.champion.id if decided.after.champion else "none",
            },
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
