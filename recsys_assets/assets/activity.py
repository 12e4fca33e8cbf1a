"""Group activity: daily marts that merge by adding, so that a new day costs a new day."""

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.core.activity import marts
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.resources.frames import FrameWriter

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The marts of one day each."""
    types = graph.dataset.event_types
    weights = marts.EventWeights(
        {name: event.weight for name, event in types.items()},
        frozenset(name for name, event in types.items() if event.target),
    )
    weighed = {"weights": dict(weights.weights), "targets": sorted(weights.targets)}
    events: dict[str, dg.PartitionMapping | None] = {"clean_events": None}

    @graph.asset("activity", reads=events, grain="day")
    def user_activity(context: dg.AssetExecutionContext, clean_events: Partitions, frames: FrameWriter) -> Result:
        """What each known user did with each item on the day: events, targets, weight, deepest step."""
        return frames.write(
            context,
            "user_activity",
            lambda day: marts.user_activity(clean_events.frame(day), weights),
            params=weighed,
        )

    @graph.asset("activity", reads=events, grain="day")
    def item_activity(context: dg.AssetExecutionContext, clean_events: Partitions, frames: FrameWriter) -> Result:
        """What happened to each item on the day, unknown users included."""
        return frames.write(
            context,
            "item_activity",
            lambda day: marts.item_activity(clean_events.frame(day), weights),
            params=weighed,
        )

    @graph.asset("activity", reads=events, grain="day")
    def item_pairs(context: dg.AssetExecutionContext, clean_events: Partitions, frames: FrameWriter) -> Result:
        """Pairs of items that share a session of the day: the raw material of co-visitation."""
        return frames.write(context, "item_pairs", lambda day: marts.item_pairs(clean_events.frame(day)))

    return [user_activity, item_activity, item_pairs]
