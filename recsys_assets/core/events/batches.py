"""Batches of raw rows, and what the columns of a file must be."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_assets.core.events.file_faults import SchemaError, shape
from recsys_assets.core.events.vocabulary import clipped

WRONG_COLUMNS = "wrong number of columns"
UNCLOSED_QUOTE = "wrong number of columns and a quote that is not closed"
SWALLOWED = "a quote that is not closed, so that a value holds other rows"
NOT_JSON = "not JSON"
NOT_TEXT = "bytes that are no text of the encoding"
NESTED = "a list or an object in column"
TOO_LONG = "row or value too long"
HEADER_AGAIN = "the header again"
STRAY_QUOTE = "a quote in an id that nothing opens or closes"

ROW_BYTES = 8 << 20
"""A longer row of a text file is rejected (jsonl), or the file is (csv: a quote may never be closed)."""
BATCH_BYTES = 8 << 20
"""About how many bytes of a file make a batch."""
VALUE_BYTES = 4096
"""A longer value of a mapped column is no id, name or number: its row is rejected."""

_SEPARATORS = (";", ",", "\t", "|")
_MOST_NAMES, _NAME_CHARACTERS = 30, 60
_BROKEN = pa.schema([("source_row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])

Broken = tuple[int, str, str]
"""Number, reason and raw text of a row."""


@dataclass(frozen=True)
class RawBatch:
    """Some rows of a landing file, unparsed.

    Args:
        rows: columns under the file's names: the mapped ones and some others. Text files have strings and, where a
            column is not mapped, bytes.
        source_row: int64, ascending: number of each row.
        lines: the JSON text of each row, if the file is jsonl.
        broken: source_row, reason, raw (JSON): rows without columns. Their numbers lie between those of ``rows``.
        columns: name to type of all columns of the file seen so far, mapped or not; text files have no types.
        quote: around the values of a csv file, where one in a value is written twice; empty if quotes have no meaning.
    """

    rows: pa.Table
    source_row: pa.Array
    lines: pa.Array | None
    broken: pa.Table
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    quote: str = ""

    @property
    def num_rows(self) -> int:
        """Rows of the file in this batch, broken ones included."""
        return self.rows.num_rows + self.broken.num_rows


def make_batch(
    rows: pa.Table,
    numbers: np.ndarray[Any, Any],
    broken: Sequence[Broken],
    columns: Mapping[str, str],
    lines: pa.Array | None = None,
) -> RawBatch:
    """A batch of rows with their numbers, and of broken ones in order."""
    cells = [list(column) for column in zip(*broken, strict=True)] or [[], [], []]
    return RawBatch(rows, pa.array(numbers, pa.int64()), lines, pa.table(cells, schema=_BROKEN), columns)


def untyped(names: Iterable[str]) -> dict[str, str]:
    """The columns of a text file."""
    return dict.fromkeys(names, "text")


def require(name: str, columns: Mapping[str, str], present: Sequence[str], *, first_line: bool = False) -> None:
    """Refuse a file that does not have each mapped column once.

    Args:
        name: of the file.
        columns: canonical to raw name.
        present: the columns of the file.
        first_line: whether these were read from a first line. They are then only shown if some are known: the first
            line of a file without a header is no list of names, but a row about a person.

    Raises:
        SchemaError: names file and column.
    """
    for canonical, raw in columns.items():
        if present.count(raw) == 1:
            continue
        problem = "is missing" if raw not in present else "appears more than once"
        found = _found(raw, canonical, columns, present, first_line=first_line)
        raise SchemaError(f"{name}: column {raw!r} ({canonical}) {problem}; expected it once, found {found}")


def _found(raw: str, canonical: str, columns: Mapping[str, str], present: Sequence[str], *, first_line: bool) -> str:
    wanted = {*columns.values()}
    other = next((one for one in _SEPARATORS if len(present) == 1 and wanted <= {*present[0].split(one)}), None)
    if other:
        return f"one column: the separator is {other!r}, which the data set has to state"
    unmapped = [column for column in present if column not in wanted]
    similar = None if raw in present else _most_similar(raw, canonical, unmapped)
    if first_line and not {_plain(one) for one in wanted} & {_plain(one) for one in present}:
        return f"{len(present)} others (if the file has no header, state column_names; if it has, its separator)"
    return _names(present) + (f"; its new name may be {similar!r}" if similar else "")


def _names(present: Sequence[str]) -> str:
    shown = str([clipped(one, _NAME_CHARACTERS) for one in present[:_MOST_NAMES]])
    return shown if len(present) <= _MOST_NAMES else f"{shown} and {len(present) - _MOST_NAMES:,} more"


def _plain(name: str) -> str:
    """A name without what people write in several ways."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _most_similar(missing: str, canonical: str, candidates: Sequence[str]) -> str | None:
    """The column that a missing one may have become: similar to its old or its canonical name, ignoring case."""
    some = [column for column in candidates if len(column) <= _NAME_CHARACTERS][:1000]
    column_of = {_plain(column): column for column in reversed(some)}
    for name in (missing, canonical):
        matches = get_close_matches(_plain(name), list(column_of), n=1, cutoff=0.6)
        if matches:
            return column_of[matches[0]]
    return None


def refuse_broken(batch: RawBatch, name: str) -> None:
    """Refuse rows without columns, in files that are of use as a whole only.

    Raises:
        SchemaError: names the file and the first such row, never what stands there.
    """
    if batch.broken.num_rows:
        row = batch.broken.slice(0, 1).to_pylist()[0]
        raise SchemaError(f"{name}: row {row['source_row']}: {row['reason']}, found {shape(json.loads(row['raw']))}")
