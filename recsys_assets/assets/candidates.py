"""Group retrieval, its end: the candidates of each fitted generator, and the union of all of each active user."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from recsys_assets.assets import retrieval_params
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.fit_context import activity_windows, fit_context
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import dense_ranks, not_empty
from recsys_assets.core.contracts import CF_ENSEMBLE_SCORES
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import top_k
from recsys_assets.core.retrieval.candidates import candidates as candidates_of
from recsys_assets.core.retrieval.candidates import split_inputs
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams, FitContext, fitted
from recsys_assets.core.retrieval.selection import quotas_of, select_generators
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import window

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """An asset for each fitted generator, and their union with the others."""
    params = candidate_parameters(graph)
    names = [name for name in graph.registry.fitted if name in params.quotas]
    model_scores = [_model_scores(graph, params)] if "cf_ensemble" in names else []
    return [
        *retrieval_params.build(graph, params),
        *model_scores,
        *(_fitted_generator(graph, name, params) for name in names),
        _candidates(graph, params, names),
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


def _candidates(graph: GraphBuilder, params: CandidateParams, fitted_names: list[str]) -> dg.AssetsDefinition:
    """The union of the generators."""
    settings = graph.settings
    same_day = [
        *("item_features", "top_popular", "covisited_items", "user_factors", "item_factors"),
        *(f"{name}_items" for name in fitted_names),
        *(["cf_ensemble_scores"] if "cf_ensemble" in fitted_names else []),
        "retrieval_params",
    ]

    @graph.asset(
        "retrieval",
        reads={
            "user_activity": window(max(settings.activity_days, settings.active_days)),
            "item_activity": window(max(settings.popular_days, settings.trending_days)),
            **dict.fromkeys(same_day),
        },
        kinds=("parquet", settings.engine),
        code_version="3",
        checks=("contract", "not_empty"),
    )
    def candidates(context: dg.AssetExecutionContext, frames: FrameWriter, **upstream: Partitions) -> Result:
        """The union of all generators for each active user, with scores, ranks and features as of the day."""
        day = context.partition_key
        weighted = weights_in_force(stored_params(upstream.pop("retrieval_params"), day), params)
        inputs = _inputs(upstream, fitted_names, frames.empty(CF_ENSEMBLE_SCORES))

        def parts(day: str) -> Iterator[Frame]:
            for part in split_inputs(frames.run, inputs, graph.day(day), weighted):
                yield candidates_of(frames.run, part, graph.day(day), graph.end(day), weighted, graph.registry)

        return frames.write(
            context,
            parts,
            partition_checks=[not_empty],
            params=asdict(weighted),
            metadata=upstream["user_activity"].facts,
        )

    return candidates


def _inputs(upstream: Mapping[str, Partitions], fitted_names: list[str], no_scores: Frame) -> CandidateInputs:
    """The frames of the upstream assets; activity windows keep ``dt``."""
    windows: dict[str, Any] = {name: upstream[name].frame() for name in ("user_activity", "item_activity")}
    today: dict[str, Any] = {
        name: partitions.frame().drop("dt") for name, partitions in upstream.items() if name not in windows
    }
    by_generator = {name: today.pop(f"{name}_items") for name in fitted_names}
    model_scores = today.pop("cf_ensemble_scores", no_scores)
    return CandidateInputs(**windows, **today, model_scores=model_scores, fitted_candidates=by_generator)


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
