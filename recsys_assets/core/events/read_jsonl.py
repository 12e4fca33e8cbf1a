"""Read files of JSON lines; see :mod:`recsys_assets.core.events.read`."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
import orjson
import pyarrow as pa

from recsys_assets.core.dataset import EmbeddingsSpec, FileSpec
from recsys_assets.core.events.batches import (
    BATCH_BYTES,
    NESTED,
    NOT_JSON,
    NOT_TEXT,
    ROW_BYTES,
    TOO_LONG,
    Broken,
    RawBatch,
    make_batch,
    require,
    untyped,
)
from recsys_assets.core.events.raw import ROW_CHARACTERS, raw_row, raw_text
from recsys_assets.core.events.text_stream import MARK, open_text

_BATCH_LINES = 32_768
_INEXACT = re.compile(rb"[0-9]{20}|[0-9][eE][+0-9-]|(?=[0-9.]{17})[0-9]+\.[0-9]")
"""A line that may hold a number that a float cannot: of more than 64 bits, of 16 digits with decimals, an exponent."""
_MARK = MARK.encode()


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


@dataclass
class _Lines:
    """The rows of a batch while it is read."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    numbers: list[int] = field(default_factory=list[int])
    raw: list[str] = field(default_factory=list[str])
    broken: list[Broken] = field(default_factory=list[Broken])
    bytes: int = 0

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.broken) >= _BATCH_LINES or self.bytes >= BATCH_BYTES


def read_jsonl(stream: BinaryIO, name: str, spec: FileSpec, columns: Mapping[str, str]) -> Iterator[RawBatch]:
    """Stream the rows of a file with a JSON object in each line."""
    text = open_text(stream, name, spec.encoding, lf_only=True)
    required = list(dict.fromkeys(columns.values()))
    # Vectors of embeddings are lists, and as long as they are.
    plain = () if isinstance(spec, EmbeddingsSpec) else tuple(required)
    present: set[str] = set()
    position, any_object, at_end = 0, False, False
    while not at_end:
        lines = _Lines()
        while not lines.full:
            line = _line(text)
            if not line:
                at_end = True
                break
            if not (line := line.strip()):
                continue
            _add(lines, line, position, required, plain, present)
            position += 1
        any_object = any_object or bool(lines.rows)
        fields = {column: pa.array([_field(row.get(column)) for row in lines.rows], pa.string()) for column in required}
        if lines.rows or lines.broken:
            raw = pa.array(lines.raw, pa.string())
            names = untyped(sorted(present))
            yield make_batch(pa.table(fields), np.array(lines.numbers), lines.broken, names, raw)
    if any_object:
        require(name, columns, sorted(present))


def _line(text: io.BufferedReader) -> bytes:
    """The next line; of one that is too long, a part that is too long."""
    line = text.readline(ROW_BYTES + 1)
    if len(line) > ROW_BYTES and not line.endswith(b"\n"):
        while (more := text.readline(ROW_BYTES)) and not more.endswith(b"\n"):
            pass
    return line


def _add(
    lines: _Lines, line: bytes, position: int, required: Sequence[str], plain: Sequence[str], present: set[str]
) -> None:
    lines.bytes += len(line)
    row = None if len(line) > ROW_BYTES else _object(line)
    if row is None:
        reason = TOO_LONG if len(line) > ROW_BYTES else NOT_JSON
        lines.broken.append((position, reason, raw_text(line[: 4 * ROW_CHARACTERS].decode(errors="replace"))))
        return
    if not row.keys() <= present:
        present.update(row)
    reason = _fault(row, plain, marked=_MARK in line)
    raw = line.decode() if len(line) <= ROW_CHARACTERS and reason is None else raw_row(row, required)
    if reason is not None:
        lines.broken.append((position, reason, raw))
        return
    lines.rows.append(row)
    lines.numbers.append(position)
    lines.raw.append(raw)


def _fault(row: Mapping[str, Any], plain: Sequence[str], *, marked: bool) -> str | None:
    for column in plain:
        if isinstance(row.get(column), (dict, list)):
            return f"{NESTED} {column!r}"
    if marked and any(MARK in value for column in plain if isinstance(value := row.get(column), str)):
        return NOT_TEXT
    return None


def _object(line: bytes) -> dict[str, Any] | None:
    """The object of a line, with numbers as their text where a float would change them; None if there is none."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(row, dict):
        return None
    found = cast(dict[str, Any], row)
    if _INEXACT.search(line):
        written = json.loads(line, parse_int=_Number, parse_float=_Number)
        found.update((key, str(value)) for key, value in written.items() if isinstance(value, _Number))
    return found


def _field(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()
