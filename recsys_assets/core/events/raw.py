"""Rejected rows as they were, in JSON: enough of each to see what it is, and never more.

A value has at most 200 characters and a row about 1,000: the mapped columns come first, others follow while there is
room. So a file of nothing but huge broken rows fits into memory and into the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
import pyarrow as pa

from recsys_assets.core.events.text_stream import MARK
from recsys_assets.core.events.vocabulary import clipped

ROW_CHARACTERS = 1_000
VALUE_CHARACTERS = 200
_AT_ONCE = 64
OTHER_COLUMNS = 30
"""Columns beside the mapped ones that are read, so that rejected rows show them."""


def raw_text(text: str) -> str:
    """A row that did not split into columns."""
    return orjson.dumps(clipped(text, ROW_CHARACTERS).replace(MARK, "\ufffd")).decode()


def raw_row(row: Mapping[str, Any], mapped: Iterable[str]) -> str:
    """A row by the names of its columns, the mapped ones first."""
    first = [name for name in dict.fromkeys(mapped) if name in row]
    shown: dict[str, Any] = {name: _value(row[name]) for name in first}
    left = ROW_CHARACTERS - sum(map(_length, first, shown.values()))
    for name, value in row.items():
        if name not in shown:
            short = _value(value)
            left -= _length(name, short)
            if left < 0 or len(shown) >= len(first) + OTHER_COLUMNS:
                break
            shown[name] = short
    return orjson.dumps(shown, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def raw_rows(rows: pa.Table, positions: pa.Array, mapped: Iterable[str]) -> list[str]:
    """Some rows of a table, each as of :func:`raw_row`.

    A few at a time: as Python objects they take many times their bytes.
    """
    mapped = tuple(mapped)
    texts: list[str] = []
    for start in range(0, len(positions), _AT_ONCE):
        some = positions.slice(start, _AT_ONCE)
        columns = [(name, _cells(rows.column(index), some)) for index, name in enumerate(rows.column_names)]
        texts += [raw_row({name: cells[place] for name, cells in columns}, mapped) for place in range(len(some))]
    return texts


def _cells(column: pa.ChunkedArray, positions: pa.Array) -> list[Any]:
    """Values of a column; as text where Python has none like them, such as nanoseconds."""
    try:
        taken = column.take(positions)
        return taken.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        pass
    try:
        return column.cast(pa.string()).take(positions).to_pylist()
    except (ValueError, pa.ArrowException):
        return ["(not shown)"] * len(positions)


def _length(name: str, value: Any) -> int:
    return len(name) + len(str(value))


def _value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return clipped(value, VALUE_CHARACTERS).replace(MARK, "\ufffd")
    if isinstance(value, bytes):
        return clipped(value[:VALUE_CHARACTERS].decode(errors="replace"), VALUE_CHARACTERS)
    try:
        written = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        written = str(value)
    return value if len(written) <= VALUE_CHARACTERS else clipped(written, VALUE_CHARACTERS)
