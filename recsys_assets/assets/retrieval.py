"""Group retrieval: lists for everybody, neighbours of items, factors."""

from dataclasses import asdict

import dagster as dg
import narwhals as nw
import pyarrow as pa

from recsys_assets.assets.activity import event_weights
from recsys_assets.assets.builder import OWNERS, GraphBuilder, backfill_policy, through_io_manager
from recsys_assets.assets.retrieval_params import factors_in_force, factors_parameters
from recsys_assets.checks.partition import dense_ranks, never_itself, not_empty
from recsys_assets.core.activity import bots
from recsys_assets.core.clock import last_days
from recsys_assets.core.models import als as factors
from recsys_assets.core.models import covisitation, popular, popular_windows
from recsys_assets.core.models import similar_items as similar
from recsys_assets.core.retrieval import generators
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.partitions import window

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Everything that proposes items, as of a day."""
    settings = graph.settings
    kinds = ("parquet", settings.engine)
    weights = event_weights(graph.dataset)
    stated = popular.PopularParams(
        days=settings.popular_days,
        trending_days=settings.trending_days,
        trending_half_life=settings.trending_half_life,
        k=settings.popular_k,
        exclude_unavailable=settings.exclude_unavailable,
    )
    how = popular_windows.WindowParams(horizon_days=settings.horizon_days, fewest=settings.min_evaluated_users)
    covisit_params = covisitation.CovisitParams(k=settings.similar_k)
    factors_base = factors_parameters(graph)

    @graph.asset(
        "retrieval",
        reads={
            "item_activity": window(max(how.activity_days, settings.popular_days, settings.trending_days)),
            "user_activity": window(how.target_days),
            "clean_events": window(how.hourly_days),
            "bot_users": window(max(how.hourly_days, how.target_days)),
            "item_features": None,
        },
        kinds=kinds,
        code_version="2",
        checks=("contract", "ranks_are_dense", "not_empty"),
    )
    def top_popular(
        context: dg.AssetExecutionContext,
        item_activity: Partitions,
        user_activity: Partitions,
        clean_events: Partitions,
        bot_users: Partitions,
        item_features: Partitions,
        frames: FrameWriter,
    ) -> Result:
        """The most popular items: of a window ('all'), of the last hours or days ('trending') and of each category."""
        day = context.partition_key
        of_day, items, features = graph.day(day), item_activity.frame(), item_features.frame()
        people, acts = (bots.without(one.frame(), bot_users.frame()) for one in (clean_events, user_activity))
        hours = popular.item_hours(people, weights, graph.end(day))
        params, metadata = stated, item_activity.facts
        if settings.popular_windows == "found":
            found = popular_windows.find_windows(items, hours, acts, features, of_day, stated, how)
            params, metadata = found.params, {**metadata, "windows": dg.MetadataValue.md(_said(found.scores))}
        return frames.write(
            context,
            "top_popular",
            lambda _: popular.top_popular(items, features, of_day, params, hours),
            gates=[dense_ranks("segment"), not_empty],
            params=asdict(params),
            metadata=metadata,
        )

    def user_and_item_factors(
        context: dg.AssetExecutionContext,
        user_activity: Partitions,
        bot_users: Partitions,
        retrieval_params: Partitions,
        frames: FrameWriter,
    ) -> tuple[Result, Result]:
        day = context.partition_key
        factors_params = factors_in_force(retrieval_params, day, factors_base)
        history = generators.user_history(
            bots.without(user_activity.frame(), bot_users.frame()),
            graph.day(day),
            graph.end(day),
            settings.factors_days,
            factors_params.half_life,
        )
        active = last_days(user_activity.frame(), graph.day(day), settings.active_days).select("user_id").unique()
        fitted = factors.fit_factors(
            frames.run, history.with_columns(weight=nw.col("fresh_weight")), factors_params, active
        )

        def write(asset: str, vectors: pa.Table) -> Result:
            return frames.write(
                context,
                asset,
                lambda _: vectors,
                params=asdict(factors_params),
                seed=settings.seed,
                metadata=user_activity.facts,
            )

        return write("user_factors", fitted.users), write("item_factors", fitted.items)

    through_io_manager(user_and_item_factors)
    factor_assets = dg.multi_asset(
        name="factors",
        outs={
            name: dg.AssetOut(
                group_name="retrieval",
                kinds={"parquet", "numpy"},
                owners=OWNERS,
                code_version="2",
                tags={"recsys/grain": "as_of"},
                automation_condition=graph.automation("as_of"),
                description=f"Latent factors of {who} by implicit ALS, fitted on the window.",
                metadata=graph.columns(graph.contracts[name]),
            )
            for name, who in (("user_factors", "recently active users"), ("item_factors", "items"))
        },
        ins={
            "user_activity": dg.AssetIn(partition_mapping=window(settings.factors_days)),
            "bot_users": dg.AssetIn(partition_mapping=window(settings.factors_days)),
            "retrieval_params": dg.AssetIn(),
        },
        partitions_def=graph.partitions,
        backfill_policy=backfill_policy("as_of"),
        pool="factors",
        check_specs=[spec for name in ("user_factors", "item_factors") for spec in graph.checks(name, ("contract",))],
    )(user_and_item_factors)

    @graph.asset(
        "retrieval",
        reads={"item_pairs": window(settings.covisit_days), "item_activity": window(settings.covisit_days)},
        kinds=kinds,
        checks=("contract", "ranks_are_dense", "never_itself"),
    )
    def covisited_items(
        context: dg.AssetExecutionContext, item_pairs: Partitions, item_activity: Partitions, frames: FrameWriter
    ) -> Result:
        """Neighbours of each item by co-visitation; never the item itself."""
        return frames.write(
            context,
            "covisited_items",
            lambda _: covisitation.covisit_in_parts(
                frames.run, item_pairs.frame(), item_activity.frame(), covisit_params
            ),
            gates=[dense_ranks("item_id"), never_itself],
            params=asdict(covisit_params),
            metadata=item_pairs.facts,
        )

    @graph.asset(
        "retrieval",
        reads={"target_pairs": window(settings.covisit_days), "item_activity": window(settings.covisit_days)},
        kinds=kinds,
        checks=("contract", "ranks_are_dense", "never_itself"),
    )
    def covisited_targets(
        context: dg.AssetExecutionContext, target_pairs: Partitions, item_activity: Partitions, frames: FrameWriter
    ) -> Result:
        """What sessions with each item went on to buy, and what was bought with it; never the item itself."""
        return frames.write(
            context,
            "covisited_targets",
            lambda _: covisitation.covisit_targets(target_pairs.frame(), item_activity.frame(), covisit_params),
            gates=[dense_ranks("item_id", "kind"), never_itself],
            params=asdict(covisit_params),
            metadata=target_pairs.facts,
        )

    @graph.asset(
        "retrieval",
        reads={"covisited_items": None, "item_factors": None},
        kinds=kinds,
        checks=("contract", "ranks_are_dense", "never_itself"),
    )
    def similar_items(
        context: dg.AssetExecutionContext, covisited_items: Partitions, item_factors: Partitions, frames: FrameWriter
    ) -> Result:
        """Neighbours of each item by co-visitation, by factors, and both fused; never the item itself."""
        vectors = item_factors.frame().drop("dt").sort("item_id").collect(backend="polars").to_arrow()
        by_factors = frames.run.from_arrow(factors.similar_by_factors(vectors, settings.similar_k))
        return frames.write(
            context,
            "similar_items",
            lambda _: similar.similar_in_parts(frames.run, covisited_items.frame(), by_factors, settings.similar_k),
            gates=[dense_ranks("item_id", "source"), never_itself],
            params={"k": settings.similar_k},
        )

    return [top_popular, factor_assets, covisited_items, covisited_targets, similar_items]


def _said(scores: pa.Table) -> str:
    """The windows that were judged, as a table in markdown."""
    lines = ["segment | window or half-life | recall of its lists | chosen", "--- | --- | --- | ---"]
    for row in scores.to_pylist():
        span = f"{row['days']:g} d" if row["days"] >= 1 else f"{row['days'] * 24:g} h"
        recall = "too few users" if row["recall"] is None else f"{row['recall']:.4f}"
        lines.append(f"{row['segment'].removesuffix(':')} | {span} | {recall} | {'✓' if row['chosen'] else ''}")
    return "\n".join(f"| {line} |" for line in lines)
