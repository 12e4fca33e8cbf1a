"""The contracts of frames about events; :mod:`recsys_assets.core.contracts` has all others, and these by import."""

from __future__ import annotations

from recsys_assets.core.contract import Column, Contract

USER = Column("user", "id of the user")
ITEM = Column("item", "id of the item")
_SOURCE = {
    "source_file": Column("string", "landing file the row came from"),
    "source_row": Column("int64", "0-based data row within that file", ge=0),
}
CLEAN_EVENTS = Contract(
    "clean_events",
    {
        "user_id": Column("user", "id of the user; null where the data set's value means unknown", nullable=True),
        "item_id": ITEM,
        "event_type": Column("string", "one of the data set's event types"),
        "ts": Column("timestamp", "when it happened"),
        "order_id": Column("string", "order or transaction, where the data set has one", nullable=True),
        "quantity": Column("float64", "units", nullable=True),
        "price": Column("float64", "price of one unit", nullable=True),
        "session_id": Column(
            "int64",
            "start of the session in epoch seconds; unique within a user, null for unknown users",
            nullable=True,
        ),
        **_SOURCE,
    },
    key=("source_file", "source_row"),
    order=("ts", "user_id", "item_id", "event_type", "source_file", "source_row"),
)

REJECTED_EVENTS = Contract(
    "rejected_events",
    {
        **_SOURCE,
        "reason": Column("string", "why the row is not an event"),
        "raw": Column("string", "the row as JSON"),
    },
    key=("source_file", "source_row"),
)

_SHOWN = {
    "recommendation_id": Column("string", "the answer that showed the item", nullable=True),
    "release_id": Column("string", "the release of that answer", nullable=True),
    "placement": Column("string", "where it was shown", nullable=True),
    "position": Column("int64", "at which place, 1 is the first", nullable=True, ge=1),
    "source": Column("string", "what put it there", nullable=True),
}

IMPRESSIONS = Contract(
    "impressions",
    {
        "user_id": Column("user", "to whom the item was shown"),
        "item_id": Column("item", "what was shown"),
        "event_type": Column("string", "shown, or disliked", isin=("impression", "dislike")),
        "ts": Column("timestamp", "when"),
        **_SHOWN,
        **_SOURCE,
    },
    key=("source_file", "source_row"),
    order=("ts", "user_id", "item_id", "event_type", "source_file", "source_row"),
)

ATTRIBUTION = Contract(
    "attribution",
    {
        "user_id": USER,
        "item_id": ITEM,
        "event_type": CLEAN_EVENTS.columns["event_type"],
        "ts": CLEAN_EVENTS.columns["ts"],
        "target": Column("bool", "whether it is what recommendations should cause"),
        "attributed_by": Column(
            "string",
            "the answer that the event names, or the last impression before it; null: the item was not shown",
            nullable=True,
            isin=("recommendation_id", "last_touch"),
        ),
        "shown_at": Column("timestamp", "time of the impression", nullable=True),
        "seconds": Column("int64", "whole seconds from impression to event", nullable=True, ge=0),
        **_SHOWN,
        "impression_file": Column("string", "landing file of the impression", nullable=True),
        "impression_row": Column("int64", "its row", nullable=True, ge=0),
        **_SOURCE,
    },
    key=("source_file", "source_row"),
    order=("ts", "user_id", "item_id", "event_type", "source_file", "source_row"),
)

EVENT_COUNTS = Contract(
    "event_counts",
    {
        "source_file": _SOURCE["source_file"],
        "outcome": Column("string", "what became of the rows", isin=("clean", "duplicate", "rejected")),
        "name": Column("string", "event type of clean rows, reason of others"),
        "hour": Column("int64", "hour of the day in UTC, of clean rows", nullable=True, ge=0, le=23),
        "rows": Column("int64", "number of rows", ge=1),
    },
    key=("source_file", "outcome", "name", "hour"),
)
