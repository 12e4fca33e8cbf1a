"""The way back: events become files of the landing zone, from which the graph learns like from any other file.

::

    <landing zone>/served/events-<first>-<last>.jsonl.gz         events of the data set
    <landing zone>/served/impressions-<first>-<last>.jsonl.gz    impressions and dislikes of the same sequences

The numbers are sequences of the event store. The worker that holds the store's lease writes. It notes in the store
where a file ends before it writes it, and moves the cursor afterwards: after a crash in between, the next one writes
the same file with the same bytes again. A file appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import orjson

from recsys_api.events.event import SIGNALS, Event, iso
from recsys_api.events.store import EventStore, ExportState
from recsys_assets.storage.objects import ObjectStore

logger = logging.getLogger("uvicorn.recsys.events")

FOLDER = "served"
LEASE_SECONDS = 120.0
_READ_AT_ONCE = 1000
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


@dataclass
class _Lines:
    """Lines of a file that is being made, by its kind, and the sequence of the last event."""

    events: list[bytes] = field(default_factory=list[bytes])
    impressions: list[bytes] = field(default_factory=list[bytes])
    last: int = 0

    def __len__(self) -> int:
        return len(self.events) + len(self.impressions)

    def add(self, arrived: Iterable[tuple[int, Event]]) -> None:
        for sequence, event in arrived:
            (self.impressions if event.event_type in SIGNALS else self.events).append(_line(event))
            self.last = sequence


class Exporter:
    """Writes events to the landing zone, if it is this worker's turn.

    Args:
        store: of the events.
        open_landing: opens the landing zone; called when there is something to write.
        holder: names this worker.
        seconds: age at which events become a file.
        most: events that become a file at once, and the most in a file.
    """

    def __init__(
        self, store: EventStore, open_landing: Callable[[], ObjectStore], holder: str, seconds: float, most: int
    ) -> None:
        self._store, self._open_landing, self._holder = store, open_landing, holder
        self._micros, self._most = seconds * 1e6, most
        self._waiting_since: int | None = None

    async def export(self, now: int) -> list[str]:
        """Write the files that are due; returns their names.

        Args:
            now: microseconds since 1970.
        """
        names: list[str] = []
        while waiting := (await self._store.backlog()).unexported:
            self._waiting_since = self._waiting_since or now
            # The lease costs a write, so it is taken only where something is due.
            if waiting < self._most and now - self._waiting_since < self._micros:
                return names
            state = await self._store.claim_export(self._holder, now, LEASE_SECONDS)
            if state is None:
                return names
            if waiting < self._most and now - state.at < self._micros and state.planned == state.cursor:
                return names  # another worker has just written
            names += await self._file(state, now)
        self._waiting_since = None
        return names

    async def _file(self, state: ExportState, now: int) -> list[str]:
        """Write what one file holds."""
        planned = state.planned if state.planned > state.cursor else None
        lines = await self._read(state.cursor, planned)
        upto = planned or lines.last
        if planned is None and not await self._store.plan_export(self._holder, upto):
            return []
        written: list[str] = []
        for kind, content in (("events", lines.events), ("impressions", lines.impressions)):
            if content:
                name = f"{FOLDER}/{kind}-{state.cursor + 1:012}-{upto:012}.jsonl.gz"
                await asyncio.to_thread(self._write, name, content)
                written.append(name)
        if await self._store.finish_export(self._holder, upto, now):
            logger.info("%s events are in %s", len(lines), " and ".join(written) or "no file: they were deleted")
        return written

    async def _read(self, cursor: int, planned: int | None) -> _Lines:
        """The events after the cursor, up to where the file was planned to end, or as many as a file holds."""
        lines = _Lines(last=cursor)
        while planned is not None or len(lines) < self._most:
            most = _READ_AT_ONCE if planned is not None else min(_READ_AT_ONCE, self._most - len(lines))
            arrived = await self._store.since(lines.last, most)
            lines.add((sequence, event) for sequence, event in arrived if planned is None or sequence <= planned)
            if not arrived or (planned is not None and arrived[-1][0] >= planned):
                break
        return lines

    def _write(self, name: str, lines: list[bytes]) -> None:
        # Without a time in its header, the same lines are the same bytes.
        self._open_landing().put(name, gzip.compress(b"".join(lines), mtime=0))


def _line(event: Event) -> bytes:
    """A line with all columns, so that files of any events have the same ones."""
    columns = {"ts": iso(event.ts), **{name: getattr(event, name) for name in _COLUMNS}}
    return orjson.dumps(columns, option=orjson.OPT_APPEND_NEWLINE)
