"""Daily aggregates of clean events that merge by adding, so that a new day costs a new day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.engine import Frame, Persist, unchanged
from recsys_assets.core.frames import exact_sum, running_total, total


@dataclass(frozen=True)
class EventWeights:
    """The weights of event types.

    Args:
        weights: event type to weight, 0 or more; a type that is not named has weight 0.
        targets: the event types that the recommender should bring about.
    """

    weights: Mapping[str, float]
    targets: frozenset[str]

    def weight(self) -> nw.Expr:
        """The weight of each event, as float64."""
        chain = nw.lit(0.0)
        for event_type, weight in sorted(self.weights.items()):
            chain = nw.when(nw.col("event_type") == event_type).then(nw.lit(float(weight))).otherwise(chain)
        return chain

    def target(self) -> nw.Expr:
        """1 for a target event, else 0, as int64."""
        return nw.col("event_type").is_in(sorted(self.targets)).cast(nw.Int64)


def user_activity(events: Frame, weights: EventWeights) -> Frame:
    """Interactions of each known user with each item on one day (``USER_ACTIVITY``).

    Args:
        events: clean events of one day; rows without a user are left out.
        weights: of event types.
    """
    identified = events.filter(~nw.col("user_id").is_null())
    return _weighted(identified, weights).group_by("user_id", "item_id").agg(*_counts(), _deepest(), _last())


def item_activity(events: Frame, weights: EventWeights) -> Frame:
    """Interactions with each item on one day (``ITEM_ACTIVITY``); events without a user count as events only."""
    by_session = _weighted(events, weights).group_by("item_id", "user_id", "session_id").agg(*_counts(), _last())
    by_user = by_session.group_by("item_id", "user_id").agg(
        *_sums(), nw.col("session_id").count().cast(nw.Int64).alias("sessions"), _last("last_ts")
    )
    return by_user.group_by("item_id").agg(
        *_sums(),
        nw.col("user_id").count().cast(nw.Int64).alias("users"),
        total(nw.col("sessions")),
        _last("last_ts"),
    )


def item_pairs(events: Frame, max_items_per_session: int = 50, persist: Persist = unchanged) -> Frame:
    """Pairs of items that co-occur in a session of one day (``ITEM_PAIRS``).

    Only the ``max_items_per_session`` distinct items of a session with the most recent interactions count, because the
    number of pairs grows with the square, and a session of thousands of items is a bot's. A session of n items adds
    1/log2(1 + n) to the weight of each of its pairs.

    Args:
        events: clean events of one day.
        max_items_per_session: see above.
        persist: the engine's way to keep a frame that is used several times.
    """
    baskets = persist(_baskets(_in_sessions(events), max_items_per_session).select(*_SESSION, "item_id", "__share"))
    other = baskets.select(*_SESSION, nw.col("item_id").alias("other_item_id"))
    return (
        baskets.join(other, on=_SESSION, how="inner")
        .filter(nw.col("item_id") < nw.col("other_item_id"))
        .group_by("item_id", "other_item_id")
        .agg(nw.len().cast(nw.Int64).alias("sessions"), exact_sum(nw.col("__share")).alias("weight"))
    )


_SESSION = ["user_id", "session_id"]


def _in_sessions(events: Frame) -> Frame:
    return events.filter(~nw.col("user_id").is_null() & ~nw.col("session_id").is_null())


def _baskets(events: Frame, max_items: int) -> Frame:
    """The last distinct items of each session with several, with ``__share``."""
    # Most sessions have one item and no pair: they are dropped before anything is sorted.
    ends = events.group_by(*_SESSION).agg(__first=nw.col("item_id").min(), __last=nw.col("item_id").max())
    several = ends.filter(nw.col("__first") < nw.col("__last")).select(*_SESSION)
    sized = (
        events.join(several, on=_SESSION, how="semi")
        .group_by(*_SESSION, "item_id")
        .agg(nw.col("ts").max())
        .with_columns(__one=nw.lit(1, dtype=nw.Int64))
        .with_columns(__n=nw.col("__one").sum().over(*_SESSION).cast(nw.Int64))
    )
    # Counted from the oldest item, the most recent ones are the last max_items places.
    placed = sized.with_columns(__place=running_total(nw.col("__one"), _SESSION, ["ts", "item_id"])).filter(
        nw.col("__place") > nw.col("__n") - max_items
    )
    size = nw.when(nw.col("__n") > max_items).then(nw.lit(max_items)).otherwise(nw.col("__n"))
    return placed.with_columns(__share=1.0 / (size + 1).cast(nw.Float64).log(2))


def _weighted(events: Frame, weights: EventWeights) -> Frame:
    return events.with_columns(weight=weights.weight(), targets=weights.target())


def _counts() -> tuple[nw.Expr, ...]:
    return (
        nw.len().cast(nw.Int64).alias("events"),
        total(nw.col("targets")),
        exact_sum(nw.col("weight")).alias("weight"),
    )


def _sums() -> tuple[nw.Expr, ...]:
    return total(nw.col("events")), total(nw.col("targets")), exact_sum(nw.col("weight")).alias("weight")


def _deepest() -> nw.Expr:
    return nw.col("weight").max().alias("top_weight")


def _last(column: str = "ts") -> nw.Expr:
    return nw.col(column).max().alias("last_ts")
