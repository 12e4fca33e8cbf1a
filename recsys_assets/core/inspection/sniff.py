"""How the bytes of a file of unknown origin are read: format, compression, encoding, separator, header."""

from __future__ import annotations

import csv
import lzma
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO, NamedTuple, cast

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from charset_normalizer import from_bytes

from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.text_stream import compression_of, first_bytes
from recsys_assets.core.file_specs import FileSpec, Format

_HEAD = 1 << 20
_LINES = 1_000
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SEPARATORS = (",", ";", "\t", "|")
_DOUBLE = "::"
"""What separates the fields of some published ratings: read as ``:``, with an empty column between two."""
_ODD_LINES = ("sep=",)
_MOSTLY_ASCII = 0.05
"""Share of other bytes up to which text is of a Western language: too few for a statistical guess."""
_NOT_IN_CP1252 = set(b"\x81\x8d\x8f\x90\x9d")


class Sniffed(NamedTuple):
    """How a file is read.

    Args:
        spec: how.
        names: of its columns.
        nested: columns of JSON that hold lists or objects.
    """

    spec: FileSpec
    names: list[str]
    nested: frozenset[str] = frozenset()


def sniff(stream: BinaryIO, name: str) -> Sniffed:
    """How a file is read, and the names of its columns.

    The encoding is what charset-normalizer finds where it is not UTF-8.

    Args:
        stream: the file's bytes, seekable.
        name: of the file; only its suffix matters.

    Raises:
        DataFileError: nothing that can be read: empty, damaged, no text or a JSON array.
    """
    start = stream.read(8)
    stream.seek(0)
    if not start:
        raise DataFileError(f"{name}: is empty")
    if start.startswith(b"PAR1"):
        try:
            columns = pq.ParquetFile(stream).schema_arrow.names
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataFileError(f"{name}: is damaged parquet ({type(error).__name__})") from None
        return Sniffed(FileSpec(files=(name,), format="parquet"), columns)
    head, encoding = _text(_decompressed(stream, compression_of(start), name), name)
    if head.lstrip()[:1] in ("{", "["):
        return Sniffed(FileSpec(files=(name,), format="jsonl", encoding=encoding), *_json_columns(head, name))
    return _delimited(head, name, encoding)


def _decompressed(stream: BinaryIO, found: str, name: str) -> bytes:
    """The first bytes of the file's text, however its name says that it is compressed, as the reader takes it."""
    try:
        return first_bytes(stream, _HEAD)
    except (pa.ArrowException, OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DataFileError(f"{name}: is damaged {found} ({type(error).__name__})") from None


def _text(head: bytes, name: str) -> tuple[str, str]:
    """The text of the first bytes, cut at the last whole line, and its encoding."""
    encoding = next((kind for mark, kind in _MARKS if head.startswith(mark)), None) or _encoding(head)
    if encoding is None:
        raise DataFileError(f"{name}: is neither parquet nor text")
    text = head.decode(encoding, errors="ignore").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise DataFileError(f"{name}: has no line")
    whole, _, rest = text.rpartition("\n")
    return (whole if len(head) == _HEAD and whole else whole + "\n" + rest), encoding


def _encoding(head: bytes) -> str | None:
    """The encoding of text without a mark; None for bytes that are no text."""
    if b"\x00" in head:
        return None
    try:
        # A character may be cut at the end.
        head[: -4 if len(head) == _HEAD else None].decode("utf-8")
    except UnicodeDecodeError:
        foreign = head.translate(None, bytes(range(128)))
        if len(foreign) > len(head) * _MOSTLY_ASCII and (best := from_bytes(head[: _HEAD // 8]).best()) is not None:
            return best.encoding.replace("_", "-")
        return "latin-1" if set(foreign) & _NOT_IN_CP1252 else "cp1252"
    return "utf-8"


def _json_columns(head: str, name: str) -> tuple[list[str], frozenset[str]]:
    """The columns of JSON lines, and those that hold lists or objects."""
    nested: dict[str, bool] = {}
    for line in [line for line in head.splitlines() if line.strip()][:_LINES]:
        try:
            row: Any = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            for column, value in cast(dict[str, Any], row).items():
                nested[column] = nested.get(column, False) or isinstance(value, (dict, list))
    if not nested:
        raise DataFileError(f"{name}: expected a JSON object on each line, found JSON of another shape")
    return list(nested), frozenset(column for column, holds in nested.items() if holds)


def _delimited(head: str, name: str, encoding: str) -> Sniffed:
    lines = [line for line in head.splitlines() if line.strip()][:_LINES]
    separator = _separator([line for line in lines if not line.lower().startswith(_ODD_LINES)] or lines)
    rows = list(csv.reader(lines, delimiter=separator))
    first = next(row for row in rows if len(row) > 1 or row == rows[-1])
    has_header = len(rows) > 1 and not any(_is_value(cell) for cell in first)
    names = first if has_header else [f"column{place}" for place in range(1, len(first) + 1)]
    form: Format = "tsv" if separator == "\t" else "csv"
    plain = {"csv": ",", "tsv": "\t"}[form]
    spec = FileSpec(
        files=(name,),
        format=form,
        separator=None if separator == plain else separator,
        column_names=None if has_header else tuple(names),
        encoding=encoding,
    )
    return Sniffed(spec, names)


def _separator(lines: Sequence[str]) -> str:
    """The separator that splits most lines into the same number of fields, and into more than one."""

    def fit(separator: str) -> tuple[float, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator))
        width, count = max(widths.items(), key=lambda one: one[1])
        return (count / len(lines), width) if width > 1 else (0.0, 0)

    doubled = all(_DOUBLE in line for line in lines)
    return _DOUBLE[0] if doubled else max(_SEPARATORS, key=fit)


def _is_value(cell: str) -> bool:
    """Whether a cell of the first row is data: names of columns hold a letter, and do not begin with a digit."""
    return bool(cell.strip()) and (cell.strip()[0].isdigit() or not any(one.isalpha() for one in cell))
