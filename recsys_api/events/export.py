"""The way back: what was posted becomes files of the landing zone, which the graph takes like any other file.

::

    <landing zone>/served/events-<first>-<last>.jsonl.gz         events of the data set
    <landing zone>/served/impressions-<first>-<last>.jsonl.gz    impressions and dislikes of the same sequences
    <landing zone>/served/items-<first>-<last>.jsonl.gz          changes of items, which have sequences of their own

The numbers are sequences of a log. The worker that holds the log's lease writes. It notes in the log where a file ends
before it writes it, and moves the cursor afterwards: after a crash in between, the next one writes the same file with
the same bytes again. A file appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import orjson

from recsys_api.events.event import SIGNALS, Event, iso
from recsys_api.events.item_change import ItemChange, property_value
from recsys_api.events.store import ExportState, Log
from recsys_assets.storage.objects import ObjectStore

logger = logging.getLogger("uvicorn.recsys.events")

FOLDER = "served"
LEASE_SECONDS = 120.0
_READ_AT_ONCE = 1000
_GZIP, _BEST = 16 + zlib.MAX_WBITS, 9
_BLOCK = 1 << 16
"""Bytes that are compressed at once. All but the last block have as many, so that the same lines are the same bytes,
however many of them came at a time."""
_COLUMNS = (
    "user_id",
    "item_id",
    "event_type",
    "order_id",
    "quantity",
    "price",
    "event_id",
    "session_id",
    "recommendation_id",
    "release_id",
    "placement",
    "position",
    "source",
)


Line = tuple[str, bytes]
"""The kind of file that a line belongs to, and the line."""
T = TypeVar("T")


class Exporter(Generic[T]):
    """Writes a log to the landing zone, if it is this worker's turn.

    Args:
        log: what is written.
        line_of: the form of an entry: :func:`event_line` or :func:`item_line`.
        open_landing: opens the landing zone; called when there is something to write.
        holder: names this worker.
        seconds: age at which entries become a file.
        most: entries that become a file at once, and the most in a file.
    """

    def __init__(
        self,
        log: Log[T],
        line_of: Callable[[T], Line],
        open_landing: Callable[[], ObjectStore],
        holder: str,
        seconds: float,
        most: int,
    ) -> None:
        self._log, self._line_of, self._open_landing, self._holder = log, line_of, open_landing, holder
        self._micros, self._most = seconds * 1e6, most
        self._waiting_since: int | None = None

    async def export(self, now: int) -> list[str]:
        """Write the files that are due; returns their names.

        Args:
            now: microseconds since 1970.
        """
        names: list[str] = []
        while waiting := (await self._log.backlog()).unexported:
            self._waiting_since = self._waiting_since or now
            # The lease costs a write, so it is taken only where something is due.
            if waiting < self._most and now - self._waiting_since < self._micros:
                return names
            state = await self._log.claim_export(self._holder, now, LEASE_SECONDS)
            if state is None:
                return names
            if waiting < self._most and now - state.at < self._micros and state.planned == state.cursor:
                return names  # another worker has just written
            names += await self._file(state, now)
        self._waiting_since = None
        return names

    async def _file(self, state: ExportState, now: int) -> list[str]:
        """Write what one file of each kind holds."""
        planned = state.planned if state.planned > state.cursor else None
        files, last = await self._read(state.cursor, planned)
        upto = planned or last
        if planned is None and not await self._log.plan_export(self._holder, upto):
            return []
        written: list[str] = []
        for kind, file in sorted(files.items()):
            name = f"{FOLDER}/{kind}-{state.cursor + 1:012}-{upto:012}.jsonl.gz"
            await asyncio.to_thread(lambda name=name, file=file: self._open_landing().put(name, file.end()))
            written.append(name)
        if await self._log.finish_export(self._holder, upto, now):
            lines = sum(file.lines for file in files.values())
            logger.info("%s lines are in %s", lines, " and ".join(written) or "no file: they were deleted")
        return written

    async def _read(self, cursor: int, planned: int | None) -> tuple[dict[str, _Packed], int]:
        """The lines after the cursor, up to where the file was planned to end, or as many as a file holds.

        Returns:
            The lines by kind, packed, and the sequence of the last one.
        """
        files: dict[str, _Packed] = {}
        last, count = cursor, 0
        while planned is not None or count < self._most:
            most = _READ_AT_ONCE if planned is not None else min(_READ_AT_ONCE, self._most - count)
            arrived = await self._log.since(last, most)
            due = [(sequence, entry) for sequence, entry in arrived if planned is None or sequence <= planned]
            await asyncio.to_thread(self._pack, [entry for _, entry in due], files)
            last, count = due[-1][0] if due else last, count + len(due)
            if not arrived or (planned is not None and arrived[-1][0] >= planned):
                break
        return files, last

    def _pack(self, entries: Sequence[T], files: dict[str, _Packed]) -> None:
        for entry in entries:
            kind, line = self._line_of(entry)
            files.setdefault(kind, _Packed()).add(line)


class _Packed:
    """Lines of a file, compressed as they come: 100,000 as orjson makes them took 800 MB, 8 KB each."""

    def __init__(self) -> None:
        # It states no time, so the same lines are the same bytes.
        self._packer, self._packed, self._waiting = zlib.compressobj(_BEST, wbits=_GZIP), bytearray(), bytearray()
        self.lines = 0

    def add(self, line: bytes) -> None:
        """Add a line."""
        self._waiting += line
        self.lines += 1
        while len(self._waiting) >= _BLOCK:
            self._packed += self._packer.compress(self._waiting[:_BLOCK])
            del self._waiting[:_BLOCK]

    def end(self) -> bytes:
        """The bytes of the file; no line is added any more."""
        return bytes(self._packed + self._packer.compress(self._waiting) + self._packer.flush())


def event_line(event: Event) -> Line:
    """A line with all columns, so that files of any events have the same ones."""
    columns = {"ts": iso(event.ts), **{name: getattr(event, name) for name in _COLUMNS}}
    kind = "impressions" if event.event_type in SIGNALS else "events"
    return kind, orjson.dumps(columns, option=orjson.OPT_APPEND_NEWLINE)


def item_line(change: ItemChange) -> Line:
    """A line of a file of item properties."""
    columns = {
        "item_id": change.item_id,
        "ts": iso(change.ts),
        "property": change.field,
        "value": property_value(change.value),
    }
    return "items", orjson.dumps(columns, option=orjson.OPT_APPEND_NEWLINE)
