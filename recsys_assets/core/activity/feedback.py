"""Attribution: which impression an event follows from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import narwhals as nw

from recsys_assets.core.clock import epoch_micros
from recsys_assets.core.contracts import ATTRIBUTION
from recsys_assets.core.dataset import IMPRESSION
from recsys_assets.core.engine import Frame

BY_ANSWER, BY_LAST_TOUCH = "recommendation_id", "last_touch"

_EVENT = ["source_file", "source_row"]
_IMPRESSION = ["impression_file", "impression_row"]
_OF_ANSWER = ["recommendation_id", "release_id", "placement", "position", "source"]


@dataclass(frozen=True)
class AttributionParams:
    """Parameters of the attribution.

    Args:
        hours: an event follows from an impression that is less than so many hours older.
        targets: the event types that recommendations should cause.
    """

    hours: int
    targets: Collection[str]

    @property
    def days(self) -> int:
        """See :func:`days_reached`."""
        return days_reached(self.hours)


def days_reached(hours: int) -> int:
    """Days before that of an event in which an impression less than so many hours older may lie."""
    return -(-hours // 24)


def attribute(events: Frame, answers: Frame, shown: Frame, params: AttributionParams) -> Frame:
    """The events of one day by users to whom something was shown shortly before, and the impression of each.

    An event goes to the last impression of its user and item that is not later than the event and less than
    ``params.hours`` older. If the event names the answer that it follows from, only impressions of that answer count.
    So an event has one impression at most, and no later impression or event changes it.

    Args:
        events: ``CLEAN_EVENTS`` of the day; those without a user are left out.
        answers: the events that name an answer: source_file, source_row, recommendation_id.
        shown: ``IMPRESSIONS`` of the day and of the ``params.days`` before it; dislikes are left out.
        params: see :class:`AttributionParams`.

    Returns:
        ``ATTRIBUTION``; events whose item was not shown have no impression.
    """
    window = params.hours * 3_600_000_000
    impressions = shown.filter(nw.col("event_type") == IMPRESSION).select(
        "user_id",
        "item_id",
        *_OF_ANSWER,
        nw.col("ts").alias("shown_at"),
        epoch_micros(nw.col("ts")).alias("__shown"),
        nw.col("source_file").alias("impression_file"),
        nw.col("source_row").alias("impression_row"),
    )
    happened = (
        events.filter(~nw.col("user_id").is_null())
        .select("user_id", "item_id", "event_type", "ts", *_EVENT, epoch_micros(nw.col("ts")).alias("__us"))
        .join(answers.rename({"recommendation_id": "__answer"}), on=_EVENT, how="left")
    )
    found = (
        happened.select("user_id", "item_id", *_EVENT, "__us", "__answer")
        .join(impressions, on=["user_id", "item_id"], how="inner")
        .filter((nw.col("__shown") <= nw.col("__us")) & (nw.col("__us") - nw.col("__shown") < window))
        .filter(nw.col("__answer").is_null() | (nw.col("__answer") == nw.col("recommendation_id")))
        .unique(_EVENT, keep="last", order_by=["__shown", *_IMPRESSION])
        .select(*_EVENT, "shown_at", "__shown", *_OF_ANSWER, *_IMPRESSION)
    )
    by = nw.when(nw.col("__answer").is_null()).then(nw.lit(BY_LAST_TOUCH)).otherwise(nw.lit(BY_ANSWER))
    return (
        _shown_anything(happened, impressions, window)
        .join(found, on=_EVENT, how="left")
        .with_columns(
            target=nw.col("event_type").is_in(sorted(params.targets)),
            attributed_by=nw.when(~nw.col("__shown").is_null()).then(by),
            seconds=(nw.col("__us") - nw.col("__shown")) // 1_000_000,
        )
        .select(*ATTRIBUTION.columns)
    )


def _shown_anything(happened: Frame, impressions: Frame, window: int) -> Frame:
    """The events before which anything was shown to their user, within the window."""
    # As of each event: its user's last impression, of any item. A join would pair each event with all impressions.
    times = nw.concat(
        [
            impressions.select(
                "user_id",
                nw.col("__shown").alias("__us"),
                nw.col("__shown").alias("__last"),
                nw.lit(0, dtype=nw.Int64).alias("__kind"),
                nw.col("impression_file").alias("source_file"),
                nw.col("impression_row").alias("source_row"),
            ),
            happened.select(
                "user_id",
                "__us",
                nw.lit(None, dtype=nw.Int64).alias("__last"),
                nw.lit(1, dtype=nw.Int64).alias("__kind"),
                *_EVENT,
            ),
        ],
        how="vertical",
    )
    order = ["__us", "__kind", *_EVENT]
    reached = (
        times.with_columns(__last=nw.col("__last").fill_null(strategy="forward").over("user_id", order_by=order))
        .filter((nw.col("__kind") == 1) & (nw.col("__us") - nw.col("__last") < window))
        .select(*_EVENT)
    )
    return happened.join(reached, on=_EVENT, how="inner")
