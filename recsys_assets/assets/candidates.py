"""Group retrieval, its end: the candidates of each fitted generator, and the union of all of each active user."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

import dagster as dg
import narwhals as nw

from recsys_assets.assets import retrieval_params
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.fit_context import activity_windows, fit_context
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import dense_ranks, not_empty
from recsys_assets.core.activity import bots
from recsys_assets.core.contracts import CF_ENSEMBLE_SCORES, CLEAN_EVENTS
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import top_k
from recsys_assets.core.models.session_model import CHOSEN, SessionModel, from_bytes, to_bytes
from recsys_assets.core.retrieval.candidates import candidates as candidates_of
from recsys_assets.core.retrieval.candidates import split_inputs
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.core.retrieval.protocol import (
    CandidateInputs,
    CandidateParams,
    FeatureInputs,
    FitContext,
    active_users,
    fitted,
)
from recsys_assets.core.retrieval.selection import quotas_of, select_generators
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """An asset for each fitted generator, and their union with the others."""
    params = candidate_parameters(graph)
    names = [name for name in graph.registry.fitted if name in params.quotas]
    models = [
        *([_session_model(graph)] if "sessions" in params.quotas else []),
        *([_model_scores(graph, params)] if "cf_ensemble" in params.quotas else []),
    ]
    return [
        *retrieval_params.build(graph, params),
        *models,
        *(_fitted_generator(graph, name, params) for name in names),
        _candidates(graph, params),
    ]


def candidate_parameters(graph: GraphBuilder) -> CandidateParams:
    """Sizes, windows and rules of the candidates by the settings; raises as :func:`select_generators`."""
    settings = graph.settings
    # Only 'content' recommends items that nobody has interacted with: a quota for new items is filled from it.
    extras = ("content",) if settings.new_item_quota else ()
    selected = select_generators(settings.generators, graph.registry, graph.lacks, graph.dataset.name, extras)
    return CandidateParams(
        quotas=quotas_of(selected, settings.candidates_k),
        activity_days=settings.activity_days,
        active_days=settings.active_days,
        popular_days=settings.popular_days,
        trending_days=settings.trending_days,
        repeat_half_life=settings.repeat_half_life,
        covisit_half_life=settings.covisit_half_life,
        new_item_days=settings.new_item_days,
        repeats=graph.dataset.repeats,
        exclude_unavailable=settings.exclude_unavailable,
    )


def candidate_reads(
    graph: GraphBuilder, params: CandidateParams, lag: int = 0
) -> dict[str, dg.PartitionMapping | None]:
    """The partitions that candidates as of the day ``lag`` days before D are made from."""
    sessions = "sessions" in params.quotas
    same_day = [
        *("top_popular", "covisited_items", "user_factors", "item_factors"),
        *(f"{name}_items" for name in graph.registry.fitted if name in params.quotas),
        *(["session_model"] if sessions else []),
        "retrieval_params",
    ]
    return {
        **feature_reads(graph, params, lag),
        **({"clean_events": window(graph.settings.covisit_days, lag)} if sessions else {}),
        **dict.fromkeys(same_day, window(1, lag) if lag else None),
    }


def feature_reads(graph: GraphBuilder, params: CandidateParams, lag: int = 0) -> dict[str, dg.PartitionMapping | None]:
    """The partitions that features as of the day ``lag`` days before D are made from."""
    same_day = ["item_features", *(["cf_ensemble_scores"] if "cf_ensemble" in params.quotas else [])]
    return {
        "user_activity": window(max(params.activity_days, params.active_days), lag),
        "item_activity": window(max(params.popular_days, params.trending_days), lag),
        **dict.fromkeys(same_day, window(1, lag) if lag else None),
    }


def candidate_inputs(
    upstream: Mapping[str, Partitions], frames: FrameWriter, params: CandidateParams, day: str
) -> tuple[CandidateInputs, CandidateParams]:
    """The frames of :func:`candidate_reads` as of a day, and the parameters with the weights of that day."""
    weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)
    of_features = feature_inputs(upstream, frames)
    inputs = CandidateInputs(
        # A reader of an earlier day has the days after it too, for labels.
        user_activity=of_features.user_activity.filter(nw.col("dt") <= date.fromisoformat(day)),
        item_activity=of_features.item_activity,
        item_features=of_features.item_features,
        top_popular=_of_day(upstream["top_popular"]),
        covisited_items=_of_day(upstream["covisited_items"]),
        user_factors=_of_day(upstream["user_factors"]),
        item_factors=_of_day(upstream["item_factors"]),
        model_scores=of_features.model_scores,
        clicks=upstream["clean_events"].frame() if "clean_events" in upstream else frames.empty(CLEAN_EVENTS),
        session_model=_stored_session_model(upstream.get("session_model"), day),
        fitted_candidates={
            name: _of_day(upstream[f"{name}_items"]) for name in params.quotas if f"{name}_items" in upstream
        },
    )
    return inputs, weighted


def feature_inputs(upstream: Mapping[str, Partitions], frames: FrameWriter) -> FeatureInputs:
    """The frames of :func:`feature_reads`."""
    scores = upstream.get("cf_ensemble_scores")
    return FeatureInputs(
        user_activity=upstream["user_activity"].frame(),
        item_activity=upstream["item_activity"].frame(),
        item_features=_of_day(upstream["item_features"]),
        model_scores=_of_day(scores) if scores else frames.empty(CF_ENSEMBLE_SCORES),
    )


def _stored_session_model(partitions: Partitions | None, day: str) -> SessionModel | None:
    path = partitions.file(day) if partitions else None
    return from_bytes(path.read_bytes()) if path else None


def _of_day(partitions: Partitions) -> Frame:
    """The frame of an asset of which one day is read."""
    return partitions.frame().drop("dt")


def _candidates(graph: GraphBuilder, params: CandidateParams) -> dg.AssetsDefinition:
    """The union of the generators."""

    @graph.asset(
        "retrieval",
        reads=candidate_reads(graph, params),
        kinds=("parquet", graph.settings.engine),
        code_version="4",
        checks=("contract", "not_empty"),
    )
    def candidates(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        """The union of all generators for each active user, with scores and ranks as of the day."""
        day = context.partition_key
        inputs, weighted = candidate_inputs(upstream, frames, params, day)

        def parts(day: str) -> Iterator[Frame]:
            users = active_users(inputs.user_activity, graph.day(day), weighted)
            for part, _ in split_inputs(frames.run, inputs, users):
                yield candidates_of(frames.run, part, graph.day(day), graph.end(day), weighted, graph.registry)

        return frames.write(
            context,
            parts,
            partition_checks=[not_empty],
            params=asdict(weighted),
            metadata=upstream["user_activity"].facts,
        )

    return candidates


def _session_model(graph: GraphBuilder) -> dg.AssetsDefinition:
    """The model of 'sessions', which recommends to any clicks."""
    days = window(graph.settings.covisit_days)

    @graph.asset(
        "retrieval",
        reads={"clean_events": days, "bot_users": days},
        kinds=("numpy",),
        code_version="2",
        checks=(),
        file="model.npz",
    )
    def session_model(
        context: dg.AssetExecutionContext, clean_events: Partitions, bot_users: Partitions, frames: FrameWriter
    ) -> Result:
        """An index of the sessions of the window and links between items, with weights chosen on held-out clicks."""
        from recsys_assets.core.retrieval.next_in_session import (
            fit_with_chosen_params,  # SciPy: loading the graph must not take it
        )

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


def _model_scores(graph: GraphBuilder, params: CandidateParams) -> dg.AssetsDefinition:
    """The scores from which 'cf_ensemble' recommends, and which are features of the ranker."""
    reads = {**activity_windows(graph), "item_features": None}

    @graph.asset("retrieval", reads=reads)
    def cf_ensemble_scores(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        """What iALS, a graph filter, EASE, RP3beta and item-kNN say of the items that each active user may want."""
        from recsys_assets.core.retrieval.cf_ensemble import scored  # SciPy: loading the graph must not take it

        fit = _fit_context(graph, params, frames.run, context.partition_key, upstream, "cf_ensemble")
        return frames.write(
            context,
            lambda _: scored(fit),
            params=_lineage_params(fit),
            seed=fit.seed,
            metadata=upstream["user_activity"].facts,
        )

    return cf_ensemble_scores


def _fitted_generator(graph: GraphBuilder, name: str, params: CandidateParams) -> dg.AssetsDefinition:
    """The asset of a fitted generator: the best candidates of each user."""
    generator = fitted(graph.registry, name)
    windows: Mapping[str, dg.PartitionMapping] = {
        **activity_windows(graph),
        "clean_events": window(graph.settings.covisit_days),
    }

    def items(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        fit = _fit_context(graph, params, frames.run, context.partition_key, upstream, name)

        def best(_: str) -> Frame:
            recommended = frames.run.from_arrow(generator.fit(fit))
            return top_k(recommended, fit.k, by=["user_id"], score="score", ties=["item_id"])

        return frames.write(
            context,
            best,
            partition_checks=[dense_ranks("user_id")],
            params=_lineage_params(fit),
            seed=fit.seed,
            metadata=upstream["user_activity"].facts,
        )

    items.__name__ = f"{name}_items"
    items.__doc__ = generator.about
    return graph.asset(
        "retrieval",
        reads={read: windows.get(read) for read in ("user_activity", "bot_users", "item_features", *generator.reads)},
        kinds=("parquet",),
        code_version=generator.code_version,
        checks=("contract", "ranks_are_dense"),
    )(items)


def _fit_context(
    graph: GraphBuilder,
    params: CandidateParams,
    engine: Engine,
    day: str,
    upstream: Mapping[str, Partitions],
    name: str,
) -> FitContext:
    """The context of a generator's fit, from the partitions that its asset reads."""
    dated = {*activity_windows(graph), "clean_events"}
    read = {
        asset: partitions.frame() if asset in dated else partitions.frame().drop("dt")
        for asset, partitions in upstream.items()
    }
    bot_ids = read.pop("bot_users")
    return fit_context(graph, params, engine, day, read, bot_ids, params.quotas[name].k)


def _lineage_params(fit: FitContext) -> dict[str, Any]:
    """The parameters of a fit that its lineage records."""
    return {"k": fit.k, "half_life": fit.half_life, "repeats": fit.repeats}
