"""Parse raw rows to canonical rows, each with its day, or to rejected rows with a reason.

White space around a value is ignored, also in string ids; an empty value is null. Ids of type int64 accept ``7.0`` and
``007`` (both 7) and negative numbers; a value beyond int64 is unparsable and never becomes another id. String ids are
kept unchanged. A row that could be rejected for several reasons gets the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import narwhals as nw
import numpy as np
import orjson
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
    CategoriesSpec,
    Dataset,
    ImpressionColumns,
    PropertiesSpec,
    ServedColumns,
)
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.read import RawBatch
from recsys_assets.core.events.values import to_float64, to_int64, to_micros, trimmed

PARSER_VERSION = 1
"""Increase it when the same bytes parse to other rows; files are then parsed again."""

OUTSIDE_SPAN = "time outside the allowed span"
_OPEN_END = date(2100, 1, 1)  # For data sets without an end: times in a wrong unit must not pass as far future.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT_FLOAT = 2.0**53

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
    """

    good: pa.Table
    rejected: pa.Table
    ignored: int = 0


def event_columns(dataset: Dataset) -> dict[str, str]:
    """Canonical name to raw name of the columns that event files must have."""
    return {canonical: raw for canonical, raw in dataset.events.columns if raw is not None}


def parsed_events(dataset: Dataset) -> Contract:
    """What the rows of an event file, or of a file of impressions, are parsed to."""
    if isinstance(dataset.events.columns, ImpressionColumns):
        return IMPRESSIONS
    return PARSED_SERVED_EVENTS if isinstance(dataset.events.columns, ServedColumns) else PARSED_EVENTS


def parse_events(batch: RawBatch, dataset: Dataset, source_file: str) -> Parsed:
    """Parse rows of an event file, or of a file of impressions."""
    spec = dataset.events
    frame = _texts(batch, event_columns(dataset))
    if spec.event_type is not None:
        frame = frame.with_columns(nw.lit(spec.event_type).alias("event_type"))
    absent = [name for name in ("order_id", "quantity", "price") if name not in event_columns(dataset)]
    frame = frame.with_columns(nw.lit(None, dtype=nw.String).alias(name) for name in absent)

    unknown_values = {value.strip() for value in spec.unknown.user_id}
    user, item = nw.col("user_id"), nw.col("item_id")
    user_id = _id(user, dataset.ids.user)
    is_unknown = _flag(
        user.is_in(sorted(unknown_values - {""})) | user_id.cast(nw.String).is_in(sorted(unknown_values))
    )
    if "" in unknown_values:
        is_unknown = is_unknown | user.is_null()
    event_type = nw.lit(None, dtype=nw.String)
    for raw, kind in spec.types.items():
        event_type = nw.when(nw.col("event_type") == raw).then(nw.lit(kind.name)).otherwise(event_type)
    frame = frame.with_columns(
        is_unknown.alias("unknown"),
        nw.when(~is_unknown).then(user_id).alias("user"),
        _id(item, dataset.ids.item).alias("item"),
        event_type.alias("type"),
        to_micros(nw.col("ts"), spec.time_unit).alias("us"),
        to_float64(nw.col("quantity")).alias("units"),
        to_float64(nw.col("price")).alias("unit_price"),
    )
    positive = ~(nw.col("units") <= 0) if spec.positive_quantity else nw.lit(True)
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
            "unparsable price": ~nw.col("price").is_null() & nw.col("unit_price").is_null(),
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
    frame = frame.select(*(values.get(name, nw.col(name)).alias(name) for name in contract.columns), "dt", "reason")
    return _split(frame, batch, contract, dataset.ids, source_file)


def parse_properties(batch: RawBatch, dataset: Dataset, spec: PropertiesSpec, source_file: str) -> Parsed:
    """Parse rows of a property file: mapped properties under canonical names, values unchanged.

    A snapshot from before the data set's first day counts for that day: its values were known then.
    """
    frame = _texts(batch, dict(spec.columns), _mapped(batch, spec))
    renamed = nw.lit(None, dtype=nw.String)
    for canonical, raw in spec.names.items():
        renamed = nw.when(nw.col("property") == raw).then(nw.lit(canonical)).otherwise(renamed)
    frame = frame.with_columns(
        renamed.alias("renamed"),
        _id(nw.col("item_id"), dataset.ids.item).alias("item"),
        to_micros(nw.col("ts"), spec.time_unit).alias("us"),
    )
    frame = frame.filter(~nw.col("renamed").is_null() | nw.col("property").is_null())
    frame = _with_reasons(
        frame,
        dataset,
        {
            "null item_id": nw.col("item_id").is_null(),
            "unparsable item_id": nw.col("item").is_null(),
            "null property": nw.col("renamed").is_null(),
            "null value": nw.col("value").is_null(),
        },
        {},
        early_is_first_day=True,
    ).select(
        nw.col("item").alias("item_id"),
        _timestamp(),
        nw.col("renamed").alias("property"),
        "value",
        nw.lit(source_file).alias("source_file"),
        "source_row",
        "dt",
        "reason",
    )
    return _split(frame, batch, PARSED_PROPERTIES, dataset.ids, source_file)


def parse_categories(batch: RawBatch, spec: CategoriesSpec) -> pa.Table:
    """Edges of the category tree: category_id and parent_id as strings, ``213.0`` as ``213``."""
    frame = _texts(batch, dict(spec.columns))
    schema = pa.schema([("category_id", pa.string()), ("parent_id", pa.string())])
    whole = {name: nw.col(name).str.contains(r"^[0-9]+\.0+$") for name in schema.names}
    ids = [
        nw.when(whole[name]).then(nw.col(name).str.replace(r"\.0+$", "")).otherwise(nw.col(name)).alias(name)
        for name in schema.names
    ]
    return frame.select(*ids).collect().to_arrow().cast(schema)


def item_ids(batch: RawBatch, column: str, kind: IdType) -> pa.ChunkedArray:
    """A column as item ids; null if a value is not an id."""
    frame = _texts(batch, {"item_id": column}).select(_id(nw.col("item_id"), kind).alias("item_id"))
    return frame.collect().to_arrow()["item_id"].cast(pa.int64() if kind == "int64" else pa.string())


def trimmed_texts(rows: pa.Table) -> pa.Table:
    """Columns of plain types as the text that is parsed, under the file's names; null where a cell is empty."""
    texts = pa.table([_as_text(column) for column in rows.columns], names=[str(at) for at in range(rows.num_columns)])
    trim = [trimmed(nw.col(name)) for name in texts.column_names]
    frame = nw.from_arrow(texts, backend="polars").select(*trim)
    return frame.to_arrow().rename_columns(rows.column_names)


def _mapped(batch: RawBatch, spec: PropertiesSpec) -> pa.Array:
    """Mask of the rows with a mapped property or none; most rows have others and are dropped before parsing."""
    name = pc.call_function("utf8_trim_whitespace", [_as_text(batch.rows.column(spec.columns.property))])
    mapped = pc.SetLookupOptions(value_set=pa.array([*spec.names.values(), "", None], pa.string()))
    return pc.call_function("is_in", [name], mapped)


def _texts(batch: RawBatch, columns: Mapping[str, str], mask: pa.Array | None = None) -> Frame:
    """The mapped columns as trimmed text under their canonical names, and source_row; only rows in the mask, if any."""
    texts = {canonical: _as_text(batch.rows.column(raw)) for canonical, raw in columns.items()}
    table = pa.table({**texts, "source_row": batch.source_row})
    frame = nw.from_arrow(table if mask is None else table.filter(mask), backend="polars").lazy()
    return frame.with_columns(trimmed(nw.col(name)).alias(name) for name in columns)


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of any plain type as the text that a csv file would contain."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        # Arrow writes 1e15 as '1e+15', but whole numbers may be ids: those that a float holds exactly become integers.
        values = column.cast(pa.float64()).to_numpy()
        whole = (np.abs(values) < _EXACT_FLOAT) & (values == np.floor(values))
        exact = pa.array(np.where(whole, values, 0.0).astype(np.int64)).cast(pa.string())
        plain = pa.array(values, from_pandas=True).cast(pa.string())
        return pa.chunked_array([pc.call_function("if_else", [pa.array(whole), exact, plain])])
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    return column.cast(pa.string())


def _id(text: nw.Expr, kind: IdType) -> nw.Expr:
    return to_int64(text) if kind == "int64" else text


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

    Needs ``ts`` (text) and ``us``; reasons about time come after those of ``before`` and before those of ``after``.
    """
    us, hours = nw.col("us"), dataset.boundary_hours
    first, end = _micros(dataset.start_date, hours), _micros(dataset.end_date or _OPEN_END, hours)
    assigned_time = nw.when(us < first).then(nw.lit(first)).otherwise(us) if early_is_first_day else us
    inside = (assigned_time >= first) & (assigned_time < end)
    faults = {
        **before,
        "null ts": nw.col("ts").is_null(),
        "unparsable ts": us.is_null(),
        OUTSIDE_SPAN: ~inside,
        **after,
    }
    reason = nw.lit(None, dtype=nw.String)
    for text, condition in reversed(faults.items()):
        reason = nw.when(condition).then(nw.lit(text)).otherwise(reason)
    day = (nw.when(inside).then(assigned_time) - hours * 3_600_000_000).cast(nw.Datetime("us")).dt.date()
    return frame.with_columns(reason.alias("reason"), day.alias("dt"))


def _split(frame: Frame, batch: RawBatch, contract: Contract, ids: IdTypes, source_file: str) -> Parsed:
    """Collect the frame and separate good rows from rejected ones, which get their raw row; add the broken rows."""
    with_day = [pa.field("dt", pa.date32())]
    table = frame.collect().to_arrow()
    good = table.filter(table["reason"].is_null()).drop_columns(["reason"])
    bad = table.filter(table["reason"].is_valid())
    positions = pa.array(np.searchsorted(batch.source_row.to_numpy(), bad["source_row"].to_numpy()))
    if batch.lines is not None:
        raw = batch.lines.take(positions)
    else:
        rows = batch.rows.take(positions).to_pylist()
        raw = pa.array([orjson.dumps(row, default=str).decode() for row in rows], pa.string())
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
