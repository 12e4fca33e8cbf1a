"""A small random shop for the tests of marts and retrieval: events of some days, and everything derived from them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pyarrow as pa

from recsys_assets.core.activity.marts import EventWeights, item_activity, item_pairs, user_activity
from recsys_assets.core.contracts import (
    CATEGORY_TREE,
    CLEAN_EVENTS,
    ITEM_ACTIVITY,
    ITEM_EMBEDDINGS,
    ITEM_PAIRS,
    ITEM_PROPERTIES,
    USER_ACTIVITY,
    Contract,
    IdTypes,
    arrow_schema,
)
from recsys_assets.core.engine import Frame
from recsys_assets.core.retrieval.protocol import FitContext
from recsys_assets.engines.polars import PolarsEngine

FIRST = date(2024, 2, 20)  # a window that crosses a leap day
WEIGHTS = EventWeights({"view": 1.0, "cart": 2.5, "buy": 6.0}, frozenset({"buy"}))
INTS, STRINGS = IdTypes(), IdTypes("string", "string")
ENGINE = PolarsEngine()

Row = dict[str, Any]


def frame(rows: Iterable[Mapping[str, Any]], contract: Contract, ids: IdTypes = INTS, day: bool = True) -> Frame:
    """Rows as a lazy frame of a contract; columns that rows lack are null. ``dt`` is a column where ``day``."""
    schema = arrow_schema(contract, ids)
    fields = [pa.field(field.name, field.type) for field in schema]
    if day:
        fields.append(pa.field("dt", pa.date32()))
    return ENGINE.from_arrow(pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(fields)))


def rows(result: Frame, *sort_by: str) -> list[Row]:
    """The rows of a frame, sorted."""
    collected = result.collect(backend="polars").to_native()
    assert isinstance(collected, pl.DataFrame)
    return collected.sort(list(sort_by) or collected.columns).to_dicts()


def written(result: Frame, contract: Contract, ids: IdTypes = INTS) -> bytes:
    """The bytes of a frame in the contract's schema and order."""
    table = result.select(*contract.columns).sort(*contract.sort_by).collect(backend="polars").to_arrow()
    sink = pa.BufferOutputStream()
    table = table.cast(arrow_schema(contract, ids)).combine_chunks()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def stored(result: Frame) -> Frame:
    """A frame that was computed once, as what is read from a partition was."""
    return result.collect(backend="polars").lazy()


def end_of(day: date) -> datetime:
    """The instant at which a day ends."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def fit_context_at(day: date, frames: Mapping[str, Frame], **changed: Any) -> FitContext:
    """What generators know at the end of a day; what is not changed is small."""
    parameters: dict[str, Any] = {
        "active_days": 3,
        "horizon_days": 2,
        "half_life": 5.0,
        "repeats": True,
        "k": 9,
    }
    return FitContext(engine=ENGINE, frames=frames, as_of=day, end=end_of(day), **{**parameters, **changed})


def events(seed: int = 0, days: int = 12, users: int = 25, items: int = 30, ids: IdTypes = INTS) -> list[Row]:
    """Random clean events with sessions, repeats and unknown users; user 0 and item 0 occur."""
    rng = random.Random(seed)
    clicks: list[Row] = []
    for offset in range(days):
        day = FIRST + timedelta(days=offset)
        for user in range(users):
            if rng.random() < 0.4:
                continue
            start = datetime(day.year, day.month, day.day, rng.randrange(22), rng.randrange(60), tzinfo=UTC)
            taste = user % 3
            for step in range(rng.randrange(1, 8)):
                item = (rng.randrange(items // 3) * 3 + taste) if rng.random() < 0.8 else rng.randrange(items)
                identified = rng.random() > 0.1
                clicks.append(
                    {
                        "user_id": typed(user, ids.user) if identified else None,
                        "item_id": typed(item, ids.item),
                        "event_type": rng.choice(["view", "view", "view", "cart", "buy"]),
                        "ts": start + timedelta(seconds=90 * step + rng.randrange(90)),
                        "session_id": int(start.timestamp()) if identified else None,
                        "dt": day,
                    }
                )
    return clicks


def typed(number: int, dtype: str) -> int | str:
    """An id of the type; as a string it does not sort as its number."""
    return number if dtype == "int64" else f"{(number * 7) % 101}-ü{number}"


@dataclass(frozen=True)
class Marts:
    """Windows of the daily marts, with ``dt``."""

    user_activity: Frame
    item_activity: Frame
    item_pairs: Frame


def marts(happened: list[Row], ids: IdTypes = INTS) -> Marts:
    """The marts of each day with events, stacked as partitions are when read."""
    days = sorted({row["dt"] for row in happened})

    def stacked(contract: Contract, mart: Any) -> Frame:
        parts = [frame([], contract, ids)]
        for day in days:
            mart_of_day = mart(frame([row for row in happened if row["dt"] == day], CLEAN_EVENTS, ids, day=False))
            parts.append(mart_of_day.select(*contract.columns, nw.lit(day).alias("dt")))
        return stored(nw.concat(parts, how="vertical"))

    return Marts(
        stacked(USER_ACTIVITY, lambda clean_events: user_activity(clean_events, WEIGHTS)),
        stacked(ITEM_ACTIVITY, lambda clean_events: item_activity(clean_events, WEIGHTS)),
        stacked(ITEM_PAIRS, item_pairs),
    )


def properties(seed: int = 0, items: int = 30, days: int = 12, ids: IdTypes = INTS) -> list[Row]:
    """Random snapshots of category (c0 to c4), availability and price."""
    rng = random.Random(seed)
    snapshots: list[Row] = []
    for item in range(items):
        for name in ("category", "available", "price"):
            for offset in sorted(rng.sample(range(days), rng.randrange(3))):
                day = FIRST + timedelta(days=offset)
                value = {
                    "category": f"c{rng.randrange(5)}",
                    "available": rng.choice("01111"),
                    "price": f"{rng.randrange(1, 99)}.5",
                }[name]
                ts = datetime(day.year, day.month, day.day, rng.randrange(24), tzinfo=UTC)
                row = {"item_id": typed(item, ids.item), "ts": ts, "property": name, "value": value, "dt": day}
                snapshots.append(row)
    return snapshots


def tree() -> Frame:
    """Categories c0 to c3 (c4 is not in the tree)."""
    nodes = [("c0", None, "c0", 1), ("c1", "c0", "c0", 2), ("c2", "c0", "c0", 2), ("c3", None, "c3", 1)]
    return frame(
        [
            {"category_id": c, "parent_id": p, "root_id": r, "depth": d, "path": c if p is None else f"{p}/{c}"}
            for c, p, r, d in nodes
        ],
        CATEGORY_TREE,
        day=False,
    )


def embeddings(ids: IdTypes = INTS, items: int = 30, length: int = 4) -> Frame:
    """A random vector of each item."""
    rng = random.Random(5)
    vectors = [
        {"item_id": typed(item, ids.item), "embedding": [rng.gauss(0, 1) for _ in range(length)]}
        for item in range(items)
    ]
    return frame(vectors, ITEM_EMBEDDINGS, ids, day=False)


def property_frame(snapshots: list[Row], ids: IdTypes = INTS) -> Frame:
    """Snapshots as partitions are when read."""
    return frame(snapshots, ITEM_PROPERTIES, ids)
