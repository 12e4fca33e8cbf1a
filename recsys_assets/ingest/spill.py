"""Rows gathered by day in bounded memory: what exceeds the budget waits on local disk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

UNDATED = "undated"
"""Key of rows whose day is null."""
_NO_DAY = np.iinfo(np.int32).min


class DayBuckets:
    """Rows by day (``YYYY-MM-DD`` or :data:`UNDATED`), each day's in the order in which they were added.

    Memory holds up to ``budget`` bytes; beyond that all of it moves to one file per day in ``folder``. At most one file
    is open at a time, however many days there are.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self._folder = folder
        self._budget = budget
        self._parts: dict[str, list[pa.Table]] = defaultdict(list)
        self._held = 0
        self._spilled: dict[str, Path] = {}
        self.rows: dict[str, int] = defaultdict(int)
        """Number of rows by day."""

    def add(self, table: pa.Table) -> None:
        """Append rows; their column ``dt`` (date32, null for undated) says where and is left out."""
        for day, rows in _by_day(table):
            self._parts[day].append(rows)
            self.rows[day] += rows.num_rows
            self._held += rows.nbytes
        if self._held > self._budget:
            self._spill()

    def read(self, day: str, rows: int) -> Iterator[pa.Table]:
        """The rows of a day in tables of ``rows`` rows (the last may be shorter), however they were added."""
        parts: list[pa.Table] = []
        buffered = 0
        for part in self._stored(day):
            parts.append(part)
            buffered += part.num_rows
            while buffered >= rows:
                joined = pa.concat_tables(parts)
                yield joined.slice(0, rows).combine_chunks()
                parts, buffered = [joined.slice(rows)], buffered - rows
        if buffered:
            yield pa.concat_tables(parts).combine_chunks()

    def drop(self, day: str) -> None:
        """Forget the rows of a day; their number stays."""
        self._parts.pop(day, None)
        if (path := self._spilled.pop(day, None)) is not None:
            path.unlink()

    def _stored(self, day: str) -> Iterator[pa.Table]:
        if day in self._spilled:
            with pa.OSFile(str(self._spilled[day]), "rb") as file:
                # Each spill appended a complete stream; they follow one another.
                while file.tell() < file.size():
                    with pa.ipc.open_stream(file) as stream:
                        for batch in stream:
                            yield pa.Table.from_batches([batch])
        yield from self._parts.get(day, ())

    def _spill(self) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        for day, parts in self._parts.items():
            path = self._spilled.setdefault(day, self._folder / f"{day}.spill")
            with path.open("ab") as file, pa.ipc.new_stream(file, parts[0].schema, options=options) as stream:
                stream.write_table(pa.concat_tables(parts).combine_chunks())
        self._parts.clear()
        self._held = 0


def _by_day(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = table["dt"].cast(pa.int32()).fill_null(_NO_DAY).to_numpy()
    rows = table.drop_columns(["dt"])
    if (days[1:] < days[:-1]).any():
        order = np.argsort(days, kind="stable")
        days, rows = days[order], rows.take(pa.array(order))
    starts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist()] if len(days) else []
    for start, end in zip(starts, [*starts[1:], len(days)], strict=False):
        day = UNDATED if days[start] == _NO_DAY else str(np.datetime64(int(days[start]), "D"))
        yield day, rows.slice(start, end - start)
