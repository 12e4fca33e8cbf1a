"""What the columns of a file hold, and which of them are what the platform asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast, get_args

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.dataset import TimeUnit
from recsys_assets.core.events.values import to_float64, to_int64, to_micros

MOST_TYPES = 50
"""Distinct values of a column that can be a type of event."""
_MOST = 0.95
_SPAN = tuple(int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1e6) for year in (1995, 2100))

NAMES: Mapping[str, str] = {
    "user_id": "user userid visitor visitorid customer customerid client clientid member memberid account accountid "
    "profileid uid userpseudoid fullvisitorid anonymousid steamid reviewerid shopper shopperid buyer buyerid personid "
    "consumerid sessionid session",
    "item_id": "item itemid product productid article articleid movie movieid film filmid song songid track trackid "
    "book bookid isbn sku stockcode asin content contentid news newsid ad adid offer offerid business businessid game "
    "gameid appid artist artistid parentasin good goodid goodsid clickarticleid recipe recipeid anime animeid venueid "
    "placeid locationid",
    "ts": "ts timestamp time datetime date eventtime eventdate eventtimestamp createdat created occurredat happenedat "
    "invoicedate orderdate purchasedate clicktimestamp servertime loggedat unixtime unixreviewtime at",
    "event_type": "event eventtype eventname type action actiontype behavior behaviour behaviortype interaction "
    "interactiontype activity kind",
    "order_id": "order orderid transaction transactionid invoice invoiceno invoiceid basket basketid receipt receiptid "
    "checkoutid",
    "quantity": "quantity qty units count",
    "price": "price unitprice itemprice",
    "rating": "rating ratings stars score overall",
    "property": "property attribute feature field",
    "value": "value",
    "category_id": "category categoryid",
    "parent_id": "parent parentid parentcategory parentcategoryid",
}
"""Names that columns have in exports, in lower case and without signs, by what the platform calls them."""
_TYPES = ("view", "click", "cart", "basket", "buy", "purchase", "order", "transaction", "play", "like", "detail")
"""Words in the types of events, by which a column of types is found whatever its name."""


@dataclass(frozen=True)
class ColumnFacts:
    """What a column holds, as far as the rows that were looked at tell.

    Args:
        name: in the file.
        rows: looked at.
        empty: rows without a value.
        values: the values and how often each occurs, most frequent first; at most ``MOST_TYPES`` and one.
        whole: share of the values that are whole numbers of 64 bits, written without leading zeros.
        number: share of the values that are numbers.
        time_unit: how the values read as times since 1995; None if they do not.
        nested: whether the values are lists or records, which are not read.
    """

    name: str
    rows: int
    empty: int
    values: Mapping[str, int]
    whole: float
    number: float
    time_unit: TimeUnit | None
    nested: bool = False

    @property
    def about(self) -> str:
        """For people."""
        if self.nested:
            return "lists or records, which are not read"
        kinds = ["whole numbers" if self.whole == 1 else "numbers" if self.number == 1 else "text"]
        if self.time_unit is not None:
            kinds.append("times" if self.time_unit == "iso" else f"times in {self.time_unit}")
        if not self.rows - self.empty:
            return "nothing"
        few = f", {len(self.values)} different" if len(self.values) <= MOST_TYPES else ""
        missing = f", {self.empty / self.rows:.1%} empty" if self.empty else ""
        return " or ".join(kinds) + few + missing


def facts_of(name: str, texts: pa.ChunkedArray) -> ColumnFacts:
    """The facts of a column of trimmed text; null is an empty cell."""
    values = texts.drop_null()
    counted = cast("list[dict[str, object]]", pc.call_function("value_counts", [values.combine_chunks()]).to_pylist())
    counted.sort(key=lambda one: (-cast(int, one["counts"]), str(one["values"])))
    return ColumnFacts(
        name=name,
        rows=len(texts),
        empty=texts.null_count,
        values={str(one["values"]): cast(int, one["counts"]) for one in counted[: MOST_TYPES + 1]},
        whole=_share(values, lambda text: to_int64(text).cast(nw.String) == text),
        number=_share(values, lambda text: ~to_float64(text).is_null()),
        time_unit=next((unit for unit in get_args(TimeUnit) if _share(values, _is_time(unit)) >= _MOST), None),
    )


def nested_facts(name: str, rows: int) -> ColumnFacts:
    """The facts of a column of lists or records."""
    return ColumnFacts(name, rows, 0, {}, whole=0.0, number=0.0, time_unit=None, nested=True)


def _share(values: pa.ChunkedArray, holds: Callable[[nw.Expr], nw.Expr]) -> float:
    """The share of values for which something holds; 0 of none."""
    if not len(values):
        return 0.0
    frame = nw.from_arrow(pa.table({"text": values}), backend="polars")
    return float(
        frame.select(holds(nw.col("text")).fill_null(value=False).cast(nw.Float64).mean().alias("share")).item()
    )


def _is_time(unit: TimeUnit) -> Callable[[nw.Expr], nw.Expr]:
    def holds(text: nw.Expr) -> nw.Expr:
        micros = to_micros(text, unit)
        return (micros >= _SPAN[0]) & (micros < _SPAN[1])

    return holds


def roles_of(
    columns: Sequence[ColumnFacts], stated: Mapping[str, str], *, has_names: bool = True
) -> dict[str, ColumnFacts]:
    """Which column is what: the platform's name to the column.

    A column is found by its name and must hold what it is to be. Without such a name, times are the only column that
    reads as times, and types of events the only one of few words that are usual for them. In a file without names, the
    first columns are users, items and ratings, as in most published data sets.

    Args:
        columns: of a file.
        stated: the platform's name to the column's, for what a person knows better.
        has_names: whether the file names its columns.
    """
    by_name = {column.name: column for column in columns}
    roles = {role: by_name[name] for role, name in stated.items() if name in by_name}
    for role, names in NAMES.items():
        taken = [column.name for column in roles.values()]
        free = [column for column in columns if column.name not in taken and _may_be(role, column)]
        fits = [(fit, at) for at, column in enumerate(free) if (fit := _fit(column.name, names.split())) is not None]
        if role not in roles and fits:
            roles[role] = free[min(fits)[1]]
    times = [column for column in columns if column.time_unit and column not in roles.values()]
    if "ts" not in roles and len(times) == 1:
        roles["ts"] = times[0]
    types = [column for column in columns if _holds_types(column) and column not in roles.values()]
    if "event_type" not in roles and len(types) == 1:
        roles["event_type"] = types[0]
    if not has_names:
        for role in ("user_id", "item_id", "rating"):
            left = [column for column in columns if column not in roles.values()]
            if role not in roles and left and _may_be(role, left[0]):
                roles[role] = left[0]
    return roles


def _fit(name: str, names: Sequence[str]) -> tuple[int, int] | None:
    """How well a column's name fits, less is better: whole names before parts of names, then by their order."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in names:
        return 0, names.index(plain)
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return min(((1, names.index(part)) for part in parts if part in names), default=None)


def _holds_types(column: ColumnFacts) -> bool:
    known = [value for value in column.values if any(word in value.lower() for word in _TYPES)]
    return _may_be("event_type", column) and len(known) * 2 >= len(column.values)


def _may_be(role: str, column: ColumnFacts) -> bool:
    """Whether what a column holds fits what it is to be."""
    if column.nested:
        return False
    if role == "ts":
        return column.time_unit is not None
    if role in ("quantity", "price", "rating"):
        return column.number >= _MOST and (role != "rating" or len(column.values) <= MOST_TYPES)
    if role == "event_type":
        return 0 < len(column.values) <= MOST_TYPES and column.time_unit is None
    return True
