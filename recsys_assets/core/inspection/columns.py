"""What the columns of a file hold, and which of them are what the platform asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast, get_args

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.events.columns import about
from recsys_assets.core.events.file_faults import SchemaError
from recsys_assets.core.events.likely_rows import SPAN, micros
from recsys_assets.core.events.plain import plain_texts
from recsys_assets.core.events.values import PLAIN, EpochUnit, is_number, to_int64, to_micros, trimmed
from recsys_assets.core.file_specs import NumberFormat
from recsys_assets.core.inspection.words import ACTIONS, NAMES, has_part, plain_name
from recsys_assets.core.written_times import ISO, KNOWN_FORMATS, read_times

MOST_TYPES = 50
"""Distinct values of a column that can be a type of event."""
_MOST = 0.95
_TIMES_READ = 10_000
_ZONED = r"([Zz]|UTC|GMT|[+-][0-9]{2}:?[0-9]{0,2}|\])$"
_SIGNS = ("€", "$", "£", "EUR", "USD", "GBP")
_NUMBERS = (
    PLAIN,
    *(
        NumberFormat.model_validate({"decimal": decimal, "thousands": thousands, "affixes": affixes})
        for affixes in ((), _SIGNS)
        for decimal, thousands in ((".", ","), (",", "."), (",", " "), (".", "'"))
    ),
)
"""How numbers are written, the plainest first; a format with groups also reads numbers without them."""
_SPAN = tuple(map(micros, SPAN))


@dataclass(frozen=True)
class ColumnFacts:
    """What a column holds, as far as the rows that were looked at tell.

    Args:
        name: in the file.
        rows: looked at.
        empty: rows without a value.
        values: the values and how often each occurs, most frequent first; at most ``MOST_TYPES`` and one.
        whole: share of the values that are whole numbers of 64 bits, written without leading zeros.
        numbers: how the values are written as numbers; None if they are none.
        times: how the values are written as times since 1995: ``iso``, a unit since 1970 or formats. Several if the
            values fit them equally well, none if they are no times.
        zoned: whether all of them name a zone or an offset.
        nested: whether the values are lists or records, which are not read.
    """

    name: str
    rows: int
    empty: int
    values: Mapping[str, int]
    whole: float
    numbers: NumberFormat | None
    times: tuple[str, ...] = ()
    zoned: bool = True
    nested: bool = False

    @property
    def about(self) -> str:
        """For people."""
        if self.nested:
            return "lists or records, which are not read"
        if not self.rows - self.empty:
            return "nothing"
        kinds = ["whole numbers" if self.whole == 1 else "text" if self.numbers is None else "numbers"]
        if self.times:
            kinds.append(f"times ({' or '.join(self.times)})")
        few = f", {len(self.values)} different" if len(self.values) <= MOST_TYPES else ""
        missing = f", {self.empty / self.rows:.1%} empty" if self.empty else ""
        return " or ".join(kinds) + few + missing


def texts_of(rows: pa.Table, file: str) -> dict[str, pa.Array]:
    """The columns of raw rows as trimmed text, null where a cell is empty; without those of lists or records.

    Args:
        rows: of a file.
        file: its name, for errors.
    """
    texts: dict[str, pa.Array] = {}
    for name in rows.column_names:
        with suppress(SchemaError):
            plain = pa.table({"text": plain_texts(rows[name], about(file, name, "any"))})
            frame = nw.from_arrow(plain, backend="polars").select(trimmed(nw.col("text")).alias("text"))
            texts[name] = frame.to_arrow()["text"].combine_chunks().cast(pa.string())
    return texts


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
        numbers=next((form for form in _NUMBERS if _share(values, _is_written(form)) >= _MOST), None),
        times=_times(values),
        zoned=_share(values, lambda text: text.str.contains(_ZONED)) == 1,
    )


def nested_facts(name: str, rows: int) -> ColumnFacts:
    """The facts of a column of lists or records."""
    return ColumnFacts(name, rows, 0, {}, whole=0.0, numbers=None, nested=True)


def _share(values: pa.ChunkedArray, holds: Callable[[nw.Expr], nw.Expr]) -> float:
    """The share of values for which something holds; 0 of none."""
    if not len(values):
        return 0.0
    frame = nw.from_arrow(pa.table({"text": values}), backend="polars")
    return float(
        frame.select(holds(nw.col("text")).fill_null(value=False).cast(nw.Float64).mean().alias("share")).item()
    )


def _is_written(numbers: NumberFormat) -> Callable[[nw.Expr], nw.Expr]:
    return lambda text: is_number(text, numbers)


def _times(values: pa.ChunkedArray) -> tuple[str, ...]:
    """The forms in which most values are times since 1995; of formats, those that read the most values."""
    for unit in get_args(EpochUnit):
        if _share(values, _is_moment(unit)) >= _MOST:
            return (unit,)
    texts = values.slice(0, _TIMES_READ).combine_chunks()
    read = {form: _share_read(texts, form) for form in (ISO, *KNOWN_FORMATS)}
    most = max(read.values())
    return tuple(form for form, share in read.items() if share == most) if most >= _MOST else ()


def _share_read(texts: pa.Array, form: str) -> float:
    micros = read_times(texts, form).micros.to_numpy(zero_copy_only=False)
    return float(np.mean((micros >= _SPAN[0]) & (micros < _SPAN[1]))) if len(micros) else 0.0


def _is_moment(unit: EpochUnit) -> Callable[[nw.Expr], nw.Expr]:
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
    times = [column for column in columns if column.times and column not in roles.values()]
    if "ts" not in roles and len(times) == 1:
        roles["ts"] = times[0]
    types = [column for column in columns if _holds_types(column) and column not in roles.values()]
    if "event_type" not in roles and len(types) == 1:
        roles["event_type"] = types[0]
    if not has_names:
        for role in ("user_id", "item_id", "rating"):
            left = [column for column in columns if column not in roles.values() and column.empty < column.rows]
            if role not in roles and left and _may_be(role, left[0]):
                roles[role] = left[0]
    return roles


def _fit(name: str, names: Sequence[str]) -> tuple[int, int] | None:
    """How well a column's name fits, less is better: whole names before parts of names, then by their order."""
    plain = plain_name(name)
    if plain in names:
        return 0, names.index(plain)
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return min(((1, names.index(part)) for part in parts if part in names), default=None)


def _holds_types(column: ColumnFacts) -> bool:
    known = [value for value in column.values if has_part(value, ACTIONS)]
    return _may_be("event_type", column) and len(known) * 2 >= len(column.values)


def _may_be(role: str, column: ColumnFacts) -> bool:
    """Whether what a column holds fits what it is to be."""
    if column.nested:
        return False
    if role == "ts":
        return bool(column.times)
    if role in ("quantity", "price", "rating"):
        return column.numbers is not None and (role != "rating" or len(column.values) <= MOST_TYPES)
    if role == "event_type":
        return 0 < len(column.values) <= MOST_TYPES and not column.times
    return True
