"""Detect bots: users of a day who act at rates that no person has.

The rule uses rates and not totals: a wholesaler's order of 300 lines is one moment, and a film lover may rate all
evening. A bot has a pace that no person sustains, far above that of the day's users, or acts at every hour of the day.
"""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.clock import wall_clock
from recsys_assets.core.engine import Frame

PACE, HOURS = "pace", "hours"
"""The reasons for which users are flagged."""

_UNIT = float(2**20)  # As in exact_sum: the mean rate must not depend on the order of the users.


@dataclass(frozen=True)
class BotRule:
    """The rule by which users count as bots; every field can be set in ``[bots]`` of the data set.

    A moment is a second in which a user acted, however often: an order of many lines or a page of ratings that is sent
    at once is one moment. The pace is the number of moments per minute in which the user acted at all.

    Measured on 38,000 user days of film ratings, gift orders and shop views: the fastest user with 30 moments made 3
    per minute, and no user was active in more than 9 hours. In applications with fast clicks (swiping), the typical
    pace is high, and ``times_typical`` raises the threshold.

    Args:
        enabled: if False, no user is flagged.
        per_minute: minimum pace of a bot in moments per active minute; at most 60.
        times_typical: minimum pace of a bot as a multiple of the mean pace of the day's users.
        moments: minimum number of moments on the day for a pace to count.
        hours: users who act in at least this many hours of a day are bots whatever their pace.
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
    identified = events.filter(~nw.col("user_id").is_null() & nw.lit(rule.enabled))
    ts, second = wall_clock(nw.col("ts")), nw.col("second")
    clock = (ts.dt.hour().cast(nw.Int64) * 60 + ts.dt.minute().cast(nw.Int64)) * 60 + ts.dt.second().cast(nw.Int64)
    # A day contains each time of the clock once, whatever the hour at which it begins.
    timed = identified.select("user_id", clock.alias("second")).with_columns(minute=second // 60, hour=second // 3600)
    users = timed.group_by("user_id").agg(
        nw.len().cast(nw.Int64).alias("events"),
        *(nw.col(unit).n_unique().cast(nw.Int64).alias(f"{unit}s") for unit in ("second", "minute", "hour")),
    )
    rated = users.rename({"seconds": "moments"}).with_columns(
        pace=nw.col("moments") / nw.col("minutes"), __all=nw.lit(1, dtype=nw.Int64)
    )
    units = (nw.col("pace") * _UNIT).round().cast(nw.Int64)
    typical = nw.col("__units").sum().over("__all") / nw.col("__all").sum().over("__all") / _UNIT
    compared = rated.with_columns(__units=units).with_columns(typical_pace=typical)
    fast = (
        (nw.col("moments") >= rule.moments)
        & (nw.col("pace") >= rule.per_minute)
        & (nw.col("pace") >= rule.times_typical * nw.col("typical_pace"))
    )
    reason = nw.when(fast).then(nw.lit(PACE)).otherwise(nw.lit(HOURS))
    return (
        compared.filter(fast | (nw.col("hours") >= rule.hours))
        .with_columns(reason=reason)
        .select("user_id", "reason", "pace", "typical_pace", "events", "moments", "minutes", "hours")
    )


def without(events: Frame, bots: Frame) -> Frame:
    """The rows of all other users; rows of unknown users are kept.

    Args:
        events: any frame with user_id.
        bots: ``BOT_USERS`` of the relevant days, with or without ``dt``.
    """
    return events.join(bots.select("user_id").unique(), on="user_id", how="anti")
