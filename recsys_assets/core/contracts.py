"""What each frame of the platform looks like, declared once.

A contract names a frame's columns, their types and ranges, the key that is unique and the order its rows are written
in. The parquet schema, the sort that makes files byte-identical, the blocking asset check, and the column table in the
Dagster UI all come from here. Ids keep the type that the data set states, so contracts say ``user`` and ``item`` and
:func:`arrow_schema` resolves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from recsys_assets.core.retrieval.table import GENERATORS, PROPOSERS

IdType = Literal["int64", "string"]
DType = Literal["user", "item", "int64", "int32", "float64", "float32", "string", "bool", "date", "timestamp", "vector"]

_ARROW: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "vector": pa.list_(pa.float32()),
}


@dataclass(frozen=True)
class IdTypes:
    """The id types that the data set states."""

    user: IdType = "int64"
    item: IdType = "int64"


@dataclass(frozen=True)
class Column:
    """One column: its type, whether null is allowed, and the closed range or set its values lie in."""

    dtype: DType
    about: str
    nullable: bool = False
    ge: float | None = None
    le: float | None = None
    isin: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Contract:
    """One frame: columns in file order, the unique key, and the order of its rows."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    order: tuple[str, ...] = field(default=())
    """Columns to sort by when written; the key where empty. Always a total order, so that equal data is equal bytes."""

    @property
    def sort_by(self) -> tuple[str, ...]:
        """Columns that the rows are sorted by when written."""
        return self.order or self.key


def arrow_schema(contract: Contract, ids: IdTypes) -> pa.Schema:
    """The parquet schema of a contract for a data set's id types."""
    types = {**_ARROW, "user": _ARROW[ids.user], "item": _ARROW[ids.item]}
    return pa.schema(
        [pa.field(name, types[column.dtype], nullable=column.nullable) for name, column in contract.columns.items()]
    )


_USER = Column("user", "who acted")
_ITEM = Column("item", "what was acted on")
_SOURCE = {
    "source_file": Column("string", "landing file the row came from"),
    "source_row": Column("int64", "0-based data row within that file", ge=0),
}
_COUNTS = {
    "events": Column("int64", "number of events", ge=1),
    "targets": Column("int64", "number of events whose type is a target", ge=0),
    "weight": Column("float64", "sum of the event types' weights", ge=0),
}

CLEAN_EVENTS = Contract(
    "clean_events",
    {
        "user_id": Column("user", "who acted; null where the data set's value means unknown", nullable=True),
        "item_id": _ITEM,
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

ITEM_PROPERTIES = Contract(
    "item_properties",
    {
        "item_id": _ITEM,
        "ts": Column("timestamp", "time of the snapshot"),
        "property": Column("string", "category, available or price", isin=("category", "available", "price")),
        "value": Column("string", "value as the data set writes it"),
    },
    key=("item_id", "property", "ts"),
)

CATEGORY_TREE = Contract(
    "category_tree",
    {
        "category_id": Column("string", "category"),
        "parent_id": Column("string", "its parent; null for a root", nullable=True),
        "root_id": Column("string", "the root above it, or itself"),
        "depth": Column("int64", "1 for a root", ge=1),
        "path": Column("string", "ids from the root down, joined by '/'"),
    },
    key=("category_id",),
)

ITEM_FEATURES = Contract(
    "item_features",
    {
        "item_id": _ITEM,
        "category_id": Column("string", "last known category", nullable=True),
        "root_id": Column("string", "root of that category; null for an orphan", nullable=True),
        "depth": Column("int64", "depth of that category", nullable=True, ge=1),
        "available": Column("bool", "last known availability; true where never stated"),
        "price": Column("float64", "last known price", nullable=True),
        "first_seen": Column("date", "first day with an event or a property within the windows read"),
        "days_known": Column("int64", "days from first_seen to D, counting both", ge=1),
    },
    key=("item_id",),
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

USER_ACTIVITY = Contract(
    "user_activity",
    {
        "user_id": _USER,
        "item_id": _ITEM,
        **_COUNTS,
        "top_weight": Column("float64", "largest single event weight: how deep in the funnel", ge=0),
        "last_ts": Column("timestamp", "time of the last event"),
    },
    key=("user_id", "item_id"),
)

ITEM_ACTIVITY = Contract(
    "item_activity",
    {
        "item_id": _ITEM,
        **_COUNTS,
        "users": Column("int64", "distinct known users on the day", ge=0),
        "sessions": Column("int64", "distinct sessions on the day", ge=0),
        "last_ts": Column("timestamp", "time of the last event"),
    },
    key=("item_id",),
)

ITEM_PAIRS = Contract(
    "item_pairs",
    {
        "item_id": Column("item", "the smaller id of the pair"),
        "other_item_id": Column("item", "the larger id of the pair"),
        "sessions": Column("int64", "sessions that hold both", ge=1),
        "weight": Column("float64", "sum over those sessions of 1/log2(1 + items in the session)", ge=0),
    },
    key=("item_id", "other_item_id"),
)

BOT_USERS = Contract(
    "bot_users",
    {
        "user_id": _USER,
        "reason": Column("string", "what no person does: the pace, or the hours", isin=("pace", "hours")),
        "pace": Column("float64", "moments per active minute", ge=1, le=60),
        "typical_pace": Column("float64", "mean pace of the users of the day", ge=1, le=60),
        "events": Column("int64", "number of events on the day", ge=1),
        "moments": Column("int64", "distinct seconds with an event", ge=1),
        "minutes": Column("int64", "distinct minutes with an event", ge=1),
        "hours": Column("int64", "distinct hours with an event", ge=1, le=24),
    },
    key=("user_id",),
)

TOP_POPULAR = Contract(
    "top_popular",
    {
        "segment": Column("string", "'all', 'trending' or 'category:<id>'"),
        "item_id": _ITEM,
        "score": Column("float64", "popularity within the segment's window", ge=0),
        "rank": Column("int64", "1 is best, dense", ge=1),
    },
    key=("segment", "rank"),
)

USER_FACTORS = Contract(
    "user_factors",
    {"user_id": _USER, "factors": Column("vector", "latent factors")},
    key=("user_id",),
)

ITEM_FACTORS = Contract(
    "item_factors",
    {"item_id": _ITEM, "factors": Column("vector", "latent factors")},
    key=("item_id",),
)

COVISITED_ITEMS = Contract(
    "covisited_items",
    {
        "item_id": _ITEM,
        "similar_item_id": Column("item", "an item of the same sessions, never the item itself"),
        "score": Column("float64", "cosine of the sessions, shrunk", ge=0),
        "rank": Column("int64", "1 is best, dense within the item", ge=1),
    },
    key=("item_id", "rank"),
)

SIMILAR_ITEMS = Contract(
    "similar_items",
    {
        "item_id": _ITEM,
        "source": Column("string", "which similarity", isin=("covisit", "factors", "fused")),
        "similar_item_id": Column("item", "the neighbour, never the item itself"),
        "score": Column("float64", "cosine, or reciprocal rank fusion for 'fused'"),
        "rank": Column("int64", "1 is best, dense within item and source", ge=1),
    },
    key=("item_id", "source", "rank"),
)

FEATURES = {
    "ui_events": "events of this user with this item in the activity window",
    "ui_days": "days on which this user touched this item",
    "ui_targets": "target events of this user with this item",
    "ui_weight": "weight of this user's events with this item",
    "ui_top_weight": "deepest step this user took with this item",
    "ui_fresh_weight": "the same weight, the older the less",
    "ui_hours_since": "hours from this user's last event with this item to the end of D",
    "ui_days_since_first": "days from this user's first event with this item to D, within the activity window",
    "user_events": "events of this user in the activity window",
    "user_items": "distinct items of this user",
    "user_targets": "target events of this user",
    "user_conversion": "targets per event of this user, smoothed",
    "user_hours_since": "hours from this user's last event to the end of D",
    "user_days_since_first": "days from this user's first event to D, within the activity window",
    "user_last_items": "distinct items that this user touched last on the day of the last event",
    "user_category_share": "share of this user's weight that lies in the item's category",
    "item_events": "events with this item in the popularity window",
    "item_targets": "target events with this item in the popularity window",
    "item_users": "user days with this item in the popularity window",
    "item_recent_users": "user days with this item in the trending window",
    "item_conversion": "targets per event of this item, smoothed",
    "item_trend": "share of the item's weight that fell into the trending window",
    "item_hours_since": "hours from the item's last event to the end of D",
    "item_days_known": "days since the item was first seen",
    "item_available": "1 if the item is available as far as is known, else 0",
    "item_price": "last known price",
    "item_price_ratio": "that price over the mean price, by weight, of what this user touched",
    "item_depth": "depth of the item's category",
    "item_category_is_last": "1 if the item's category is that of the item this user touched last, else 0",
}
"""Features of a candidate, all as of the end of day D, beside the generators' scores and ranks. Single precision: it is
what the ranker sees, and candidates are by far the largest frame."""

_CANDIDATE_COLUMNS: dict[str, Column] = {
    "user_id": _USER,
    "item_id": _ITEM,
    **{
        name: column
        for generator in GENERATORS
        for name, column in (
            (f"{generator}_score", Column("float32", f"score by {generator}", nullable=True)),
            (f"{generator}_rank", Column("int32", f"rank by {generator}, 1 is best", nullable=True, ge=1)),
        )
    },
    "fused_score": Column("float32", "reciprocal rank fusion of the generators", ge=0),
    "fused_rank": Column("int32", "rank by fused_score, dense within the user", ge=1),
    **{name: Column("float32", about, nullable=True) for name, about in FEATURES.items()},
}

PROPOSED = tuple(
    Contract(
        f"{name}_items",
        {
            "user_id": _USER,
            "item_id": _ITEM,
            "score": Column("float64", f"score by {name}"),
            "rank": Column("int64", "1 is best, dense within the user", ge=1),
        },
        key=("user_id", "rank"),
    )
    for name in PROPOSERS
)
"""What each generator with an asset of its own proposes."""

CANDIDATES = Contract("candidates", _CANDIDATE_COLUMNS, key=("user_id", "item_id"))

RANKING_EXAMPLES = Contract(
    "ranking_examples",
    {**_CANDIDATE_COLUMNS, "label": Column("int64", "1 if the user had a target event with the item", ge=0, le=1)},
    key=("user_id", "item_id"),
)

RANKER_EVALUATION = Contract(
    "ranker_evaluation",
    {
        "model": Column("string", "ranker (of the day), champion (before it), fused, a generator; listed: after rules"),
        "metric": Column(
            "string",
            "recall, precision, ndcg, map, mrr, hit, coverage, novelty, diversity, candidate_recall, ndcg_gain, "
            "ndcg_gain_over_champion",
        ),
        "k": Column("int64", "length of the list", ge=1),
        "value": Column("float64", "mean over the users (coverage: share of the catalogue)", nullable=True),
        "low": Column("float64", "2.5 % bound of the bootstrap over users", nullable=True),
        "high": Column("float64", "97.5 % bound of the bootstrap over users", nullable=True),
        "users": Column("int64", "users evaluated: candidates at D-h and a target in (D-h, D]", ge=0),
    },
    key=("model", "metric", "k"),
)

RECOMMENDATIONS = Contract(
    "recommendations",
    {
        "user_id": _USER,
        "item_id": _ITEM,
        "rank": Column("int64", "1 is best, dense", ge=1, le=100),
        "score": Column("float64", "score of the model that ordered the list, non-increasing in rank"),
        "source": Column("string", "what ordered the list: ranker, fused or a generator"),
    },
    key=("user_id", "rank"),
)

FEATURE_COLUMNS = tuple(name for name in _CANDIDATE_COLUMNS if name not in ("user_id", "item_id", "fused_rank"))
"""What the ranker sees, in the order of its feature vector."""

CONTRACTS: Mapping[str, Contract] = {
    contract.name: contract
    for contract in (
        CLEAN_EVENTS,
        REJECTED_EVENTS,
        ITEM_PROPERTIES,
        CATEGORY_TREE,
        ITEM_FEATURES,
        EVENT_COUNTS,
        USER_ACTIVITY,
        ITEM_ACTIVITY,
        ITEM_PAIRS,
        BOT_USERS,
        TOP_POPULAR,
        USER_FACTORS,
        ITEM_FACTORS,
        COVISITED_ITEMS,
        SIMILAR_ITEMS,
        *PROPOSED,
        CANDIDATES,
        RANKING_EXAMPLES,
        RANKER_EVALUATION,
        RECOMMENDATIONS,
    )
}
"""Every frame by its asset's name."""
