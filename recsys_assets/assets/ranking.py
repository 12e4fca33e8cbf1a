"""Group ranking: examples, tuned parameters, the ranker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_inputs, candidate_parameters, candidate_reads, history_days
from recsys_assets.assets.charts import bar_chart_metadata, search_metadata
from recsys_assets.core.activity import bots
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.window import disjoint_windows, targets_after
from recsys_assets.core.ranking import examples, model, tuning
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets.core.retrieval.labelled import labelled_candidates
from recsys_assets.core.tuning.study import content_of, study_name
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.search_results import reused_result, search_of
from recsys_assets.partitions import all_days, examples_lacking, how_to_make, window
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking
from recsys_assets.settings import Settings
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.partition_store import PartitionStore

Result = dg.MaterializeResult[Staged]

_TUNING = "4"
"""Version of the search: a change of it discards the studies of older ones."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Examples, parameters and ranker of a day."""
    settings = graph.settings
    horizon = settings.horizon_days
    # Labels of examples[E] lie in (E-h, E]. The ranker of D is evaluated on (D-h, D], so it is trained on E <= D-h;
    # `served_ranker`, which is not evaluated, on E <= D.
    past_windows = window(horizon * (settings.training_windows - 1) + 1, lag=horizon)
    base = model.RankerParams(seed=settings.seed)

    @graph.asset(
        "ranking",
        reads={"ranking_examples": past_windows},
        kinds=("json", "optuna"),
        checks=(),
        code_version=_TUNING,
        file="params.json",
    )
    def ranker_params(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> Result:
        """Parameters of the ranker, searched by Optuna on the training windows; reused for the rest of the period.

        Trials are trained on the older training windows and evaluated on the newest.
        """
        reused = reused_result(
            store.partitions(),
            "ranker_params",
            graph.day(context.partition_key),
            settings,
            tuning.RankerSearchResult.from_json,
            lambda result: bool(result.trials),
        )
        result = reused[0] if reused else search(context, settings, ranking_examples, tracking, base)
        return frames.write_bytes(
            context,
            result.to_json().encode(),
            params={"trials": settings.tuning_trials, "every_days": settings.tuning_every_days},
            seed=settings.seed,
            metadata={"reused_from": reused[1].day if reused else "searched today", **described_search(result)},
            inputs=[reused[1]] if reused else (),
        )

    @graph.asset(
        "ranking",
        reads={"ranking_examples": past_windows, "ranker_params": None},
        kinds=("catboost",),
        checks=(),
        file="model.cbm",
    )
    def ranker(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        ranker_params: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> Result:
        """A ranker of candidates: linear, linear with residual boosted by CatBoost, or trees only, as the search chose.

        An empty file where there are too few examples: then the fused generators are served.
        """
        params = stored_ranker_params(ranker_params, day := context.partition_key)
        lacks = told_lacking(context, settings, store.partitions(), [day])
        try:
            with tracking.failures(f"ranker {day}", {"partition": day}, but=NotEnoughExamples):
                trained = model.train(training_table(ranking_examples, horizon), params)
        except NotEnoughExamples as reason:
            return frames.write_bytes(context, b"", metadata={"trained": False, "why": str(reason), **lacks})
        return write_ranker(
            context,
            frames,
            trained,
            params,
            metadata={
                "trained": True,
                **lacks,
                "users_train": trained.users_train,
                "users_validation": trained.users_validation,
                "windows": ", ".join(disjoint_windows(ranking_examples.days, horizon)),
                "feature_importance": bar_chart_metadata("Feature importance, %", trained.feature_importance),
            },
        )

    return [_ranking_examples(graph), ranker_params, ranker]


def _ranking_examples(graph: GraphBuilder) -> dg.AssetsDefinition:
    """The labelled candidates of one horizon ago."""
    settings, horizon, params = graph.settings, graph.settings.horizon_days, candidate_parameters(graph)
    reads = candidate_reads(graph, params, lag=horizon)
    # As of D-h and, for the labels, up to D.
    reads["user_activity"] = window(history_days(params) + horizon) if params.repeats else all_days(settings)

    @graph.asset(
        "ranking",
        reads={**reads, "bot_users": window(settings.activity_days)},
        kinds=("parquet", settings.engine),
        code_version="2",
    )
    def ranking_examples(
        context: dg.AssetExecutionContext, bot_users: Partitions, frames: FrameWriter, **upstream: Partitions
    ) -> Result:
        """Candidates as of one horizon ago, with features, of the users who acted since, labelled by what they did.

        Made by the functions and from the state that would have served then. No positives are added, and bots are left
        out. Empty where that day has no fitted models yet.
        """
        cut = graph.day(context.partition_key) - timedelta(days=horizon)
        state = upstream.keys() - {"user_activity", "item_activity", "clean_events"}
        missing = ", ".join(sorted(name for name in state if not upstream[name].days))
        activity = bots.without(upstream["user_activity"].frame(), bot_users.frame())
        targets = frames.run.from_arrow(targets_after(activity, cut).collect(backend="polars").to_arrow())

        def labelled(_: str) -> Frame | Iterator[Frame]:
            if missing:
                return frames.empty(graph.contracts["ranking_examples"])
            as_of = cut.isoformat()
            inputs, weighted = candidate_inputs(upstream, frames, params, as_of)
            return labelled_candidates(frames.run, inputs, targets, cut, graph.end(as_of), weighted, graph.registry)

        return frames.write(
            context,
            labelled,
            params={"horizon_days": horizon, **asdict(params)},
            metadata={
                "as_of": cut.isoformat(),
                "missing_then": missing or "nothing",
                **upstream["user_activity"].facts,
            },
        )

    return ranking_examples


def stored_ranker_params(ranker_params: Partitions, day: str) -> model.RankerParams:
    """The parameters that rankers of a day are trained with.

    Raises:
        dagster.Failure: the day has none.
    """
    path = ranker_params.file(day)
    if path is None:
        raise dg.Failure(f"ranker_params has no partition {day} to train with", allow_retries=False)
    return tuning.RankerSearchResult.from_json(path.read_text()).best


def search(
    context: dg.AssetExecutionContext,
    settings: Settings,
    ranking_examples: Partitions,
    tracking: Tracking,
    base: model.RankerParams,
) -> tuning.RankerSearchResult:
    """Search the ranker's parameters for the day of a step; the base parameters where there are too few examples."""
    day = context.partition_key
    try:
        with tracking.failures(f"ranker_params {day}", {"partition": day}, but=NotEnoughExamples):
            rows = training_table(ranking_examples, settings.horizon_days)
            budget = (settings.tuning_trials, settings.tuning_seconds)
            parts = (content_of(rows), version("recsys-assets"), _TUNING, base, budget, settings.seed)
            name = study_name(f"ranker_params {day}", *parts)
            return tuning.tune(rows, day, search_of(settings, name, settings.tuning_trials, context.log.info), base)
    except NotEnoughExamples as reason:
        context.log.info(f"the defaults are kept: {reason}")
        return tuning.RankerSearchResult(base)


def described_search(result: tuning.RankerSearchResult) -> dict[str, Any]:
    """The metadata of a search result in the UI."""
    return {
        "params": asdict(result.best),
        "tuned_on": result.tuned_on or "not yet: the defaults",
        "evaluated_by": result.evaluated_by or "nobody",
        "trees_over_linear": "{:+.4f} [{:+.4f}, {:+.4f}]".format(*result.gain) if result.gain else "unknown",
        **search_metadata("NDCG@10", result.trials, {"kind": tuple(tuning.VARIED)}),
    }


def write_ranker(
    context: dg.AssetExecutionContext,
    frames: FrameWriter,
    trained: model.TrainedRanker,
    params: model.RankerParams,
    metadata: Mapping[str, Any],
    inputs: Sequence[Input] = (),
    recorded: Mapping[str, Any] | None = None,
) -> Result:
    """Stage a ranker as the partition of an asset; its parameters in the lineage allow to train it again.

    ``recorded`` is what the lineage states beside the parameters.
    """
    facts = {"kind": params.kind, "trees": trained.trees, "validation_ndcg": trained.validation_ndcg}
    return frames.write_bytes(
        context,
        trained.model,
        params={**asdict(params), **(recorded or {})},
        seed=params.seed,
        metadata={**facts, **metadata},
        inputs=inputs,
    )


def told_lacking(
    context: dg.AssetExecutionContext, settings: Settings, stored: PartitionStore, days: Sequence[str]
) -> dict[str, str]:
    """Metadata that names the past days whose examples some as-of days need and lack; a warning in the log says so."""
    first = next((day for day in stored.days("clean_events") if _has_rows(stored, day)), None)
    lacking = examples_lacking(settings, days, stored.days("ranking_examples"), first)
    if not lacking:
        return {}
    text = how_to_make(lacking, days)
    context.log.warning(text)
    return {"lacks": text}


def _has_rows(stored: PartitionStore, day: str) -> bool:
    events = stored.read_lineage("clean_events", day)
    return events is not None and events.rows > 0


def training_table(ranking_examples: Partitions, horizon: int) -> pa.Table:
    """The training rows of all windows that an asset reads, with the window's day as ``dt``."""
    return examples.collect_training_rows(ranking_examples.scan(disjoint_windows(ranking_examples.days, horizon)))
