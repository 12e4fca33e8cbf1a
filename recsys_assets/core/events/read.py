"""Read landing files as streams of raw rows, in bounded memory.

Reads csv, tsv, jsonl and parquet, plain or (the text formats) gz, xz and zst. Rows that do not split into columns are
returned as broken rows with their number and text; a file of another format or schema raises an error that names it.

Row numbers count the data rows of a file from 0, without the header and blank lines; a quoted newline does not start a
new row.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from recsys_assets.core.dataset import FileSpec

WRONG_COLUMNS = "wrong number of columns"
NOT_JSON = "not JSON"

_BLOCK = 16 << 20
_LINE_LIMIT = 16 << 20
_BATCH_LINES = 32_768
_BROKEN_LIMIT = 1_000_000
_BROKEN = pa.schema([("source_row", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


class DataFileError(ValueError):
    """A landing file does not match the data set's description."""


class SchemaError(DataFileError):
    """A landing file's columns, types or units do not match the data set's description."""


class UnreadableFileError(DataFileError):
    """The bytes of a landing file cannot be read: corrupt, cut off, or of another format."""


@dataclass(frozen=True)
class RawBatch:
    """Some rows of a landing file, unparsed.

    Args:
        rows: the columns under the file's names; strings if it is a text file.
        source_row: int64, ascending: number of each row.
        lines: the JSON text of each row, if the file is jsonl.
        broken: source_row, reason, raw (JSON): rows without columns. Their numbers lie between those of ``rows``.
        columns: name to type of all columns of the file seen so far, mapped or not; text files have no types.
    """

    rows: pa.Table
    source_row: pa.Array
    lines: pa.Array | None
    broken: pa.Table
    columns: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def num_rows(self) -> int:
        """Rows of the file in this batch, broken ones included."""
        return self.rows.num_rows + self.broken.num_rows


_Broken = tuple[int, str, str]


def read_rows(stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str]) -> Iterator[RawBatch]:
    """Stream the rows of one landing file, in order.

    Args:
        stream: the file's bytes; parquet needs it seekable.
        name: path relative to the landing zone; gives format and compression, and appears in errors.
        spec: description of the file's format.
        columns: canonical name to the file's name, for each required column.

    Raises:
        SchemaError: a column is missing (jsonl: in every row). Names file, column and the columns found.
        UnreadableFileError: corrupt, cut off, wrongly encoded or another format.
    """
    form = spec.format_of(name)
    reader = {"csv": _read_csv, "tsv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}[form]
    try:
        yield from reader(stream, name, spec, columns)
    except DataFileError:
        raise
    except (OSError, EOFError, ValueError, lzma.LZMAError, csv.Error, pa.ArrowException) as error:
        raise UnreadableFileError(f"{name}: cannot be read as {form} ({spec.encoding}): {error}") from error


def _compression(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def _open_text(stream: BinaryIO, name: str, spec: FileSpec) -> io.BufferedReader:
    """The file's text as UTF-8 without a byte order mark, decompressed."""
    # Arrow's decompressors, unlike others, raise an error if a stream ends too early.
    native: Any = pa.PythonFile(stream, mode="r")
    compression = _compression(name)
    if compression in ("gz", "zst"):
        native = pa.CompressedInputStream(native, {"gz": "gzip", "zst": "zstd"}[compression])
    elif compression == "xz":
        native = pa.PythonFile(lzma.LZMAFile(io.BufferedReader(native)), mode="r")  # noqa: SIM115 (closed by its owner)
    if spec.encoding.lower().replace("_", "-") not in ("utf-8", "utf8", "utf-8-sig"):
        native = pa.transcoding_input_stream(native, spec.encoding, "utf-8")
    text = io.BufferedReader(native, buffer_size=1 << 20)
    if text.peek(3).startswith(b"\xef\xbb\xbf"):
        text.read(3)
    return text


def _require(name: str, columns: Mapping[str, str], present: list[str]) -> None:
    for canonical, raw in columns.items():
        if present.count(raw) != 1:
            problem = "is missing" if raw not in present else "appears more than once"
            unmapped = [column for column in present if column not in columns.values()]
            similar = None if raw in present else _most_similar(raw, canonical, unmapped)
            hint = f"; its new name may be {similar!r}" if similar else ""
            found = f"expected it once, found {present}{hint}"
            raise SchemaError(f"{name}: column {raw!r} ({canonical}) {problem}; {found}")


def _most_similar(missing: str, canonical: str, candidates: Sequence[str]) -> str | None:
    """The column that a missing one may have become: similar to its old or its canonical name, ignoring case."""
    column_of = {re.sub(r"[^a-z0-9]", "", column.lower()): column for column in reversed(candidates)}
    for name in (missing, canonical):
        matches = get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), list(column_of), n=1, cutoff=0.6)
        if matches:
            return column_of[matches[0]]
    return None


def _header(text: io.BufferedReader, name: str, spec: FileSpec) -> list[str]:
    """The names in the first line that is not blank; empty at the end of the file."""
    while line := text.readline(_LINE_LIMIT):
        if line.strip(b"\r\n"):
            quoting = csv.QUOTE_MINIMAL if spec.quote else csv.QUOTE_NONE
            decoded = [line.decode().rstrip("\r\n")]
            return next(
                csv.reader(decoded, delimiter=spec.separator_of(name), quotechar=spec.quote or None, quoting=quoting)
            )
    return []


def _read_csv(stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str]) -> Iterator[RawBatch]:
    text = _open_text(stream, name, spec)
    header = list(spec.column_names) if spec.column_names is not None else _header(text, name, spec)
    _require(name, columns, header)
    if not text.peek(1):
        return
    names = _untyped(header)
    broken: list[_Broken] = []

    def set_aside(row: Any) -> str:
        broken.append((row.number - 1, WRONG_COLUMNS, _json(row.text)))
        return "skip" if len(broken) < _BROKEN_LIMIT else "error"

    reader = pacsv.open_csv(
        text,
        # One thread: otherwise Arrow does not know the numbers of the invalid rows.
        read_options=pacsv.ReadOptions(use_threads=False, column_names=header, block_size=_BLOCK),
        parse_options=pacsv.ParseOptions(
            delimiter=spec.separator_of(name),
            quote_char=spec.quote or False,
            newlines_in_values=bool(spec.quote),
            invalid_row_handler=set_aside,
        ),
        convert_options=pacsv.ConvertOptions(column_types={column: pa.string() for column in header}),
    )
    position = 0
    for batch in reader:
        # Invalid rows seen so far may come after this batch, since Arrow reads ahead.
        inside = 0
        while inside < len(broken) and broken[inside][0] < position + batch.num_rows + inside:
            inside += 1
        numbers = np.arange(position, position + batch.num_rows + inside, dtype=np.int64)
        numbers = np.delete(numbers, [row - position for row, _, _ in broken[:inside]])
        position += batch.num_rows + inside
        yield _batch(pa.Table.from_batches([batch]), numbers, broken[:inside], names)
        del broken[:inside]
    if broken:
        no_rows = pa.table({column: pa.array([], pa.string()) for column in columns.values()})
        yield _batch(no_rows, np.array([]), broken, names)


def _read_jsonl(stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str]) -> Iterator[RawBatch]:
    text = _open_text(stream, name, spec)
    required = list(dict.fromkeys(columns.values()))
    present: set[str] = set()
    position, any_object, at_end = 0, False, False
    while not at_end:
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        lines: list[str] = []
        broken: list[_Broken] = []
        while len(rows) + len(broken) < _BATCH_LINES:
            line = text.readline(_LINE_LIMIT)
            if len(line) == _LINE_LIMIT:
                raise UnreadableFileError(f"{name}: row {position} is longer than {_LINE_LIMIT:,} bytes")
            if not line:
                at_end = True
                break
            if not (line := line.strip()):
                continue
            row = _object(line)
            if row is None:
                broken.append((position, NOT_JSON, _json(line.decode(errors="replace"))))
            else:
                rows.append(row)
                numbers.append(position)
                lines.append(line.decode())
                if not row.keys() <= present:
                    present.update(row)
            position += 1
        any_object = any_object or bool(rows)
        table = pa.table({column: pa.array([_field(r.get(column)) for r in rows], pa.string()) for column in required})
        if rows or broken:
            yield _batch(table, np.array(numbers), broken, _untyped(sorted(present)), pa.array(lines, pa.string()))
    if any_object:
        _require(name, columns, sorted(present))


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return cast(dict[str, Any], row) if isinstance(row, dict) else None


def _field(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _read_parquet(stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str]) -> Iterator[RawBatch]:
    if _compression(name) in ("gz", "xz", "zst"):
        raise UnreadableFileError(f"{name}: parquet compresses its own columns; a compressed parquet file is not read")
    file = pq.ParquetFile(stream)
    _require(name, columns, file.schema_arrow.names)
    names = {field.name: str(field.type) for field in file.schema_arrow}
    position = 0
    for batch in file.iter_batches(batch_size=131_072):
        yield _batch(pa.Table.from_batches([batch]), np.arange(position, position + batch.num_rows), [], names)
        position += batch.num_rows


def _untyped(names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, "text")


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


def _batch(
    rows: pa.Table,
    numbers: np.ndarray[Any, Any],
    broken: list[_Broken],
    columns: Mapping[str, str],
    lines: Any = None,
) -> RawBatch:
    cells = [list(column) for column in zip(*broken, strict=True)] or [[], [], []]
    return RawBatch(rows, pa.array(numbers, pa.int64()), lines, pa.table(cells, schema=_BROKEN), columns)
