"""Group retrieval: fitted models, which recommend to any history."""

from dataclasses import asdict

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.fit_context import activity_windows, fit_context
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged

Result = dg.MaterializeResult[Staged]


def cf_ensemble(graph: GraphBuilder, params: CandidateParams) -> dg.AssetsDefinition:
    """The models from which 'cf_ensemble' recommends, and whose scores are features of the ranker."""

    @graph.asset("retrieval", reads=activity_windows(graph), kinds=("numpy",), checks=(), file="model.npz.zst")
    def cf_ensemble(
        context: dg.AssetExecutionContext, user_activity: Partitions, bot_users: Partitions, frames: FrameWriter
    ) -> Result:
        """IALS, graph filters, EASE, RP3beta and item-kNN, fitted on who did what; each scores any history."""
        from recsys_assets.core.retrieval.cf_ensemble import CfEnsembleParams, fit  # SciPy: not for loading the graph

        read = {"user_activity": user_activity.frame()}
        people = fit_context(graph, params, frames.run, context.partition_key, read, bot_users.frame(), 1)
        history, fit_params = people.history(), CfEnsembleParams()
        model = fit(history, fit_params)
        content = model.to_bytes()
        return frames.write_bytes(
            context,
            content,
            params={"half_life": people.half_life, **asdict(fit_params)},
            seed=people.seed,
            metadata={
                "items": len(model.items),
                "items_left_out": len(history["item_id"].unique()) - len(model.items),
                "items_of_ease": min(len(model.items), fit_params.models.ease.most_items),
                "models": ", ".join(model.models) or "none: no user has two items that others have too",
                "bytes": len(content),
                **user_activity.facts,
            },
        )

    return cf_ensemble
