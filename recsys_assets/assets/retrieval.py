"""Group retrieval: lists for everybody, neighbours of items, factors."""

from dataclasses import asdict
from typing import Any

import dagster as dg
import narwhals as nw

from recsys_assets.assets.activity import event_weights
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.retrieval_params import factors_parameters, stored_params
from recsys_assets.checks.partition import dense_ranks, never_itself, not_empty
from recsys_assets.core.activity import bots
from recsys_assets.core.models import als, covisitation, popular, popular_windows
from recsys_assets.core.models import similar_items as similar
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.params import factors_in_force
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.partitions import all_days, window

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Lists for everybody, neighbours of items and latent factors, as of a day."""
    return [_top_popular(graph), _item_factors(graph), _covisited_items(graph), _similar_items(graph)]


def _top_popular(graph: GraphBuilder) -> dg.AssetsDefinition:
    settings = graph.settings
    weights = event_weights(graph.dataset)
    stated = popular.PopularParams(
        days=settings.popular_days,
        trending_days=settings.trending_days,
        trending_half_life=settings.trending_half_life,
        k=settings.popular_k,
        exclude_unavailable=settings.exclude_unavailable,
    )
    search = popular_windows.WindowParams(horizon_days=settings.horizon_days, fewest=settings.min_evaluated_users)
    found = settings.popular_windows == "found"
    hourly = window(search.hourly_days if found else popular.HOURLY_DAYS)

    @graph.asset(
        "retrieval",
        reads={
            "item_activity": all_days(settings)
            if found
            else window(max(settings.popular_days, settings.trending_days)),
            "user_activity": window(search.target_days),
            "clean_events": hourly,
            "bot_users": window(search.hourly_days),
            "item_features": None,
        },
        kinds=("parquet", settings.engine),
        code_version="4",
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
        """The most popular items: of a window ('all'), of the last hours or days ('trending') and of each category.

        Users who are not known get 'all' or 'trending', whichever served earlier days better (`is_fallback`).
        """
        day = graph.day(context.partition_key)
        items, features, bot_ids = item_activity.frame(), item_features.frame(), bot_users.frame()
        recent = clean_events.frame(*(date.isoformat() for date in search.hourly_dates(day)))
        hours = popular.item_hours(bots.without(recent, bot_ids), weights, graph.end(context.partition_key))
        params, metadata = stated, item_activity.facts
        if found:
            acts = bots.without(user_activity.frame(), bot_ids)
            windows = popular_windows.find_windows(items, hours, acts, features, day, stated, search)
            params, metadata = windows.params, {**metadata, **_described(windows)}
        return frames.write(
            context,
            lambda _: popular.top_popular(items, features, day, params, hours),
            partition_checks=[dense_ranks("segment"), not_empty],
            params=asdict(params),
            metadata=metadata,
        )

    return top_popular


def _described(windows: popular_windows.Windows) -> dict[str, Any]:
    """The metadata of the windows of a day in the UI."""
    return {
        "windows": dg.MetadataValue.md(windows.markdown()),
        "at_the_end_of_the_ladder": ", ".join(windows.at_the_end) or "none",
        "fallback": windows.params.fallback,
    }


def _item_factors(graph: GraphBuilder) -> dg.AssetsDefinition:
    settings = graph.settings
    base = factors_parameters(graph)
    days = window(settings.factors_days)

    @graph.asset(
        "retrieval",
        reads={"user_activity": days, "bot_users": days, "retrieval_params": None},
        kinds=("parquet", "numpy"),
        code_version="3",
    )
    def item_factors(
        context: dg.AssetExecutionContext,
        user_activity: Partitions,
        bot_users: Partitions,
        retrieval_params: Partitions,
        frames: FrameWriter,
    ) -> Result:
        """Vectors of items by implicit ALS, onto which any history is folded."""
        day = context.partition_key
        params = factors_in_force(stored_params(retrieval_params, day), base)
        activity = bots.without(user_activity.frame(), bot_users.frame())
        history = generators.user_history(
            activity, graph.day(day), graph.end(day), settings.factors_days, params.half_life
        ).with_columns(weight=nw.col("fresh_weight"))
        return frames.write(
            context,
            lambda _: als.fit_factors(frames.run, history, params),
            params=asdict(params),
            seed=settings.seed,
            metadata=user_activity.facts,
        )

    return item_factors


def _covisited_items(graph: GraphBuilder) -> dg.AssetsDefinition:
    settings = graph.settings
    params = covisitation.CovisitParams(k=settings.similar_k)
    days = window(settings.covisit_days)

    @graph.asset(
        "retrieval",
        reads={"item_pairs": days, "item_activity": days},
        kinds=("parquet", settings.engine),
        checks=("contract", "ranks_are_dense", "never_itself"),
    )
    def covisited_items(
        context: dg.AssetExecutionContext, item_pairs: Partitions, item_activity: Partitions, frames: FrameWriter
    ) -> Result:
        """Neighbours of each item by co-visitation; never the item itself."""
        return frames.write(
            context,
            lambda _: covisitation.covisit_in_parts(frames.run, item_pairs.frame(), item_activity.frame(), params),
            partition_checks=[dense_ranks("item_id"), never_itself],
            params=asdict(params),
            metadata=item_pairs.facts,
        )

    return covisited_items


def _similar_items(graph: GraphBuilder) -> dg.AssetsDefinition:
    k = graph.settings.similar_k

    @graph.asset(
        "retrieval",
        reads={"covisited_items": None, "item_factors": None},
        kinds=("parquet", graph.settings.engine),
        code_version="3",
        checks=("contract", "ranks_are_dense", "never_itself"),
    )
    def similar_items(
        context: dg.AssetExecutionContext, covisited_items: Partitions, item_factors: Partitions, frames: FrameWriter
    ) -> Result:
        """Neighbours of each item by co-visitation, by factors, and both fused; never the item itself."""
        vectors = item_factors.frame().drop("dt").sort("item_id").collect(backend="polars").to_arrow()
        by_factors = frames.run.from_arrow(als.similar_by_factors(vectors, k))
        return frames.write(
            context,
            lambda _: similar.similar_in_parts(frames.run, covisited_items.frame(), by_factors, k),
            partition_checks=[dense_ranks("item_id", "source"), never_itself],
            params={"k": k},
        )

    return similar_items
