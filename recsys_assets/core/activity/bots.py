"""Users of a day who act at rates that no person has.

Rates and not totals: a wholesaler's order of 300 lines is one moment, and a film lover may rate all evening. What tells
a program is a pace that nobody keeps up, far above what the day's users do, or acting at every hour of the day.
"""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.clock import wall_clock
from recsys_assets.core.engine import Frame

PACE, HOURS = "pace", "hours"
"""Why a user was flagged."""

_UNIT = float(2**20)  # As in exact_sum: the mean rate must not depend on the order of the users.


@dataclass(frozen=True)
class BotRule:
    """Who counts as a bot; every field can be stated in ``[bots]`` of the data set.

    A moment is a second in which a user acted, however often: orders of many lines and pages of ratings that are sent
    at once are one moment. The pace is moments per minute in which the user acted at all.

    Measured: of 38,000 user days of film ratings, gift orders and shop views, the fastest with 30 moments made 3 a
    minute, the longest was active in 9 hours. Where people click fast by nature (swiping), the typical pace is high,
    and ``times_typical`` lifts the bar.

    Args:
        enabled: False flags nobody.
        per_minute: a bot's pace is at least this, in moments per active minute; at most 60.
        times_typical: and at least so many times the mean pace of the day's users.
        moments: with fewer moments on the day a pace says nothing.
        hours: acting in at least so many different hours of one day is a bot whatever the pace.
    """

    enabled: bool = True
    per_minute: float = 10.0
    times_typical: float = 5.0
    moments: int = 30
    hours: int = 22


def bot_users(events: Frame, rule: BotRule) -> Frame:
    """The bots among the known users of one day (``BOT_USERS``).

    Args:
        events: clean events of one day.
        rule: see :class:`BotRule`.
    """
    known = events.filter(~nw.col("user_id").is_null() & nw.lit(rule.enabled))
    ts, second = wall_clock(nw.col("ts")), nw.col("second")
    clock = (ts.dt.hour().cast(nw.Int64) * 60 + ts.dt.minute().cast(nw.Int64)) * 60 + ts.dt.second().cast(nw.Int64)
    # A day has each time of the clock once, wherever it begins.
    timed = known.select("user_id", clock.alias("second")).with_columns(minute=second // 60, hour=second // 3600)
    users = timed.group_by("user_id").agg(
        nw.len().cast(nw.Int64).alias("events"),
        *(nw.col(unit).n_unique().cast(nw.Int64).alias(f"{unit}s") for unit in ("second", "minute", "hour")),
    )
    rated = users.rename({"seconds": "moments"}).with_columns(
        pace=nw.col("moments") / nw.col("minutes"), __all=nw.lit(1, dtype=nw.Int64)
    )
    units = (nw.col("pace") * _UNIT).round().cast(nw.Int64)
    typical = nw.col("__units").sum().over("__all") / nw.col("__all").sum().over("__all") / _UNIT
    evaluated = rated.with_columns(__units=units).with_columns(typical_pace=typical)
    fast = (
        (nw.col("moments") >= rule.moments)
        & (nw.col("pace") >= rule.per_minute)
        & (nw.col("pace") >= rule.times_typical * nw.col("typical_pace"))
    )
    reason = nw.when(fast).then(nw.lit(PACE)).otherwise(nw.lit(HOURS))
    return (
        evaluated.filter(fast | (nw.col("hours") >= rule.hours))
        .with_columns(reason=reason)
        .select("user_id", "reason", "pace", "typical_pace", "events", "moments", "minutes", "hours")
    )


def without(events: Frame, bots: Frame) -> Frame:
    """The rows of all but these users; rows of unknown users stay.

    Args:
        events: any frame with user_id.
        bots: ``BOT_USERS`` of the days that count, with or without ``dt``.
    """
    return events.join(bots.select("user_id").unique(), on="user_id", how="anti")
