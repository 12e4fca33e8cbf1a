"""The lines that a quote which is never closed takes in: they are rows of their own, and none is lost.

A parser of csv takes everything up to the next quote for one value. If the row that comes of it has the wrong number of
columns, or others are found in it (:mod:`recsys_assets.core.events.swallowed_rows`), its first line is broken, and the
others are read by themselves.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.events.batches import (
    HEADER_AGAIN,
    NOT_TEXT,
    TOO_LONG,
    UNCLOSED_QUOTE,
    WRONG_COLUMNS,
    Broken,
    RawBatch,
    make_batch,
    untyped,
)
from recsys_assets.core.events.raw import raw_text
from recsys_assets.core.events.text_stream import MARK

ENDS = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Lines:
    """How single lines of a csv file are read.

    Args:
        header: all columns.
        read: those that are read.
        separator: between fields.
        quote: around fields.
    """

    header: Sequence[str]
    read: Sequence[str]
    separator: str
    quote: str

    def parse(self, lines: Iterable[str]) -> RawBatch:
        """Rows of lines, numbered from 0; those that have an open quote, other columns or no text are broken."""
        good: list[list[str]] = []
        numbers: list[int] = []
        broken: list[Broken] = []
        for number, line in enumerate(line for line in lines if line.strip()):
            is_open = line.count(self.quote) % 2 == 1
            row = [] if is_open else self.fields(line)
            if fault := self._fault(line, row, is_open=is_open):
                broken.append((number, fault, raw_text(line)))
            else:
                good.append(row)
                numbers.append(number)
        return self.batch(good, numbers, broken)

    def fields(self, line: str) -> list[str]:
        """The fields of a line; none if one of them is longer than Python's parser takes (128 KiB)."""
        try:
            return next(csv.reader([line], delimiter=self.separator, quotechar=self.quote))
        except csv.Error:
            return []

    def _fault(self, line: str, row: Sequence[str], *, is_open: bool) -> str | None:
        if len(row) != len(self.header):
            return UNCLOSED_QUOTE if is_open else WRONG_COLUMNS if row else TOO_LONG
        if row == self.header:
            return HEADER_AGAIN
        return NOT_TEXT if MARK in line else None

    def batch(
        self, rows: Sequence[Sequence[str]], numbers: Sequence[int] | None = None, broken: Sequence[Broken] = ()
    ) -> RawBatch:
        """Rows of all columns, numbered from 0 unless numbers are given, and broken ones."""
        places = {column: self.header.index(column) for column in self.read}
        columns = {column: pa.array([row[place] for row in rows], pa.string()) for column, place in places.items()}
        found = np.arange(len(rows)) if numbers is None else np.array(numbers)
        return make_batch(pa.table(columns), found, broken, untyped(self.header))

    def text(self, fields: Iterable[str]) -> str:
        """Fields as a line, with quotes where they are needed."""
        quote = self.quote
        special = re.compile(f"[\r\n{re.escape(self.separator + quote)}]")
        return self.separator.join(
            f"{quote}{one.replace(quote, quote * 2)}{quote}" if special.search(one) else one for one in fields
        )


def split(text: str) -> tuple[str, list[str]]:
    """The first line of a row, and its other lines."""
    first, *rest = ENDS.split(text.strip("\r\n"))
    return first, rest


def with_taken_lines(batches: Iterable[RawBatch], taken: Mapping[int, list[str]], lines: Lines) -> Iterator[RawBatch]:
    """Batches with the lines that open quotes took in, and the row numbers that follow from that.

    Args:
        batches: as the parser gives them.
        taken: number of a broken row to the lines that follow its first; filled while the batches come.
        lines: how they are read.
    """
    more = 0
    for batch in batches:
        left = batch
        for number in [row for row in batch.broken["source_row"].to_pylist() if taken.get(row)]:
            yield _shifted(_part(left, number, upto=True), more)
            found = lines.parse(taken[number])
            yield _shifted(found, number + 1 + more)
            more += found.num_rows
            left = _part(left, number, upto=False)
        yield _shifted(left, more)


def _part(batch: RawBatch, number: int, *, upto: bool) -> RawBatch:
    """The rows of a batch up to a number, or those after it."""
    compare = "less_equal" if upto else "greater"
    rows = pc.call_function(compare, [batch.source_row, pa.scalar(number)])
    broken = pc.call_function(compare, [batch.broken["source_row"], pa.scalar(number)])
    return replace(
        batch,
        rows=batch.rows.filter(rows),
        source_row=batch.source_row.filter(rows),
        broken=batch.broken.filter(broken),
    )


def _shifted(batch: RawBatch, by: int) -> RawBatch:
    if not by:
        return batch
    numbers = pc.call_function("add", [batch.source_row, pa.scalar(by)])
    broken = batch.broken.set_column(
        0, "source_row", pc.call_function("add", [batch.broken["source_row"], pa.scalar(by)])
    )
    return replace(batch, source_row=numbers, broken=broken)
