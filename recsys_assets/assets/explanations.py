"""Group serving: why the first items of each list stand where they do."""

from collections.abc import Iterator

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters, feature_inputs, feature_reads
from recsys_assets.assets.promotion import partition_bytes
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import dense_ranks
from recsys_assets.core.engine import Frame
from recsys_assets.core.lists.explanations import explain_in_parts, explainer_of, order_of
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The explanations, where any are asked for."""
    settings, params = graph.settings, candidate_parameters(graph)
    if not settings.explained_items:
        return []

    @graph.asset(
        "serving",
        reads={
            **dict.fromkeys(("recommendations", "candidates", "served_ranker", "retrieval_params")),
            **feature_reads(graph, params),
        },
        kinds=("parquet", "catboost"),
        checks=("contract", "ranks_are_dense"),
    )
    def explanations(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        """Why the first items of each list stand where they do: the generators' ranks, the features that weighed most.

        A release holds it for `explain=true`. What each feature adds to the score comes from the model that ordered the
        lists: coefficients of a linear one, SHAP values of trees, shares of the fused score where no ranker orders.
        """
        lists, day = upstream["recommendations"].frame().drop("dt"), context.partition_key
        order_by = order_of(lists)
        weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)
        explainer = explainer_of(order_by, partition_bytes(upstream["served_ranker"], day), weighted)

        def explained(day: str) -> Iterator[Frame]:
            return explain_in_parts(
                frames.run,
                lists,
                upstream["candidates"].frame().drop("dt"),
                feature_inputs(upstream, day),
                graph.day(day),
                graph.end(day),
                weighted,
                explainer=explainer,
                ids=graph.ids,
                most=settings.explained_items,
            )

        return frames.write(
            context,
            explained,
            partition_checks=[dense_ranks("user_id")],
            params={"order_by": order_by, "items": settings.explained_items},
            metadata={"order_by": order_by, "baseline": explainer.baseline},
        )

    return [explanations]
