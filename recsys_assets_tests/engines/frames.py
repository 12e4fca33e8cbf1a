"""The frames that every frame function is run on: a shop's raw rows, plain or out to break something."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from recsys_assets.core.contracts import IdTypes
from recsys_assets_tests.core.world import FIRST, Row, embeddings, events, properties, rows

DAYS = 5
LAST = FIRST + timedelta(days=DAYS - 1)
"""The as-of day of every raw frame."""
CUT = LAST - timedelta(days=2)
"""The day that evaluation cuts at: what was known, and two days of targets."""
INTS, STRINGS = IdTypes(), IdTypes("string", "string")
TREE: list[Row] = [
    {"category_id": name, "parent_id": above, "root_id": root, "depth": depth, "path": name}
    for name, above, root, depth in (
        ("c0", None, "c0", 1),
        ("c1", "c0", "c0", 2),
        ("c2", "c0", "c0", 2),
        ("é", None, "é", 1),
    )
]


def embedded(ids: IdTypes) -> list[Row]:
    """A vector of each item of :func:`shop`, as rows."""
    return rows(embeddings(ids), "item_id")


@dataclass(frozen=True)
class Raw:
    """What landing files say: parsed events, rejected rows and property snapshots; and the catalogue beside them."""

    events: list[Row]
    properties: list[Row]
    rejected: list[Row]
    ids: IdTypes = INTS
    tree: list[Row] = field(default_factory=lambda: [*TREE])
    embeddings: list[Row] | None = None
    """None: those of :func:`embedded`."""


def parsed(happened: list[Row], file: str = "events.csv") -> list[Row]:
    """Events as rows of a landing file."""
    names = ("user_id", "item_id", "event_type", "ts", "order_id", "quantity", "price", "dt")
    return [
        {**{name: row.get(name) for name in names}, "source_file": file, "source_row": at}
        for at, row in enumerate(happened)
    ]


def snapshots(rows: list[Row], file: str = "properties.csv") -> list[Row]:
    return [{**row, "source_file": file, "source_row": at} for at, row in enumerate(rows)]


def at(day: date, seconds: float = 0.0) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds)


def shop(ids: IdTypes = INTS, **of_events: Any) -> Raw:
    """An ordinary shop; half of its rows state quantity and price, and one in nine is written twice."""
    rng = random.Random(5)
    happened = events(seed=3, days=DAYS, ids=ids, **of_events)
    for row in happened:
        if rng.random() < 0.5:
            row.update(
                quantity=float(rng.randrange(1, 4)), price=rng.randrange(1, 9000) / 100, order_id=f"o{row['dt']}"
            )
    rows = parsed(happened) + parsed(happened[::9], "resent.csv")
    rejected = [{"source_file": "events.csv", "source_row": 10_000 + n, "reason": "ts", "raw": "{}"} for n in range(5)]
    return Raw(rows, snapshots(properties(seed=4, days=DAYS, ids=ids)), rejected, ids)


def one_row() -> Raw:
    row = {"user_id": 7, "item_id": 3, "event_type": "buy", "ts": at(LAST, 60), "dt": LAST}
    return Raw(parsed([row]), [], [])


def nulls() -> Raw:
    """Everything that may be null is, somewhere; one day holds unknown users alone."""
    raw = shop()
    for number, row in enumerate(raw.events):
        if number % 3 == 0 or row["dt"] == CUT:
            row["user_id"] = None
        if number % 5 == 0:
            row["quantity"] = row["price"] = row["order_id"] = None
    return raw


def ties() -> Raw:
    """Users, items and times that differ in nothing but their ids, which have to decide."""
    rows: list[Row] = []
    for user in range(8):
        for item in range(12):
            for day in (0, 1, 3, 4):
                ts = at(FIRST + timedelta(days=day), 3600)
                kind = "buy" if (user + item) % 4 == 0 else "view"
                rows.append({"user_id": user, "item_id": item, "event_type": kind, "ts": ts, "dt": ts.date()})
    category = [
        {"item_id": item, "ts": at(FIRST), "property": "category", "value": f"c{value}", "dt": FIRST}
        for item in range(12)
        for value in (item % 2, 3)
    ]
    return Raw(parsed(rows[::-1]), snapshots(category), [])


def duplicates() -> Raw:
    """Rows that are written again within a file, in another, and with values that floats may hide."""
    values: list[float | None] = [None, math.nan, 0.0, -0.0, 1.1, math.inf]
    rows: list[Row] = []
    for price in values:
        for quantity in values:
            row = {"user_id": 1, "item_id": 2, "event_type": "cart", "ts": at(CUT, 5), "dt": CUT}
            rows.append({**row, "price": price, "quantity": quantity})
    return Raw(parsed(rows + rows[::2], "b.csv") + parsed(rows[::-1], "a.csv"), [], [])


def extreme_ids() -> Raw:
    """0 is an id like any other, and so are the least and the largest int64, and what no float holds."""
    ids = [0, -1, 1, 2**63 - 1, -(2**63), 2**53 + 1, 2**53]
    rng = random.Random(11)
    rows: list[dict[str, Any]] = [
        {
            "user_id": rng.choice(ids),
            "item_id": rng.choice(ids),
            "event_type": rng.choice(["view", "buy"]),
            "ts": at(FIRST + timedelta(days=rng.randrange(DAYS)), rng.randrange(86_400)),
        }
        for _ in range(150)
    ]
    category = [
        {"item_id": item, "ts": at(FIRST), "property": "category", "value": f"c{n % 3}", "dt": FIRST}
        for n, item in enumerate(ids)
    ]
    return Raw(parsed([{**row, "dt": row["ts"].date()} for row in rows]), snapshots(category), [])


def unicode() -> Raw:
    """Strings whose order, length or normal form engines may see differently, as ids, types and values."""
    words = ["", " ", "a", "A", "Z", "z", "é", "e\u0301", "ß", "ss", "İ", "ı", "\ufb01"]
    words += ["日本", "\uffff", "😀", "👩\u200d🚀", "\u202eab"]
    words += ['"', "'", "\\", "%_", "a\tb", "a\nb", "NaN", "null", "0", "-0", "x" * 300]
    rng = random.Random(13)
    rows: list[Row] = []
    for _ in range(400):
        ts = at(FIRST + timedelta(days=rng.randrange(DAYS)), rng.randrange(86_400))
        row = {
            "user_id": rng.choice(words),
            "item_id": rng.choice(words),
            "event_type": rng.choice(["view", "buy", "é😀"]),
        }
        rows.append({**row, "ts": ts, "dt": ts.date(), "order_id": rng.choice(words)})
    stated = [
        {
            "item_id": item,
            "ts": at(FIRST, n),
            "property": name,
            "value": rng.choice(values),
            "dt": FIRST,
        }
        for n, item in enumerate(words)
        for name, values in (
            ("category", [*words, "c1"]),
            ("available", ["1", "0", None]),
            ("price", ["5", "3.25", "0", "1000000000", "1e-07", None]),
        )
    ]
    return Raw(parsed(rows, "ünï.csv"), snapshots(stated), [], STRINGS)


def odd_times() -> Raw:
    """Times before 1970, on a leap day, at the ends of days and years, and between two microseconds of one second."""
    days = [date(1969, 12, 31), date(1904, 2, 29), date(1900, 12, 31), date(2000, 2, 29), date(2024, 12, 31), CUT, LAST]
    rows: list[Row] = []
    for number, day in enumerate(days):
        for offset in (0.0, 1e-6, 1799.999999, 1800.0, 3600.000001, 86_399.999999):
            row = {"user_id": number % 2, "item_id": number, "event_type": "view", "ts": at(day, offset), "dt": day}
            rows.append(row)
    return Raw(parsed(rows), [], [])


def heavy_user() -> Raw:
    """A user with 100,000 events beside an ordinary shop."""
    raw, rng = shop(), random.Random(17)
    rows: list[Row] = []
    for number in range(100_000):
        ts = at(FIRST + timedelta(days=number * DAYS // 100_000), rng.randrange(86_400))
        kind = "buy" if number % 50 == 0 else "view"
        rows.append({"user_id": 999, "item_id": rng.randrange(500), "event_type": kind, "ts": ts, "dt": ts.date()})
    return Raw(raw.events + parsed(rows, "heavy.csv"), raw.properties, raw.rejected)


RAW: Mapping[str, Callable[[], Raw]] = {
    "empty": lambda: Raw([], [], []),
    "empty_strings": lambda: Raw([], [], [], STRINGS),
    "one_row": one_row,
    "shop": shop,
    "string_ids": lambda: shop(STRINGS),
    "nulls": nulls,
    "ties": ties,
    "duplicates": duplicates,
    "extreme_ids": extreme_ids,
    "unicode": unicode,
    "odd_times": odd_times,
    "heavy_user": heavy_user,
}
"""The frames by name."""
