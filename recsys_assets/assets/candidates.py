"""Group retrieval, its end: the union of all generators for each active user."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import narwhals as nw

from recsys_assets.assets import models, retrieval_params
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import not_empty
from recsys_assets.core.contracts import CLEAN_EVENTS
from recsys_assets.core.engine import Frame
from recsys_assets.core.models.session_model import SessionModel, from_bytes
from recsys_assets.core.retrieval.candidates import candidates as candidates_of
from recsys_assets.core.retrieval.candidates import split_inputs
from recsys_assets.core.retrieval.params import weights_in_force
from recsys_assets.core.retrieval.protocol import (
    CandidateInputs,
    CandidateParams,
    FeatureInputs,
    active_users,
)
from recsys_assets.core.retrieval.selection import quotas_of, select_generators
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import all_days, window

if TYPE_CHECKING:  # SciPy takes half a second, which loading the graph must not cost
    from recsys_assets.core.models.cf_ensemble import CfEnsemble

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The parameters and models that candidates are found by, and the candidates."""
    params = candidate_parameters(graph)
    names = [name for name in graph.registry.fitted if name in params.quotas]
    fits = [
        *([models.session_model(graph)] if "sessions" in params.quotas else []),
        *([models.cf_ensemble(graph, params)] if "cf_ensemble" in params.quotas else []),
    ]
    return [
        *retrieval_params.build(graph, params),
        *fits,
        *(models.fitted_model(graph, name, params) for name in names),
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
        factors_days=settings.factors_days,
        factors_half_life=settings.factors_half_life,
        als=retrieval_params.factors_parameters(graph),
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
        *("top_popular", "covisited_items", "item_factors"),
        *(f"{name}_model" for name in graph.registry.fitted if name in params.quotas),
        *(["session_model"] if sessions else []),
        "retrieval_params",
    ]
    return {
        **feature_reads(graph, params, lag),
        "user_activity": activity_read(graph, params, lag),
        **({"clean_events": window(graph.settings.covisit_days, lag)} if sessions else {}),
        **dict.fromkeys(same_day, window(1, lag) if lag else None),
    }


def feature_reads(graph: GraphBuilder, params: CandidateParams, lag: int = 0) -> dict[str, dg.PartitionMapping | None]:
    """The partitions that features as of the day ``lag`` days before D are made from."""
    same_day = ["item_features", *(["cf_ensemble"] if "cf_ensemble" in params.quotas else [])]
    return {
        "user_activity": window(history_days(params), lag),
        "item_activity": window(max(params.popular_days, params.trending_days), lag),
        **dict.fromkeys(same_day, window(1, lag) if lag else None),
    }


def activity_read(graph: GraphBuilder, params: CandidateParams, lag: int = 0) -> dg.PartitionMapping:
    """The days of user activity that candidates are made from; all of them where repeats are off."""
    return window(history_days(params), lag) if params.repeats else all_days(graph.settings, lag)


def history_days(params: CandidateParams) -> int:
    """Days of user activity that candidates and features are made from."""
    return max(params.activity_days, params.active_days, params.factors_days if "cf_ensemble" in params.quotas else 0)


def candidate_inputs(
    upstream: Mapping[str, Partitions], frames: FrameWriter, params: CandidateParams, day: str
) -> tuple[CandidateInputs, CandidateParams]:
    """The frames of :func:`candidate_reads` as of a day, and the parameters with the weights of that day."""
    weighted = weights_in_force(stored_params(upstream["retrieval_params"], day), params)
    of_features = feature_inputs(upstream, day)
    inputs = CandidateInputs(
        # A reader of an earlier day has the days after it too, for labels.
        user_activity=of_features.user_activity.filter(nw.col("dt") <= date.fromisoformat(day)),
        item_activity=of_features.item_activity,
        item_features=of_features.item_features,
        top_popular=_of_day(upstream["top_popular"]),
        covisited_items=_of_day(upstream["covisited_items"]),
        item_factors=_of_day(upstream["item_factors"]),
        cf_ensemble=of_features.cf_ensemble,
        clicks=upstream["clean_events"].frame() if "clean_events" in upstream else frames.empty(CLEAN_EVENTS),
        session_model=_stored_session_model(upstream.get("session_model"), day),
        fitted_models={
            name: _stored_model(upstream[f"{name}_model"], day) for name in params.quotas if f"{name}_model" in upstream
        },
    )
    return inputs, weighted


def feature_inputs(upstream: Mapping[str, Partitions], day: str) -> FeatureInputs:
    """What :func:`feature_reads` reads, as of a day."""
    return FeatureInputs(
        user_activity=upstream["user_activity"].frame(),
        item_activity=upstream["item_activity"].frame(),
        item_features=_of_day(upstream["item_features"]),
        cf_ensemble=_stored_cf_ensemble(upstream.get("cf_ensemble"), day),
    )


def _stored_cf_ensemble(partitions: Partitions | None, day: str) -> "CfEnsemble | None":
    path = partitions.file(day) if partitions else None
    if path is None:
        return None
    from recsys_assets.core.models.cf_ensemble import CfEnsemble

    return CfEnsemble.from_bytes(path.read_bytes())


def _stored_session_model(partitions: Partitions | None, day: str) -> SessionModel | None:
    path = partitions.file(day) if partitions else None
    return from_bytes(path.read_bytes()) if path else None


def _stored_model(partitions: Partitions, day: str) -> bytes:
    """The state of a fitted generator.

    Raises:
        dagster.Failure: the day has none.
    """
    path = partitions.file(day)
    if path is None:
        raise dg.Failure(f"{partitions.asset} has no partition {day}: materialize it first", allow_retries=False)
    return path.read_bytes()


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
