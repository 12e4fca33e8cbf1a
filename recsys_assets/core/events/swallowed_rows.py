"""Rows that an unclosed quote took in although the number of columns came out right.

A parser of csv takes everything up to the next quote for one value, and what follows for the rest of the row. Where the
next quote begins the same column of a later row, the row that comes of it has the columns of the first row before the
quote, and those of the last after it: it looks whole, and the rows between are text. Values of several lines are honest
too, such as descriptions. What tells them apart is :func:`~recsys_assets.core.events.likely_rows.likely_rows`: no line
of a description has the time of an event in the column of times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.events.batches import RawBatch
from recsys_assets.core.events.unclosed_quotes import ENDS, Lines

IsRow = Callable[[RawBatch], Collection[int]]
"""Which rows of a batch, by their numbers, are likely rows of the file."""

_CELLS = 200_000
"""Cells that are looked at at once: as Python objects they take many times their bytes."""
_PROOFS = 1_000
"""Lines of a value that are judged; one that is a row is enough."""


@dataclass(frozen=True)
class _Row:
    """A row, or the last line of one that was taken apart, as fields.

    Attributes:
        fields: of all columns.
        lost: whether a quote is lost that stood somewhere in the line, so that nobody knows where a value ends.
    """

    fields: Sequence[str]
    lost: bool = False


@dataclass(frozen=True)
class _Parts:
    """The lines of a row, if one of its values is taken apart: the last one has the fields after it.

    Attributes:
        first: fields of the first line.
        between: lines between.
        last: the last line.
        quoted: whether the last line looks as if one of its fields was in quotes: a quote is left where that ended, and
            no separator is followed by a space, as it is in a text.
    """

    first: Sequence[str]
    between: Sequence[str]
    last: _Row
    quoted: bool


@dataclass(frozen=True)
class SwallowedRows:
    """Finds rows that took others in.

    Args:
        lines: how the lines of the file are read.
        proof: the place of the last column by which a line shows that it is a row, such as that of times.
        short: places of columns whose values never have several lines, such as ids.
        is_row: judges lines.
    """

    lines: Lines
    proof: int
    short: Collection[int]
    is_row: IsRow

    def find(self, rows: pa.Table) -> dict[int, list[str]]:
        """Positions of rows that took others in, to their lines. The first line is the row with the open quote.

        Args:
            rows: all columns of the file as text, in order.
        """
        positions = np.flatnonzero(self._suspects(rows))
        found: dict[int, list[str]] = {}
        step = max(1, _CELLS // rows.num_columns)
        for start in range(0, len(positions), step):
            some = pa.array(positions[start : start + step])
            cells = [column.take(some).to_pylist() for column in rows.columns]
            found |= self._taken_apart({at: _Row(row) for at, *row in zip(some.to_pylist(), *cells, strict=True)})
        return found

    def _suspects(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Rows with a value of several lines and as many separators as a line of the file must have in it."""
        found = np.zeros(rows.num_rows, np.bool_)
        last = rows.num_columns - 1
        for place, column in enumerate(rows.columns):
            if not any(_has_break(chunk) for chunk in column.chunks):
                continue
            from_first = last - place if self._is_first_proof(place) else last
            from_last = place or (0 if place in self.short else last)
            needed = min(from_first, from_last)
            breaks = pc.call_function("match_substring_regex", [column], pc.MatchSubstringOptions("[\r\n]"))
            count = pc.call_function("count_substring", [column], pc.MatchSubstringOptions(self.lines.separator))
            found |= breaks.to_numpy().astype(np.bool_) & (count.to_numpy() >= needed)
        return found

    def _taken_apart(self, waiting: Mapping[int, _Row]) -> dict[int, list[str]]:
        """Each row to its lines, as far as one of its values holds rows; the last line may hold some again."""
        found: dict[int, list[str]] = {at: [] for at in waiting}
        while waiting:
            ways = [(at, row, place) for at, row in waiting.items() for place in self._places(row)]
            proofs = [(way, proof) for way in ways for proof in self._proofs(way[1], way[2])]
            proven = self.is_row(self.lines.batch([proof for _, proof in proofs])) if proofs else ()
            first = {at: place for at, _, place in reversed([proofs[number][0] for number in sorted(proven)])}
            after: dict[int, _Row] = {}
            for at, row in waiting.items():
                if at in first:
                    parts = self._parts(row, first[at])
                    found[at] += [self._opened(row.fields, first[at], parts), *parts.between]
                    after[at] = parts.last
                elif found[at] and any(one.strip() for one in row.fields):  # none after a quote open up to the end
                    found[at].append(self.lines.text(row.fields) + (self.lines.quote if row.lost else ""))
            waiting = after
        return {at: lines for at, lines in found.items() if lines}

    def _parts(self, row: _Row, place: int) -> _Parts:
        """The lines of a row of which a value is no value. A quote in it was written twice."""
        separator, quote = self.lines.separator, self.lines.quote
        head, *between, tail = ENDS.split(row.fields[place])
        *earlier, closed = tail.split(separator)
        # The quote that ended the value began this field, whose own end is text then; else nobody knows what it was.
        is_known = closed.endswith(quote)
        last = [*earlier, closed.removesuffix(quote), *row.fields[place + 1 :]]
        return _Parts(
            [*row.fields[:place], *head.split(separator)],
            [line.replace(quote, quote * 2) for line in between if line.strip()],
            _Row(last, row.lost if is_known else True),
            is_known and place > 0 and not any(one[:1].isspace() for one in (*earlier[1:], closed)),
        )

    def _places(self, row: _Row) -> Iterator[int]:
        """Fields of several lines. White space around a short value is ignored, lines among it too."""
        for place, value in enumerate(row.fields):
            is_short = place in self.short and self.lines.separator not in value
            if re.search(r"[\r\n]", value.strip() if is_short else value):
                yield place

    def _proofs(self, row: _Row, place: int) -> Iterator[Sequence[str]]:
        """Lines with the right number of columns that are rows if the column is to be believed."""
        parts = self._parts(row, place)
        width = len(self.lines.header)
        if self._is_first_proof(place) and len(parts.first) == width:
            yield parts.first
        likely = (line for line in parts.between if line.count(self.lines.separator) >= width - 1)
        rows = map(self.lines.fields, likely)
        yield from islice((fields for fields in rows if len(fields) == width), _PROOFS)
        is_proof = self.proof <= place or place in self.short or parts.quoted
        if is_proof and len(parts.last.fields) == width:
            yield parts.last.fields

    def _is_first_proof(self, place: int) -> bool:
        """Whether the first line of a value proves anything: its time stands in it, or it should have no lines."""
        return self.proof >= place or place in self.short

    def _opened(self, fields: Sequence[str], place: int, parts: _Parts) -> str:
        """The first line of a row as it was written, with its open quote."""
        before = self.lines.text(fields[:place])
        rest = self.lines.separator.join(parts.first[place:])
        quote = self.lines.quote
        return (before + self.lines.separator if place else "") + quote + rest.replace(quote, quote * 2)


def _has_break(chunk: pa.Array) -> bool:
    """Whether a value of a column, or of those beside it in memory, has several lines."""
    data = chunk.buffers()[2]
    if data is None:
        return False
    characters = np.frombuffer(data, np.uint8)
    return bool((characters == ord("\n")).any() or (characters == ord("\r")).any())
