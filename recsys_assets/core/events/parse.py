"""Parse raw rows to canonical rows, each with its day, or to rejected rows with a reason.

White space around a value is ignored, also in string ids; an empty value is null. Ids of type int64 accept ``7.0`` and
``007`` (both 7) and negative numbers; a value beyond int64 is unparsable and never becomes another id. String ids are
kept unchanged; one with characters that nobody sees is unparsable, and a word such as ``NULL`` is no id. A row that
could be rejected for several reasons gets the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.contracts import (
    CLEAN_EVENTS,
    IMPRESSIONS,
    ITEM_PROPERTIES,
    REJECTED_EVENTS,
    Contract,
    IdType,
    IdTypes,
    arrow_schema,
)
from recsys_assets.core.dataset import (
    Dataset,
    ImpressionColumns,
    PropertiesSpec,
    ServedColumns,
)
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.batches import STRAY_QUOTE, TOO_LONG, RawBatch
from recsys_assets.core.events.columns import about, texts, timed, whole_id
from recsys_assets.core.events.plain import plain_texts
from recsys_assets.core.events.raw import raw_rows
from recsys_assets.core.events.values import is_number, stated_id, to_float64, to_id, to_int64, to_price
from recsys_assets.core.events.vocabulary import available_values

PARSER_VERSION = 5
"""Increase it when the same bytes parse to other rows; files are then parsed again."""

OUTSIDE_SPAN = "time outside the allowed span"
SKIPPED_TIME = "ts that the clock skips in this time zone"
_OPEN_END = date(2100, 1, 1)  # For data sets without an end: times in a wrong unit must not pass as far future.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PARSED_EVENTS = Contract(
    "parsed_events",
    {name: column for name, column in CLEAN_EVENTS.columns.items() if name != "session_id"},
    key=CLEAN_EVENTS.key,
)
PARSED_SERVED_EVENTS = Contract(
    "parsed_served_events",
    {**PARSED_EVENTS.columns, "recommendation_id": IMPRESSIONS.columns["recommendation_id"]},
    key=CLEAN_EVENTS.key,
)
"""Of the API's files: events as any others, with the answer that they name."""
PARSED_PROPERTIES = Contract(
    "parsed_properties",
    {**ITEM_PROPERTIES.columns, **{name: CLEAN_EVENTS.columns[name] for name in ("source_file", "source_row")}},
    key=("source_file", "source_row"),
)


@dataclass(frozen=True)
class Parsed:
    """The outcome of a batch; rows read = good + rejected + ignored.

    Args:
        good: what :func:`parsed_events` says, or ``PARSED_PROPERTIES``, and ``dt`` (date32), in the order of the file.
        rejected: ``REJECTED_EVENTS`` and ``dt``, which is null if the row has no valid time.
        ignored: rows of properties that the data set does not map.
        unknown: values of good rows that mean nothing that is known, by column or property; null in ``good``.
        repeated_hour: good rows in an hour that clocks repeat, taken as the first of the two.
    """

    good: pa.Table
    rejected: pa.Table
    ignored: int = 0
    unknown: Mapping[str, pa.Array] = field(default_factory=dict[str, pa.Array])
    repeated_hour: int = 0


def event_columns(dataset: Dataset) -> dict[str, str]:
    """Canonical name to raw name of the columns that event files must have."""
    return {canonical: raw for canonical, raw in dataset.events.columns if raw is not None}


def parsed_events(dataset: Dataset) -> Contract:
    """What the rows of an event file, or of a file of impressions, are parsed to."""
    if isinstance(dataset.events.columns, ImpressionColumns):
        return IMPRESSIONS
    return PARSED_SERVED_EVENTS if isinstance(dataset.events.columns, ServedColumns) else PARSED_EVENTS


def parse_events(batch: RawBatch, dataset: Dataset, source_file: str) -> Parsed:
    """Parse rows of an event file, or of a file of impressions.

    A price that is a number and no price (negative, infinite) is unknown: the event is kept without it.

    Raises:
        SchemaError: a column is of a type that has no values of this kind; names file, column and type.
    """
    spec = dataset.events
    frame, repeated = timed(batch, event_columns(dataset), spec, source_file)
    if spec.event_type is not None:
        frame = frame.with_columns(nw.lit(spec.event_type).alias("event_type"))
    absent = [name for name in ("order_id", "quantity", "price") if name not in event_columns(dataset)]
    frame = frame.with_columns(nw.lit(None, dtype=nw.String).alias(name) for name in absent)

    unknown_values = {value.strip() for value in spec.unknown.user_id}
    user, item = stated_id(nw.col("user_id")), stated_id(nw.col("item_id"))
    user_id = to_id(user, dataset.ids.user)
    is_unknown = _flag(
        nw.col("user_id").is_in(sorted(unknown_values - {""})) | user_id.cast(nw.String).is_in(sorted(unknown_values))
    )
    if "" in unknown_values:
        is_unknown = is_unknown | user.is_null()
    event_type = nw.lit(None, dtype=nw.String)
    for raw, kind in spec.types.items():
        event_type = nw.when(nw.col("event_type") == raw).then(nw.lit(kind.name)).otherwise(event_type)
    frame = frame.with_columns(
        is_unknown.alias("unknown"),
        nw.when(~is_unknown).then(user_id).alias("user"),
        to_id(item, dataset.ids.item).alias("item"),
        event_type.alias("type"),
        to_float64(nw.col("quantity"), spec.numbers.of("quantity")).alias("units"),
        to_price(nw.col("price"), spec.numbers.of("price")).alias("unit_price"),
    )
    positive = ~(nw.col("units") <= 0) if spec.positive_quantity else nw.lit(True)
    unpriced = ~nw.col("price").is_null() & nw.col("unit_price").is_null()
    frame = _with_reasons(
        frame,
        dataset,
        {
            "null user_id": user.is_null() & ~nw.col("unknown"),
            "unparsable user_id": nw.col("user").is_null() & ~nw.col("unknown"),
            "null item_id": item.is_null(),
            "unparsable item_id": nw.col("item").is_null(),
            "null event_type": nw.col("event_type").is_null(),
            "unknown event type": nw.col("type").is_null(),
        },
        {
            "unparsable quantity": ~nw.col("quantity").is_null() & nw.col("units").is_null(),
            "unparsable price": unpriced & ~is_number(nw.col("price"), spec.numbers.of("price")),
            "non-positive quantity": ~positive,
        },
    )
    contract = parsed_events(dataset)
    values = {
        "user_id": nw.col("user"),
        "item_id": nw.col("item"),
        "event_type": nw.col("type"),
        "ts": _timestamp(),
        "quantity": nw.col("units"),
        "price": nw.col("unit_price"),
        "source_file": nw.lit(source_file),
    }
    if "position" in contract.columns:
        values["position"] = to_int64(nw.col("position"))
    frame = frame.select(
        *(values.get(name, nw.col(name)).alias(name) for name in contract.columns),
        "dt",
        "reason",
        nw.when(unpriced).then(nw.col("price")).alias("__price"),
    )
    table = frame.collect().to_arrow()
    told = table["__price"].filter(table["reason"].is_null()).drop_null()
    parsed = _split(
        table.drop_columns(["__price"]), batch, contract, dataset.ids, source_file, event_columns(dataset).values()
    )
    return replace(parsed, unknown={"price": told} if len(told) else {}, repeated_hour=repeated)


def parse_properties(batch: RawBatch, dataset: Dataset, spec: PropertiesSpec, source_file: str) -> Parsed:
    """Parse rows of a property file: mapped properties under canonical names.

    Availability becomes 1 or 0, a price its number, a category loses the zeros of ``7.0``; other values stay as they
    are. A value of the first two that means nothing that is known is null. A snapshot from before the data set's first
    day counts for that day: its values were known then.

    Raises:
        SchemaError: a column is of a type that has no values of this kind; names file, column and type.
    """
    frame, repeated = timed(batch, dict(spec.columns), spec, source_file, _mapped(batch, spec, source_file))
    renamed = nw.lit(None, dtype=nw.String)
    for canonical, raw in spec.names.items():
        renamed = nw.when(nw.col("property") == raw).then(nw.lit(canonical)).otherwise(renamed)
    item = stated_id(nw.col("item_id"))
    frame = frame.with_columns(renamed.alias("renamed"), to_id(item, dataset.ids.item).alias("item"))
    frame = frame.filter(~nw.col("renamed").is_null() | nw.col("property").is_null())
    price = to_price(nw.col("value"), spec.numbers).cast(nw.String).str.replace(r"\.0$", "")
    values = {"category": whole_id(nw.col("value")), "price": price}
    known = nw.col("value")
    for name, value in values.items():
        known = nw.when(nw.col("renamed") == name).then(value).otherwise(known)
    frame = _with_reasons(
        frame,
        dataset,
        {
            "null item_id": item.is_null(),
            "unparsable item_id": nw.col("item").is_null(),
            "null property": nw.col("renamed").is_null(),
            "null value": nw.col("value").is_null(),
            f"{STRAY_QUOTE} of a category": (nw.col("renamed") == "category") & nw.col("stray_value"),
        },
        {},
        early_is_first_day=True,
    ).select(
        nw.col("item").alias("item_id"),
        _timestamp(),
        nw.col("renamed").alias("property"),
        known.alias("value"),
        nw.lit(source_file).alias("source_file"),
        "source_row",
        "dt",
        "reason",
        nw.col("value").alias("__stated"),
    )
    table = _with_availability(frame.collect().to_arrow(), spec)
    told = table.filter(pc.call_function("and", [table["reason"].is_null(), table["value"].is_null()]))
    names = told["property"].unique().to_pylist()
    equal = {name: pc.call_function("equal", [told["property"], pa.scalar(name)]) for name in names}
    unknown = {name: told["__stated"].filter(mask) for name, mask in equal.items()}
    parsed = _split(
        table.drop_columns(["__stated"]),
        batch,
        PARSED_PROPERTIES,
        dataset.ids,
        source_file,
        dict(spec.columns).values(),
    )
    return replace(parsed, unknown=unknown, repeated_hour=repeated)


def item_ids(batch: RawBatch, column: str, kind: IdType, source_file: str) -> pa.ChunkedArray:
    """A column as item ids; null if a value is not an id."""
    frame = texts(batch, {"item_id": column}, source_file)
    return (
        frame.select(nw.when(~nw.col("stray")).then(to_id(nw.col("item_id"), kind)).alias("item_id"))
        .collect()
        .to_arrow()["item_id"]
        .cast(pa.int64() if kind == "int64" else pa.string())
    )


def _mapped(batch: RawBatch, spec: PropertiesSpec, source_file: str) -> pa.Array:
    """Mask of the rows with a mapped property or none; most rows have others and are dropped before parsing."""
    raw = spec.columns.property
    name = pc.call_function("utf8_trim_whitespace", [plain_texts(batch.rows.column(raw), about(source_file, raw))])
    mapped = pc.SetLookupOptions(value_set=pa.array([*spec.names.values(), "", None], pa.string()))
    return pc.call_function("is_in", [name], mapped)


def _with_availability(table: pa.Table, spec: PropertiesSpec) -> pa.Table:
    """Values of ``available`` as their meaning; null if they have none."""
    is_available = pc.call_function("equal", [table["property"], pa.scalar("available")]).fill_null(False)
    if not pc.call_function("any", [is_available]).as_py():
        return table
    values = table["value"].cast(pa.string())
    meant = pa.chunked_array([available_values(chunk, spec.availability) for chunk in values.chunks], pa.string())
    column = pc.call_function("if_else", [is_available, meant, values])
    return table.set_column(table.column_names.index("value"), "value", column)


def _flag(condition: nw.Expr) -> nw.Expr:
    """A condition in which null counts as false."""
    return nw.when(condition).then(nw.lit(True)).otherwise(nw.lit(False))


def _timestamp() -> nw.Expr:
    return nw.col("us").cast(nw.Datetime("us", "UTC")).alias("ts")


def _micros(day: date, hours: int) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)
    return (start - _EPOCH) // timedelta(microseconds=1)


def _with_reasons(
    frame: Frame,
    dataset: Dataset,
    before: Mapping[str, nw.Expr],
    after: Mapping[str, nw.Expr],
    *,
    early_is_first_day: bool = False,
) -> Frame:
    """Add ``reason`` (null if good) and ``dt`` (null if the time is missing or outside the span).

    Needs the columns of :func:`timed`. Reasons about time come after those of ``before`` and before those of
    ``after``.
    """
    us, hours = nw.col("us"), dataset.boundary_hours
    first, end = _micros(dataset.start_date, hours), _micros(dataset.end_date or _OPEN_END, hours)
    assigned_time = nw.when(us < first).then(nw.lit(first)).otherwise(us) if early_is_first_day else us
    inside = (assigned_time >= first) & (assigned_time < end)
    faults = {
        TOO_LONG: nw.col("long"),
        STRAY_QUOTE: nw.col("stray"),
        **before,
        "null ts": nw.col("ts").is_null(),
        SKIPPED_TIME: nw.col("skipped"),
        "unparsable ts": us.is_null(),
        OUTSIDE_SPAN: ~inside,
        **after,
    }
    reason = nw.lit(None, dtype=nw.String)
    for text, condition in reversed(faults.items()):
        reason = nw.when(condition).then(nw.lit(text)).otherwise(reason)
    day = (nw.when(inside).then(assigned_time) - hours * 3_600_000_000).cast(nw.Datetime("us")).dt.date()
    return frame.with_columns(reason.alias("reason"), day.alias("dt"))


def _split(
    table: pa.Table, batch: RawBatch, contract: Contract, ids: IdTypes, source_file: str, mapped: Iterable[str]
) -> Parsed:
    """Separate good rows from rejected ones, which get their raw row; add the broken rows."""
    with_day = [pa.field("dt", pa.date32())]
    good = table.filter(table["reason"].is_null()).drop_columns(["reason"])
    bad = table.filter(table["reason"].is_valid())
    positions = pa.array(np.searchsorted(batch.source_row.to_numpy(), bad["source_row"].to_numpy()))
    raw = (
        batch.lines.take(positions)
        if batch.lines is not None
        else pa.array(raw_rows(batch.rows, positions, mapped), pa.string())
    )
    schema = pa.schema([*arrow_schema(REJECTED_EVENTS, ids), *with_day])
    parts = [
        (bad["source_row"], bad["reason"], raw, bad["dt"]),
        (
            *(batch.broken[name] for name in ("source_row", "reason", "raw")),
            pa.nulls(batch.broken.num_rows, pa.date32()),
        ),
    ]
    tables = [
        pa.table([pa.repeat(pa.scalar(source_file), len(cells[0])), *cells], names=schema.names).cast(schema)
        for cells in parts
    ]
    return Parsed(
        good.cast(pa.schema([*arrow_schema(contract, ids), *with_day])),
        pa.concat_tables(tables).sort_by("source_row"),
        batch.rows.num_rows - table.num_rows,
    )
