"""Read landing files as streams of raw rows, in bounded memory.

Reads csv, tsv, jsonl and parquet, plain or (the text formats) gz, xz and zst. Rows that do not split into columns are
returned as broken rows with their number and the beginning of their text; a file of another format or schema raises an
error that names it.

Row numbers count the data rows of a file from 0, without the header and blank lines; a quoted newline does not start a
new row.
"""

from __future__ import annotations

import csv
import lzma
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import pyarrow as pa

from recsys_assets.core.dataset import FileSpec
from recsys_assets.core.events.batches import ROW_BYTES, RawBatch
from recsys_assets.core.events.file_faults import DataFileError, UnreadableFileError
from recsys_assets.core.events.read_csv import read_csv
from recsys_assets.core.events.read_jsonl import read_jsonl
from recsys_assets.core.events.read_parquet import read_parquet
from recsys_assets.core.events.swallowed_rows import IsRow

_READERS = {"jsonl": read_jsonl, "parquet": read_parquet}
_PARQUET_WORDS = 200


def read_rows(
    stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str], is_row: IsRow | None = None
) -> Iterator[RawBatch]:
    """Stream the rows of one landing file, in order.

    Args:
        stream: the file's bytes; parquet needs it seekable.
        name: path relative to the landing zone; gives the format, and appears in errors.
        spec: description of the file's format.
        columns: canonical name to the file's name, for each required column; ``ts`` among them with ``is_row``.
        is_row: which rows of a batch are likely ones of this file, by which rows are found that an unclosed quote of
            csv took in; None: they are not looked for.

    Raises:
        SchemaError: a column is missing (jsonl: in every row). Names file and column.
        UnreadableFileError: corrupt, cut off or another format.
    """
    form = spec.format_of(name)
    encoding = "" if form == "parquet" else f" ({spec.encoding})"
    try:
        if form in ("csv", "tsv"):
            yield from read_csv(stream, name, spec, columns, is_row)
        else:
            yield from _READERS[form](stream, name, spec, columns)
    except DataFileError:
        raise
    except (OSError, EOFError, ValueError, OverflowError, lzma.LZMAError, zlib.error, csv.Error) as error:
        raise UnreadableFileError(f"{name}: cannot be read as {form}{encoding}: {_reason(error, form)}") from error
    except (pa.ArrowException, MemoryError, RecursionError) as error:
        raise UnreadableFileError(f"{name}: cannot be read as {form}{encoding}: {_reason(error, form)}") from error


def _reason(error: BaseException, form: str) -> str:
    """What is wrong, without what the file holds: the words of libraries may quote it."""
    said = str(error)
    if form == "parquet":
        # Arrow quotes no values there, since nothing has been converted yet.
        return said.splitlines()[0][:_PARQUET_WORDS] if said else type(error).__name__
    if isinstance(error, EOFError) or "ended before" in said or "too early" in said or "truncated" in said.lower():
        return "the compressed data end too early"
    if isinstance(error, (OSError, zlib.error, lzma.LZMAError)):
        return f"the compressed data are damaged or followed by others ({type(error).__name__})"
    if isinstance(error, csv.Error):
        return "its first line is no list of names"
    if "straddling" in said or "block" in said:
        return f"a row is longer than {ROW_BYTES:,} bytes: a quote may not be closed, or the lines have another end"
    return f"the rows cannot be told apart ({type(error).__name__})"
