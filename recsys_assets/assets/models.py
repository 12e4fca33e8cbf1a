"""Group retrieval: fitted models, which recommend to any history."""

from dataclasses import asdict

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.fit_context import activity_windows, fit_context
from recsys_assets.core.activity import bots
from recsys_assets.core.models.session_model import CHOSEN, to_bytes
from recsys_assets.core.retrieval.protocol import CandidateParams, fitted
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window

Result = dg.MaterializeResult[Staged]


def session_model(graph: GraphBuilder) -> dg.AssetsDefinition:
    """The model of 'sessions', which recommends to any clicks."""
    days = window(graph.settings.covisit_days)

    @graph.asset(
        "retrieval",
        reads={"clean_events": days, "bot_users": days},
        kinds=("numpy",),
        code_version="3",
        checks=(),
        file="model.npz.zst",
    )
    def session_model(
        context: dg.AssetExecutionContext, clean_events: Partitions, bot_users: Partitions, frames: FrameWriter
    ) -> Result:
        """An index of the sessions of the window and links between items, with weights chosen on held-out clicks."""
        from recsys_assets.core.retrieval.next_in_session import fit_with_chosen_params  # SciPy: not for loading it

        model, chosen = fit_with_chosen_params(bots.without(clean_events.frame(), bot_users.frame()))
        content = to_bytes(model)
        return frames.write_bytes(
            context,
            content,
            params=asdict(model.params),
            metadata={
                "sessions": len(model.session_starts) - 1,
                "items": len(model.items),
                "visits": len(model.visit_items),
                "bytes": len(content),
                "weights": ", ".join(f"{name} {getattr(model.params, name):g}" for name in CHOSEN),
                "weights_why": chosen.why,
                **clean_events.facts,
            },
        )

    return session_model


def cf_ensemble(graph: GraphBuilder, params: CandidateParams) -> dg.AssetsDefinition:
    """The models from which 'cf_ensemble' recommends, and whose scores are features of the ranker."""

    @graph.asset(
        "retrieval",
        reads=activity_windows(graph),
        kinds=("numpy",),
        code_version="2",
        checks=(),
        file="model.npz.zst",
    )
    def cf_ensemble(
        context: dg.AssetExecutionContext, user_activity: Partitions, bot_users: Partitions, frames: FrameWriter
    ) -> Result:
        """Models of who did what, iALS, graph filters, EASE, RP3beta and item-kNN; each scores any history."""
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


def fitted_model(graph: GraphBuilder, name: str, params: CandidateParams) -> dg.AssetsDefinition:
    """The asset of a fitted generator: the state of its model."""
    generator = fitted(graph.registry, name)
    windows = {**activity_windows(graph), "clean_events": window(graph.settings.covisit_days)}

    def model(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        read = {
            asset: partitions.frame() if asset in windows else partitions.frame().drop("dt")
            for asset, partitions in upstream.items()
        }
        bot_ids, k = read.pop("bot_users"), params.quotas[name].k
        people = fit_context(graph, params, frames.run, context.partition_key, read, bot_ids, k)
        content = generator.fit(people)
        return frames.write_bytes(
            context,
            content,
            params={"k": k, "half_life": people.half_life},
            seed=people.seed,
            metadata={"bytes": len(content), **upstream["user_activity"].facts},
        )

    model.__name__ = f"{name}_model"
    model.__doc__ = generator.about
    return graph.asset(
        "retrieval",
        reads={read: windows.get(read) for read in ("user_activity", "bot_users", *generator.reads)},
        kinds=("numpy",),
        code_version=generator.code_version,
        checks=(),
        file="model.bin",
    )(model)
