"""The history of each user as of a day, which serving continues with what happened since."""

from __future__ import annotations

from datetime import date, datetime

import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.retrieval.generators import user_history

PURCHASE, INTERACTION = "purchase", "interaction"


def user_histories(
    user_activity: Frame,
    as_of: date,
    end: datetime,
    *,
    days: int,
    half_life_days: float,
    purchased_from: float,
    most: int | None,
) -> Frame:
    """The last items of each user, the newest first, and all that the user purchased (``USER_HISTORIES``).

    Args:
        user_activity: window of ``USER_ACTIVITY`` with ``dt``.
        as_of: D.
        end: the instant at which D ends.
        days: length of the window.
        half_life_days: days in which the weight of a day halves.
        purchased_from: least weight of an event that counts as a purchase.
        most: items of a user beside purchases; None for all.
    """
    history = user_history(user_activity, as_of, end, days, half_life_days).with_columns(
        __newest=-nw.col("hours_since"),
        source=nw.when(nw.col("top_weight") >= purchased_from).then(nw.lit(PURCHASE)).otherwise(nw.lit(INTERACTION)),
    )
    ranked = dense_rank(history, ["user_id"], "__newest", ["item_id"], name="__place")
    if most is not None:
        ranked = ranked.filter((nw.col("__place") <= most) | (nw.col("source") == PURCHASE))
    placed = dense_rank(ranked, ["user_id"], "__newest", ["item_id"])
    return placed.select("user_id", "item_id", "rank", score=nw.col("fresh_weight"), source="source")
