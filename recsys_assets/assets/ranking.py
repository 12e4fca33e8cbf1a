"""Group ranking: examples, tuned parameters, the ranker."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from importlib.metadata import version
from typing import Any

import dagster as dg
import narwhals as nw
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.pictures import bars, search_shown
from recsys_assets.core.activity import bots
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.window import disjoint_windows, targets_after
from recsys_assets.core.ranking import examples, model, tuning
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets.core.tuning.study import content_of, study_name
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.model_registry.search_results import reused_result, search_of
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking
from recsys_assets.storage.lineage import Input

Result = dg.MaterializeResult[Staged]

_TUNING = "4"
"""Version of the code that searches: another one searches anew."""


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """How candidates are learned to be ordered, as of a day."""
    settings = graph.settings
    horizon = settings.horizon_days
    label_window = window(horizon)
    one_horizon_ago = window(1, lag=horizon)
    # Labels of examples[E] lie in (E-h, E]. The ranker of D is judged on (D-h, D], so it learns from E <= D-h;
    # `served_ranker`, which nobody judges, from E <= D.
    past_windows = window(horizon * (settings.training_windows - 1) + 1, lag=horizon)
    base = model.RankerParams(seed=settings.seed)

    @graph.asset(
        "ranking",
        reads={
            "candidates": one_horizon_ago,
            "user_activity": label_window,
            "bot_users": window(settings.activity_days),
        },
        kinds=("parquet", settings.engine),
    )
    def ranking_examples(
        context: dg.AssetExecutionContext,
        candidates: Partitions,
        user_activity: Partitions,
        bot_users: Partitions,
        frames: FrameWriter,
    ) -> Result:
        """Candidates of one horizon ago of the users who acted since, labelled with what they acted on.

        Nothing is injected, and bots are left out. Empty where that day has no candidates yet.
        """

        def labelled(day: str) -> Frame:
            if candidates.latest is None:
                return frames.empty(graph.contracts["ranking_examples"])
            cut = graph.day(day) - timedelta(days=horizon)
            return examples.label(
                candidates.frame().drop("dt"),
                targets_after(bots.without(user_activity.frame(), bot_users.frame()), cut),
            )

        return frames.write(
            context, "ranking_examples", labelled, params={"horizon_days": horizon}, metadata=candidates.facts
        )

    @graph.asset(
        "ranking", reads={"ranking_examples": past_windows}, kinds=("json", "optuna"), checks=(), code_version=_TUNING
    )
    def ranker_params(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> Result:
        """Parameters of the ranker, searched by Optuna on the training windows alone; in between, carried forward.

        The newest training window judges what was learned from the older ones.
        """
        day = context.partition_key
        kept = reused_result(
            store.open(),
            "ranker_params",
            graph.day(day),
            settings,
            tuning.Tuning.from_json,
            lambda one: bool(one.trials),
        )
        found = kept[0] if kept else searched(context, ranking_examples, tracking)
        return frames.write_bytes(
            context,
            "ranker_params",
            found.to_json().encode(),
            params={"trials": settings.tuning_trials, "every_days": settings.tuning_every_days},
            seed=settings.seed,
            metadata={
                "params": asdict(found.best),
                "tuned_on": found.tuned_on or "not yet: the defaults",
                "carried_from": kept[1].day if kept else "searched today",
                "evaluated_by": found.evaluated_by or "nobody",
                "trees_over_linear": "{:+.4f} [{:+.4f}, {:+.4f}]".format(*found.gain) if found.gain else "unknown",
                **search_shown("NDCG@10", found.trials, {"kind": tuple(tuning.VARIED)}),
            },
            inputs=[kept[1]] if kept else (),
        )

    def searched(context: dg.AssetExecutionContext, ranking_examples: Partitions, tracking: Tracking) -> tuning.Tuning:
        day = context.partition_key
        try:
            with tracking.failures(f"ranker_params {day}", {"partition": day}, but=NotEnoughExamples):
                rows = training_table(ranking_examples, horizon)
                budget = (settings.tuning_trials, settings.tuning_seconds)
                name = study_name(
                    f"ranker_params {day}",
                    content_of(rows),
                    version("recsys-assets"),
                    _TUNING,
                    base,
                    budget,
                    settings.seed,
                )
                search = search_of(settings, name, settings.tuning_trials, context.log.info)
                return tuning.tune(rows, day, search, base)
        except NotEnoughExamples as reason:
            context.log.info(f"the defaults are kept: {reason}")
            return tuning.Tuning(base)

    @graph.asset(
        "ranking",
        reads={"ranking_examples": past_windows, "ranker_params": None},
        kinds=("catboost",),
        checks=(),
    )
    def ranker(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        ranker_params: Partitions,
        frames: FrameWriter,
        tracking: dg.ResourceParam[Tracking],
    ) -> Result:
        """A ranker of candidates: linear, corrected by CatBoost's trees, or trees alone, as the search found.

        An empty file where there is too little to learn from: then the fused generators are served.
        """
        day = context.partition_key
        path = ranker_params.file(day)
        if path is None:
            raise dg.Failure(f"ranker_params has no partition {day} to train with", allow_retries=False)
        params = tuning.Tuning.from_json(path.read_text()).best
        try:
            with tracking.failures(f"ranker {day}", {"partition": day}, but=NotEnoughExamples):
                trained = model.train(training_table(ranking_examples, horizon), params)
        except NotEnoughExamples as reason:
            told = {"trained": False, "why": str(reason)}
            return frames.write_bytes(context, "ranker", b"", metadata=told)
        importance = dict(sorted(trained.feature_importance.items(), key=lambda item: -item[1]))
        return write_ranker(
            context,
            frames,
            "ranker",
            trained,
            params,
            metadata={
                "trained": True,
                "users_train": trained.users_train,
                "users_validation": trained.users_validation,
                "windows": ", ".join(disjoint_windows(ranking_examples.days, horizon)),
                "feature_importance": bars("Feature importance, %", importance),
            },
        )

    return [ranking_examples, ranker_params, ranker]


def write_ranker(
    context: dg.AssetExecutionContext,
    frames: FrameWriter,
    asset: str,
    trained: model.TrainedRanker,
    params: model.RankerParams,
    metadata: Mapping[str, Any],
    inputs: Sequence[Input] = (),
) -> Result:
    """Stage a ranker as the partition of an asset, with what it was trained with, from which it can be learned anew."""
    facts = {"kind": params.kind, "trees": trained.trees, "validation_ndcg": trained.validation_ndcg}
    return frames.write_bytes(
        context,
        asset,
        trained.model,
        params=asdict(params),
        seed=params.seed,
        metadata={**facts, **metadata},
        inputs=inputs,
    )


def training_table(ranking_examples: Partitions, horizon: int) -> pa.Table:
    """The rows that are learned from, of all windows that an asset reads, with the window's day as ``dt``."""
    return learnable(ranking_examples.scan(disjoint_windows(ranking_examples.days, horizon)))


def learnable(frame: Frame) -> pa.Table:
    """The rows of some windows' examples from which a model learns, sorted."""
    rows = examples.training_rows(frame)
    # Counted by a query of its own, which reads three columns of sixty and takes about a tenth of the time. A count
    # within the one that reads is no faster, and holds rows that are then left out.
    spread = -(-rows.select(nw.len()).collect(backend="polars").item() // _MOST_ROWS)
    if spread > 1:
        rows = examples.training_rows(frame, negatives=_HARD, spread=spread)
    return rows.sort("dt", "user_id", "item_id").collect(backend="polars").to_arrow()


_MOST_ROWS, _HARD = 2_000_000, 20
"""Rows to learn from, about: they take a gigabyte or two while a ranker is fitted. Where there are more, so many of a
user's best negatives by fused rank stay, and of the others every second, third, …"""
