"""Read csv and tsv files; see :mod:`recsys_assets.core.events.read`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from recsys_assets.core.dataset import FileSpec
from recsys_assets.core.events.batches import (
    HEADER_AGAIN,
    NOT_TEXT,
    ROW_BYTES,
    SWALLOWED,
    UNCLOSED_QUOTE,
    WRONG_COLUMNS,
    Broken,
    RawBatch,
    make_batch,
    require,
    untyped,
)
from recsys_assets.core.events.file_faults import SchemaError, UnreadableFileError
from recsys_assets.core.events.raw import OTHER_COLUMNS, raw_rows, raw_text
from recsys_assets.core.events.swallowed_rows import IsRow, SwallowedRows
from recsys_assets.core.events.text_stream import MARK, open_text
from recsys_assets.core.events.unclosed_quotes import Lines, split, with_taken_lines

_BLOCK = ROW_BYTES
_HEADER_BYTES = 4 << 20
_MOST_PENDING = 250_000
"""Broken rows within two blocks; a file with more is not of this format, and they would fill the memory."""


def read_csv(
    stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str], is_row: IsRow | None = None
) -> Iterator[RawBatch]:
    """Stream the rows of a csv or tsv file."""
    # Closed in the end: Arrow reads ahead in a thread of its own, which goes on after a fault, and aborts the process
    # if the interpreter ends meanwhile.
    with open_text(stream, name, spec.encoding) as text:
        for batch in _rows(text, name, spec, columns, is_row):
            yield replace(batch, quote=spec.quote)


def _rows(
    text: io.BufferedReader, name: str, spec: FileSpec, columns: Mapping[str, str], is_row: IsRow | None
) -> Iterator[RawBatch]:
    separator, header = _header(text, name, spec)
    if not header and not text.peek(1):
        raise SchemaError(f"{name}: the file is empty; expected a first line with the names of the columns")
    require(name, columns, header, first_line=spec.column_names is None)
    if not text.peek(1):
        return
    lines = Lines(header, _read_columns(header, columns), separator, spec.quote)
    swallowed = None
    if is_row and spec.quote:
        short = [header.index(raw) for canonical, raw in columns.items() if canonical != "value"]
        proof = max(header.index(columns[name]) for name in (["ts"] if "ts" in columns else columns))
        swallowed = SwallowedRows(lines, proof, short, is_row)
    taken: dict[int, list[str]] = {}
    batches = _batches(text, name, spec, lines, list(dict.fromkeys(columns.values())), swallowed, taken)
    yield from with_taken_lines(batches, taken, lines) if spec.quote else batches


def _batches(
    text: io.BufferedReader,
    name: str,
    spec: FileSpec,
    lines: Lines,
    mapped: list[str],
    swallowed: SwallowedRows | None,
    taken: dict[int, list[str]],
) -> Iterator[RawBatch]:
    """The rows as Arrow finds them; ``taken`` gets the further lines of broken rows of several lines."""
    pending: list[Broken] = []

    def set_aside(row: Any) -> str:
        first, rest = split(row.text)
        if rest:
            taken[row.number - 1] = rest
        pending.append((row.number - 1, UNCLOSED_QUOTE if rest else WRONG_COLUMNS, raw_text(first)))
        return "skip" if len(pending) < _MOST_PENDING else "error"

    try:
        reader = _open(text, spec, lines, set_aside, whole=swallowed is not None)
    except pa.ArrowInvalid as error:
        _too_many(name, pending, error)
        raise
    names, position = untyped(lines.header), 0
    places = [str(lines.header.index(column)) for column in lines.read]
    while (batch := _next(reader, name, pending)) is not None:
        # Invalid rows seen so far may come after this batch, since Arrow reads ahead; those that follow it at once are
        # taken along, so that they do not pile up where no good rows come.
        inside = 0
        while inside < len(pending) and pending[inside][0] <= position + batch.num_rows + inside:
            inside += 1
        numbers = np.arange(position, position + batch.num_rows + inside, dtype=np.int64)
        numbers = np.delete(numbers, [row - position for row, _, _ in pending[:inside]])
        position += batch.num_rows + inside
        whole = pa.Table.from_batches([batch])
        rows = whole.select(places).rename_columns(lines.read)
        more: list[Broken] = []
        if swallowed and (found := swallowed.find(whole)):
            for at, (first, *rest) in found.items():
                more.append((int(numbers[at]), SWALLOWED, raw_text(first)))
                taken[int(numbers[at])] = rest
            kept = ~np.isin(np.arange(len(numbers)), list(found))
            rows, numbers = rows.filter(pa.array(kept)), numbers[kept]
        rows, numbers, others = _without_broken(rows, numbers, mapped, repeats_header=spec.column_names is None)
        yield make_batch(rows, numbers, sorted(pending[:inside] + more + others), names)
        for number, _, _ in pending[:inside] + more:
            taken.pop(number, None)
        del pending[:inside]
    if pending:
        no_rows = pa.table({column: pa.array([], pa.string()) for column in mapped})
        yield make_batch(no_rows, np.array([]), pending, names)


def _next(reader: pacsv.CSVStreamingReader, name: str, pending: Sequence[Broken]) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except pa.ArrowInvalid as error:
        _too_many(name, pending, error)
        raise


def _too_many(name: str, pending: Sequence[Broken], error: Exception) -> None:
    """Say that most rows of a part of the file have another number of columns, if that is what stopped its reading."""
    if len(pending) >= _MOST_PENDING:
        told = f"{len(pending):,} rows near row {pending[0][0]:,} have another number of columns than the header"
        raise UnreadableFileError(f"{name}: {told}") from error


def _open(
    text: io.BufferedReader, spec: FileSpec, lines: Lines, set_aside: Any, *, whole: bool
) -> pacsv.CSVStreamingReader:
    """Arrow's reader of the columns that are read, or of all; named by their places, since names may come twice."""
    names = [str(place) for place in range(len(lines.header))]
    read = names if whole else [str(lines.header.index(column)) for column in lines.read]
    return pacsv.open_csv(
        text,
        # One thread: otherwise Arrow does not know the numbers of the invalid rows.
        read_options=pacsv.ReadOptions(use_threads=False, column_names=names, block_size=_BLOCK),
        parse_options=pacsv.ParseOptions(
            delimiter=lines.separator,
            quote_char=spec.quote or False,
            newlines_in_values=bool(spec.quote),
            invalid_row_handler=set_aside,
        ),
        convert_options=pacsv.ConvertOptions(include_columns=read, column_types=dict.fromkeys(read, pa.string())),
    )


def _read_columns(header: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """The mapped columns and some others, which rejected rows show."""
    mapped = [one for one in header if one in columns.values()]
    others = [one for one in header if one not in columns.values() and header.count(one) == 1]
    return [*mapped, *others[:OTHER_COLUMNS]]


def _without_broken(
    rows: pa.Table, numbers: np.ndarray[Any, Any], mapped: Sequence[str], *, repeats_header: bool
) -> tuple[pa.Table, np.ndarray[Any, Any], list[Broken]]:
    """Rows without those that are no text or the header again, and these."""
    faults = {
        NOT_TEXT: [pc.call_function("match_substring", [rows[c]], pc.MatchSubstringOptions(MARK)) for c in mapped]
    }
    bad = _any(faults[NOT_TEXT], rows.num_rows)
    again = np.zeros(rows.num_rows, np.bool_)
    if repeats_header and mapped:
        again = ~_any([pc.call_function("not_equal", [rows[c], pa.scalar(c)]) for c in mapped], rows.num_rows)
    gone = bad | again
    if not gone.any():
        return rows, numbers, []
    texts = raw_rows(rows, pa.array(np.flatnonzero(gone)), mapped)
    reasons = [NOT_TEXT if is_bad else HEADER_AGAIN for is_bad in bad[gone]]
    broken = [(int(number), reason, raw) for number, reason, raw in zip(numbers[gone], reasons, texts, strict=True)]
    return rows.filter(pa.array(~gone)), numbers[~gone], broken


def _any(masks: Sequence[Any], rows: int) -> np.ndarray[Any, Any]:
    found = np.zeros(rows, np.bool_)
    for mask in masks:
        found |= mask.to_numpy().astype(np.bool_)
    return found


def _header(text: io.BufferedReader, name: str, spec: FileSpec) -> tuple[str, list[str]]:
    """The separator, and the names in the first line that is not blank; none at the end of the file."""
    separator = spec.separator_of(name)
    first = _peek(text)
    if stated := re.match(rb'"?sep=(.)"?(\r\n|\r|\n)', first, re.IGNORECASE):
        separator = stated[1].decode("latin-1")
        text.read(stated.end())
    if spec.column_names is not None:
        return separator, list(spec.column_names)
    while line := _line(text, name, spec.quote):
        if line.strip("\r\n"):
            quoting = csv.QUOTE_MINIMAL if spec.quote else csv.QUOTE_NONE
            lines = [line.replace(MARK, "\ufffd").rstrip("\r\n")]
            names = next(csv.reader(lines, delimiter=separator, quotechar=spec.quote or None, quoting=quoting))
            return separator, names
    return separator, []


def _peek(text: io.BufferedReader) -> bytes:
    return text.peek(64)[:64]


def _line(text: io.BufferedReader, name: str, quote: str) -> str:
    """The next line with its end, which is LF, CRLF or CR; a quoted end does not end it."""
    line = bytearray()
    quoted = False
    while part := _until_end(text):
        line += part
        quoted ^= bool(quote) and part.count(quote.encode()) % 2 == 1
        if line.endswith((b"\r", b"\n")) and not quoted:
            if line.endswith(b"\r") and text.peek(1).startswith(b"\n"):
                line += text.read(1)
            break
        if len(line) > _HEADER_BYTES:
            raise UnreadableFileError(f"{name}: its first line, which should name the columns, does not end")
    return line.decode()


def _until_end(text: io.BufferedReader) -> bytes:
    """Bytes up to the next end of a line, or some of them."""
    seen = text.peek(1)
    ends = [at for at in (seen.find(b"\r"), seen.find(b"\n")) if at >= 0]
    return text.read(min(ends) + 1 if ends else len(seen))
