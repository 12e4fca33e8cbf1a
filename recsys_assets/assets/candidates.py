"""Group retrieval, its end: what each fitted generator proposes, and the candidates of each active user."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import dagster as dg

from recsys_assets.assets import retrieval_params
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.retrieval_params import weights_in_force
from recsys_assets.checks.partition import dense_ranks, not_empty
from recsys_assets.core.activity import bots
from recsys_assets.core.contracts import COLLABORATIVE_SCORES
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.frames import top_k
from recsys_assets.core.retrieval.candidates import candidates as find_candidates
from recsys_assets.core.retrieval.candidates import in_parts
from recsys_assets.core.retrieval.protocol import (
    CandidateInputs,
    CandidateParams,
    FitContext,
    Fitted,
    Generator,
    GeneratorQuota,
    fitted,
    generator,
)
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.partitions import window

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """An asset for each fitted generator, and their union with the others."""
    settings = graph.settings
    params = candidate_parameters(graph)
    proposers = [name for name in graph.registry.fitted if name in params.quotas]
    by_models = [_scores_of_models(graph, params)] if "collaborative" in proposers else []

    @graph.asset(
        "retrieval",
        reads={
            "user_activity": window(max(settings.activity_days, settings.active_days)),
            "item_activity": window(max(settings.popular_days, settings.trending_days)),
            **dict.fromkeys(("item_features", "top_popular", "covisited_items", "covisited_targets"), None),
            **dict.fromkeys(("user_factors", "item_factors"), None),
            **{f"{name}_items": None for name in proposers},
            **({"collaborative_scores": None} if by_models else {}),
            "retrieval_params": None,
        },
        kinds=("parquet", settings.engine),
        code_version="3",
        checks=("contract", "not_empty"),
    )
    def candidates(context: dg.AssetExecutionContext, frames: FrameWriter, **given: Partitions) -> Result:
        """The union of all generators for each active user, with scores, ranks and features as of the day."""
        weighed = weights_in_force(given.pop("retrieval_params"), context.partition_key, params)
        windows: dict[str, Any] = {name: given[name].frame() for name in ("user_activity", "item_activity")}
        today: dict[str, Any] = {name: one.frame().drop("dt") for name, one in given.items() if name not in windows}
        proposed = {name: today.pop(f"{name}_items") for name in proposers}
        model_scores = today.pop("collaborative_scores", frames.empty(COLLABORATIVE_SCORES))
        inputs = CandidateInputs(**windows, **today, model_scores=model_scores, proposed=proposed)

        def found(day: str) -> Iterator[Frame]:
            for part in in_parts(frames.run, inputs, graph.day(day), weighed):
                yield find_candidates(frames.run, part, graph.day(day), graph.end(day), weighed, graph.registry)

        return frames.write(
            context,
            "candidates",
            found,
            gates=[not_empty],
            params=asdict(weighed),
            metadata=given["user_activity"].facts,
        )

    fitters = [_proposer(graph, name, fitted(graph.registry, name), params) for name in proposers]
    return [*retrieval_params.build(graph, params), *by_models, *fitters, candidates]


def candidate_parameters(graph: GraphBuilder) -> CandidateParams:
    """Sizes, windows and policies of the candidates that the settings ask for.

    Raises:
        ValueError: a generator was asked for by name that there is not, or that reads what the data set does not bring.
    """
    settings, registry = graph.settings, graph.registry
    asked = settings.generators.split(",") if settings.generators else registry.names
    if unknown := sorted(set(asked) - set(registry.names)):
        raise ValueError(
            f"RECSYS_GENERATORS: unknown: {', '.join(unknown)}; there are {', '.join(registry.names)} "
            f"(found {settings.generators!r})"
        )
    loaded = {name: generator(registry, name) for name in registry.names if name in asked}
    known = {name: one for name, one in loaded.items() if not _missing(graph, one)}
    if settings.generators and (unavailable_generators := [name for name in asked if name not in known]):
        name = unavailable_generators[0]
        needs = ", ".join(_missing(graph, loaded[name]))
        raise ValueError(
            f"RECSYS_GENERATORS: {name!r} reads {needs}, for which data set {graph.dataset.name!r} has no files"
        )
    return CandidateParams(
        quotas={
            name: GeneratorQuota(max(1, int(settings.candidates_k * one.share)), one.weight)
            for name, one in known.items()
        },
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


def _missing(graph: GraphBuilder, one: Generator) -> list[str]:
    """What a generator reads and the graph does not have."""
    return [asset for asset in one.reads if graph.lacks(asset)] if isinstance(one, Fitted) else []


def _scores_of_models(graph: GraphBuilder, params: CandidateParams) -> dg.AssetsDefinition:
    """The asset that 'collaborative' proposes from, and that tells the ranker what each model says of a candidate."""
    settings = graph.settings
    reads = {**_people(graph), "item_features": None}

    @graph.asset("retrieval", reads=reads)
    def collaborative_scores(context: dg.AssetExecutionContext, frames: FrameWriter, **given: Partitions) -> Result:
        """What iALS, a graph filter, EASE, RP3beta and item-kNN say of the items that each active user may want."""
        from recsys_assets.core.retrieval.cf_ensemble import scored  # SciPy: loading the graph must not take it

        known = _known(graph, params, frames.run, context.partition_key, given, "collaborative")
        return frames.write(
            context,
            "collaborative_scores",
            lambda _: scored(known),
            params=_made_with(known),
            seed=settings.seed,
            metadata=given["user_activity"].facts,
        )

    return collaborative_scores


def _people(graph: GraphBuilder) -> dict[str, dg.PartitionMapping]:
    """The days of what users did that a fitted generator learns from."""
    settings = graph.settings
    return {
        "user_activity": window(max(settings.factors_days, settings.active_days)),
        "bot_users": window(settings.factors_days),
    }


def _known(
    graph: GraphBuilder,
    params: CandidateParams,
    engine: Engine,
    day: str,
    given: Mapping[str, Partitions],
    name: str,
) -> FitContext:
    """What a fitted generator learns from, of the partitions that its asset read."""
    of_days = {*_people(graph), "clean_events"}
    read = {asset: one.frame() if asset in of_days else one.frame().drop("dt") for asset, one in given.items()}
    bot_ids = read.pop("bot_users")
    return known_of(graph, params, engine, day, read, bot_ids, params.quotas[name].k)


def _made_with(known: FitContext) -> dict[str, Any]:
    """What the lineage records of a fit."""
    return {"k": known.k, "half_life": known.half_life, "repeats": known.repeats}


def _proposer(graph: GraphBuilder, name: str, made: Fitted, params: CandidateParams) -> dg.AssetsDefinition:
    """The asset of a fitted generator."""
    settings = graph.settings
    windows: Mapping[str, dg.PartitionMapping] = {**_people(graph), "clean_events": window(settings.covisit_days)}
    reads = {read: windows.get(read) for read in ("user_activity", "bot_users", "item_features", *made.reads)}

    def items(context: dg.AssetExecutionContext, frames: FrameWriter, **given: Partitions) -> Result:
        known = _known(graph, params, frames.run, context.partition_key, given, name)

        def proposed(_: str) -> Frame:
            found = frames.run.from_arrow(made.fit(known))
            return top_k(found, known.k, by=["user_id"], score="score", ties=["item_id"])

        return frames.write(
            context,
            f"{name}_items",
            proposed,
            gates=[dense_ranks("user_id")],
            params=_made_with(known),
            seed=settings.seed,
            metadata=given["user_activity"].facts,
        )

    items.__name__ = f"{name}_items"
    items.__doc__ = made.about
    return graph.asset(
        "retrieval",
        reads=reads,
        kinds=("parquet",),
        code_version=made.code_version,
        checks=("contract", "ranks_are_dense"),
    )(items)


def known_of(
    graph: GraphBuilder,
    params: CandidateParams,
    engine: Engine,
    day: str,
    frames: Mapping[str, Frame],
    bot_ids: Frame,
    k: int,
) -> FitContext:
    """What a fitted generator learns from at the end of a day: frames by asset, from which bots are left out here."""
    settings = graph.settings
    people = {
        name: bots.without(frame, bot_ids) if "user_id" in frame.collect_schema().names() else frame
        for name, frame in frames.items()
    }
    return FitContext(
        engine=engine,
        frames=people,
        as_of=graph.day(day),
        end=graph.end(day),
        active_days=settings.active_days,
        horizon_days=settings.horizon_days,
        half_life=settings.factors_half_life,
        repeats=params.repeats,
        exclude_unavailable=params.exclude_unavailable,
        k=k,
        seed=settings.seed,
    )
