"""What fitted generators and their searches learn from: the settings of the graph as a :class:`FitContext`."""

from collections.abc import Mapping

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.core.activity import bots
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.retrieval.protocol import CandidateParams, FitContext
from recsys_assets.partitions import window


def activity_windows(graph: GraphBuilder) -> dict[str, dg.PartitionMapping]:
    """The days of user activity, and of the bots in it, that a fitted generator learns from."""
    settings = graph.settings
    return {
        "user_activity": window(max(settings.factors_days, settings.active_days)),
        "bot_users": window(settings.factors_days),
    }


def fit_context(
    graph: GraphBuilder,
    params: CandidateParams,
    engine: Engine,
    day: str,
    frames: Mapping[str, Frame],
    bot_ids: Frame,
    k: int,
) -> FitContext:
    """The context of a fit at the end of a day.

    Args:
        graph: has the settings.
        params: rules of the candidates.
        engine: where the frames run.
        day: as-of day, ``YYYY-MM-DD``.
        frames: by asset; bots are left out of those with a ``user_id``.
        bot_ids: ``BOT_USERS`` of the window.
        k: candidates per user.
    """
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
        k=k,
        seed=settings.seed,
    )
