"""Detect changes of a landing file's schema: renamed and missing columns, other types, other units of time.

A few bad rows are rejected one by one. If most rows of a file are bad in the same way, the schema of the file has
changed, and to process only the few other rows would be worse than to stop.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, cast

import orjson
import pyarrow as pa

from recsys_assets.core.dataset import Dataset, TimedFileSpec, TimeUnit
from recsys_assets.core.events.batches import NESTED, NOT_TEXT, WRONG_COLUMNS
from recsys_assets.core.events.file_faults import SchemaError, shape
from recsys_assets.core.events.parse import OUTSIDE_SPAN, Parsed
from recsys_assets.core.written_times import KNOWN_FORMATS, parse_time

_UNITS: Mapping[TimeUnit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "iso": "ISO 8601 text",
}
_PER_SECOND: Mapping[TimeUnit, float] = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
_MAJORITY, _ENOUGH, _EXAMPLES = 0.5, 10, 100
_FIRST_SECOND, _LAST_SECOND = -2_208_988_800, 253_402_300_799  # 1900 to 9999: plausible dates
_TIMES = ("unparsable ts", OUTSIDE_SPAN)


class SchemaWatch:
    """Collects the rejections of a file and decides at the end whether its schema has changed."""

    def __init__(self, kind: Literal["events", "properties", "impressions"], dataset: Dataset) -> None:
        self._kind, self._dataset = kind, dataset
        spec = dataset.properties if kind == "properties" else dataset.events
        if spec is None:
            raise ValueError(f"data set {dataset.name!r} has no [{kind}]")
        self._spec: TimedFileSpec = spec
        self._unit: TimeUnit | None = spec.time_unit
        self._columns = {canonical: raw for canonical, raw in spec.columns if raw is not None}
        self._rows = self._good = 0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, list[tuple[int, Any]]] = {}
        self._first = datetime.combine(dataset.start_date, datetime.min.time(), UTC).timestamp()
        self._end = datetime.combine(dataset.end_date or date(2100, 1, 1), datetime.min.time(), UTC).timestamp()

    def add(self, parsed: Parsed) -> None:
        """Count the outcome of a batch."""
        bad = parsed.rejected
        self._rows += parsed.good.num_rows + bad.num_rows
        self._good += parsed.good.num_rows
        reasons = cast("list[str]", bad["reason"].to_pylist())
        for reason, count in Counter(reasons).items():
            self._reasons[reason] += count
            examples = self._examples.setdefault(reason, [])
            if len(examples) < _EXAMPLES:
                mask = pa.array(other == reason for other in reasons)
                rows = bad.filter(mask).slice(0, _EXAMPLES - len(examples)).to_pylist()
                examples += [(row["source_row"], orjson.loads(row["raw"])) for row in rows]
        if self._kind == "properties":
            self._add_early(parsed.good)

    def check(self, name: str) -> None:
        """Raise an error if most rows are bad in a way that indicates another type, unit or layout.

        Raises:
            SchemaError: names the file, the column, the expected type or unit and an example of a value.
        """
        for reason, count in self._reasons.most_common():
            enough = count >= _ENOUGH or count == self._rows
            if count > _MAJORITY * self._rows and enough and (fault := self._fault(reason)):
                raise SchemaError(f"{name}: {fault}; so in {count:,} of {self._rows:,} rows")

    def _fault(self, reason: str) -> str | None:
        row, raw = self._examples[reason][0]
        if reason == WRONG_COLUMNS:
            named = f" ({', '.join(self._spec.column_names)})" if self._spec.column_names else ""
            return f"row {row}: expected as many columns as there are names{named}, found another number"
        if reason == NOT_TEXT:
            told = f"if it is of another encoding, state {self._kind}.encoding"
            return f"row {row}: expected {self._spec.encoding} text; {told}"
        if reason.startswith(NESTED):
            return f"column{reason.removeprefix(NESTED)}: expected one value, found a list or an object in row {row}"
        if reason in _TIMES:
            return self._unit_fault(reason)
        canonical = reason.removeprefix("unparsable ")
        if canonical == reason:
            return None
        ids = {"user_id": "user", "item_id": "item"}
        expected, hint = "a number", f" (if numbers are written otherwise, state {self._kind}.numbers)"
        if canonical in ids:
            expected, hint = "int64", f' (if these ids are text now, state ids.{ids[canonical]} = "string")'
        column = self._columns[canonical]
        return (
            f"column {column!r} ({canonical}): expected {expected}, found {shape(raw.get(column))} in row {row}{hint}"
        )

    def _unit_fault(self, reason: str) -> str | None:
        column = self._columns["ts"]
        examples = [(row, raw.get(column)) for row, raw in self._examples[reason]]
        guesses: Counter[TimeUnit | None] = Counter(self._unit_of(value) for _, value in examples)
        unit, votes = guesses.most_common(1)[0]
        row, value = next((row, value) for row, value in examples if self._unit_of(value) == unit)
        expected = f"expected {self._expected_times()}"
        if unit is not None and unit != self._unit and votes > _MAJORITY * len(examples):
            meaning = _in_unit(value, self._unit)
            return f"column {column!r} (ts) looks like {_UNITS[unit]}: row {row} {meaning}; {expected}"
        if reason == OUTSIDE_SPAN:
            return None
        found = f"column {column!r} (ts): {expected}, found {shape(value)} in row {row}"
        return found + self._formats_of([str(one).strip() for _, one in examples])

    def _expected_times(self) -> str:
        if self._unit is None:
            return f"times like {self._spec.time_format!r} ({self._kind}.time_format)"
        return f'{_UNITS[self._unit]} ({self._kind}.time_unit = "{self._unit}")'

    def _formats_of(self, texts: Sequence[str]) -> str:
        """The known formats that read all the examples."""
        formats = [one for one in KNOWN_FORMATS if all(parse_time(text, one) is not None for text in texts)]
        listed = " or ".join(f'{self._kind}.time_format = "{one}"' for one in formats)
        return f"; {listed} would read it" if listed else ""

    def _unit_of(self, value: object) -> TimeUnit | None:
        """The unit in which a time is within the data set's days; None if there is none."""
        text = str(value).strip()
        if re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return "iso"
        number = _number(text)
        if number is None:
            return None
        return next((unit for unit, per in _PER_SECOND.items() if self._first <= number / per < self._end), None)

    def _add_early(self, good: pa.Table) -> None:
        """Count snapshots from before the first day: they are accepted, so a wrong unit would not reject rows."""
        if self._unit is None or self._unit == "iso":
            return
        micros = good["ts"].cast(pa.int64()).to_numpy()
        early = good.filter(pa.array(micros < self._first * 1e6))
        column, per = self._columns["ts"], _PER_SECOND[self._unit]
        examples = self._examples.setdefault(OUTSIDE_SPAN, [])
        self._reasons[OUTSIDE_SPAN] += early.num_rows
        for row in early.slice(0, max(_EXAMPLES - len(examples), 0)).to_pylist():
            examples.append((row["source_row"], {column: round(row["ts"].timestamp() * per)}))


def differences(columns: Mapping[str, str], earlier: Sequence[Mapping[str, str]]) -> list[str]:
    """Differences of a file's columns (name to type) to those of earlier files, oldest first.

    They are harmless: a required column that is missing is an error elsewhere, and new columns are not read.
    """
    known_types: dict[str, str] = {}
    for file in earlier:
        known_types.update(file)
    if not known_types:
        return []
    new = [f"new column {name!r} ({kind})" for name, kind in sorted(columns.items()) if name not in known_types]
    changed = [
        f"column {name!r} is {kind}, was {known_types[name]}"
        for name, kind in sorted(columns.items())
        if known_types.get(name, kind) != kind and "text" not in (kind, known_types[name])
    ]
    return new + changed


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _in_unit(value: object, unit: TimeUnit | None) -> str:
    """Describes the date that a time would mean in the expected unit."""
    number = _number(str(value))
    if unit is None or unit == "iso" or number is None:
        return "is none"
    seconds = number / _PER_SECOND[unit]
    if not _FIRST_SECOND <= seconds <= _LAST_SECOND:
        return f"would be in the year {1970 + seconds / 31_556_952:.0f}"
    return f"would be {(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).date()}"
