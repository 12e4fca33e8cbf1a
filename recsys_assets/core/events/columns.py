"""The mapped columns of a batch as frames of text, and their times."""

from __future__ import annotations

from collections.abc import Mapping

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.dataset import TimedFileSpec
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.batches import VALUE_BYTES, RawBatch
from recsys_assets.core.events.plain import expect_exact_ids, is_time, plain_texts
from recsys_assets.core.events.values import to_micros, trimmed
from recsys_assets.core.written_times import ISO, read_times

_IDS = ("user_id", "item_id", "order_id", "category_id", "parent_id")


def about(source_file: str, raw: str, canonical: str = "property") -> str:
    """Names a column of a file in errors."""
    return f"{source_file}: column {raw!r} ({canonical})"


def texts(batch: RawBatch, columns: Mapping[str, str], source_file: str, mask: pa.Array | None = None) -> Frame:
    """The mapped columns as trimmed text under their canonical names, source_row, and what is wrong with them.

    That is, whether one is too ``long``, and whether there is a ``stray`` quote in an id, or in a ``stray_value``: of a
    quote in a csv file, two belong together. A row with one of them was written by hand or cut, and what stands there
    would be the id of nobody.

    Args:
        batch: raw rows.
        columns: canonical to raw name.
        source_file: for errors.
        mask: of the rows that count; None for all.
    """
    found: dict[str, pa.Array] = {}
    long = pa.repeat(pa.scalar(False), batch.rows.num_rows)
    stray = dict.fromkeys(("stray", "stray_value"), long)
    for canonical, raw in columns.items():
        if canonical in ("user_id", "item_id"):
            expect_exact_ids(batch.rows.column(raw), about(source_file, raw, canonical))
        text = plain_texts(batch.rows.column(raw), about(source_file, raw, canonical))
        beyond = pc.call_function("binary_length", [text])
        beyond = pc.call_function("greater", [beyond, pa.scalar(VALUE_BYTES, beyond.type)]).fill_null(False)
        if pc.call_function("any", [beyond]).as_py():
            # Without it from here on: the row is rejected, and what shows it reads the batch.
            text = pc.call_function("if_else", [beyond, pa.scalar(None, pa.string()), text])
            long = pc.call_function("or", [long, beyond])
        flag = "stray" if canonical in _IDS else "stray_value" if canonical == "value" else None
        if flag and batch.quote and (odd := _odd_quotes(text, batch.quote)) is not None:
            stray[flag] = pc.call_function("or", [stray[flag], odd])
        found[canonical] = text
    table = pa.table({**found, "source_row": batch.source_row, "long": long, **stray})
    frame = nw.from_arrow(table if mask is None else table.filter(mask), backend="polars").lazy()
    return frame.with_columns(trimmed(nw.col(name)).alias(name) for name in columns)


def _odd_quotes(text: pa.Array, quote: str) -> pa.Array | None:
    """Where values have an odd number of quotes; None if there is no quote at all."""
    data = text.buffers()[2]
    if data is None or not (np.frombuffer(data, np.uint8) == ord(quote)).any():
        return None
    count = pc.call_function("count_substring", [text], pc.MatchSubstringOptions(quote))
    last_bit = pc.call_function("bit_wise_and", [count, pa.scalar(1, count.type)])
    return pc.call_function("equal", [last_bit, pa.scalar(1, count.type)]).fill_null(False)


def timed(
    batch: RawBatch, columns: Mapping[str, str], spec: TimedFileSpec, source_file: str, mask: pa.Array | None = None
) -> tuple[Frame, int]:
    """:func:`texts` with ``us`` (null if unreadable) and ``skipped``; and the rows in a repeated hour."""
    frame = texts(batch, columns, source_file, mask)
    unit = "iso" if is_time(batch.rows.column(columns["ts"]).type) else spec.time_unit
    if unit is not None and unit != "iso":
        return frame.with_columns(to_micros(nw.col("ts"), unit).alias("us"), nw.lit(False).alias("skipped")), 0
    table = frame.collect().to_arrow()
    written = table["ts"].cast(pa.string()).combine_chunks()
    stated = ISO if unit == "iso" else spec.time_format or ISO
    times = read_times(written, stated, spec.time_zone)
    table = table.append_column("us", times.micros).append_column("skipped", pa.array(times.skipped))
    return nw.from_arrow(table, backend="polars").lazy(), times.repeated


def whole_id(text: nw.Expr) -> nw.Expr:
    """Ids of categories, which some exports write as ``213.0``."""
    return nw.when(text.str.contains(r"^[0-9]+\.0+$")).then(text.str.replace(r"\.0+$", "")).otherwise(text)
