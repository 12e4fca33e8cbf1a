"""Group activity: daily marts that merge by adding, so that a new day costs a new day."""

from dataclasses import asdict

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.core.activity import bots, marts
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Frame
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged

Result = dg.MaterializeResult[Staged]


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """The daily marts."""
    weights = event_weights(graph.dataset)
    weight_params = {"weights": dict(weights.weights), "targets": sorted(weights.targets)}
    events: dict[str, dg.PartitionMapping | None] = {"clean_events": None}
    by_people: dict[str, dg.PartitionMapping | None] = {**events, "bot_users": None}
    rule = bots.BotRule(**graph.dataset.bots.model_dump())

    @graph.asset("activity", reads=events, grain="day")
    def bot_users(context: dg.AssetExecutionContext, clean_events: Partitions, frames: FrameWriter) -> Result:
        """Users of the day who act at rates that no person has. They are served; nothing is learned from them."""
        return frames.write(context, lambda day: bots.bot_users(clean_events.frame(day), rule), params=asdict(rule))

    @graph.asset("activity", reads=events, grain="day")
    def user_activity(context: dg.AssetExecutionContext, clean_events: Partitions, frames: FrameWriter) -> Result:
        """What each known user did with each item on the day: events, targets, weight, deepest step."""
        return frames.write(
            context,
            lambda day: marts.user_activity(clean_events.frame(day), weights),
            params=weight_params,
        )

    @graph.asset("activity", reads=by_people, grain="day")
    def item_activity(
        context: dg.AssetExecutionContext, clean_events: Partitions, bot_users: Partitions, frames: FrameWriter
    ) -> Result:
        """What happened to each item on the day, unknown users included, bots left out."""
        return frames.write(
            context,
            lambda day: marts.item_activity(events_of_people(clean_events, bot_users, day), weights),
            params=weight_params,
        )

    @graph.asset("activity", reads=by_people, grain="day")
    def item_pairs(
        context: dg.AssetExecutionContext, clean_events: Partitions, bot_users: Partitions, frames: FrameWriter
    ) -> Result:
        """Pairs of items that share a session of the day: the raw material of co-visitation; bots left out."""
        return frames.write(
            context,
            lambda day: marts.item_pairs(events_of_people(clean_events, bot_users, day), persist=frames.run.persist),
        )

    return [bot_users, user_activity, item_activity, item_pairs]


def event_weights(dataset: Dataset) -> marts.EventWeights:
    """The weights of the data set's event types, and which of them are targets."""
    types = dataset.event_types
    return marts.EventWeights(
        {name: event.weight for name, event in types.items()},
        frozenset(name for name, event in types.items() if event.target),
    )


def events_of_people(clean_events: Partitions, bot_users: Partitions, day: str) -> Frame:
    """The events of a day without those of its bots."""
    return bots.without(clean_events.frame(day), bot_users.frame(day))
