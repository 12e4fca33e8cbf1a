"""One event, its id, and the forms in which stores keep it."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import orjson

from recsys_api.random_bits import random_bits
from recsys_assets.storage.lists import Key

IMPRESSION, DISLIKE = "impression", "dislike"
SIGNALS = frozenset({IMPRESSION, DISLIKE})
"""Types that every data set has: they steer what is shown, and are no events of the data set."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
_SHIFTS = range(120, -1, -10)
_TO_BASE_32 = str.maketrans(_CROCKFORD, "0123456789abcdefghijklmnopqrstuv")
_ULID = re.compile(f"[0-7][{_CROCKFORD}]{{25}}")
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(slots=True)
class Event:
    """What a user did. Nothing changes it; to have Python see to that takes five times as long to make one.

    Attributes:
        event_id: names the event: a second one of the same id is a duplicate.
        user_id: of the data set's id type.
        item_id: likewise.
        event_type: canonical name of a type of the data set, ``impression`` or ``dislike``.
        ts: when it happened; microseconds since 1970, UTC.
        session_id: the visit, by the caller's name for it.
        recommendation_id: the answer that showed the item.
        release_id: the release of that answer.
        placement: where it was shown.
        position: at which place, 1 is the first.
        source: what put the item there.
        order_id: of a purchase.
        quantity: units.
        price: of one unit.
    """

    event_id: str
    user_id: Key
    item_id: Key
    event_type: str
    ts: int
    session_id: str | None = None
    recommendation_id: str | None = None
    release_id: str | None = None
    placement: str | None = None
    position: int | None = None
    source: str | None = None
    order_id: str | None = None
    quantity: float | None = None
    price: float | None = None


_FIELDS = tuple(field.name for field in fields(Event))
_OPTIONAL = tuple(field.name for field in fields(Event) if field.default is None)


def iso(micros: int) -> str:
    """A time in microseconds since 1970 as ISO 8601 text, UTC."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06}Z"


def now_micros() -> int:
    """The time now; microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def new_event_ids(count: int) -> Iterator[str]:
    """Ids that nobody else has, ascending in time and within a call (ULIDs)."""
    first = _new_ulid()
    for number in range(first, first + count):
        yield _crockford(number)


def new_id() -> str:
    """One id that nobody else has (a ULID)."""
    return _crockford(_new_ulid())


def _new_ulid() -> int:
    # The top bit of the random part is free, so that counting on never overflows.
    return (time.time_ns() // 1_000_000) << 80 | random_bits(79)


def _crockford(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def event_key(event_id: str) -> bytes:
    """16 bytes that stand for an event id in indexes.

    ULIDs and UUIDs are their own 128 bits, so that those which ascend in time enter an index at its end, which is
    several times faster than anywhere. Other ids are hashed.
    """
    if len(event_id) == 26 and _ULID.fullmatch(event_id):
        return int(event_id.translate(_TO_BASE_32), 32).to_bytes(16)
    if len(event_id) == 36 and _UUID.fullmatch(event_id):
        return bytes.fromhex(event_id.replace("-", ""))
    return hashlib.blake2b(event_id.encode(), digest_size=16).digest()


def pack_extra(event: Event) -> str | None:
    """The optional fields of an event as JSON text; None if it has none."""
    extra = {name: value for name in _OPTIONAL if (value := getattr(event, name)) is not None}
    return orjson.dumps(extra).decode() if extra else None


def unpack(event_id: str, user_id: Key, item_id: Key, event_type: str, ts: int, extra: str | None) -> Event:
    """An event from what a store keeps of it."""
    optional: dict[str, Any] = orjson.loads(extra) if extra else {}
    return Event(event_id, user_id, item_id, event_type, ts, **optional)


def as_json(event: Event) -> dict[str, Any]:
    """An event as answers show it: fields that it has, time as ISO 8601."""
    shown = {name: value for name in _FIELDS if (value := getattr(event, name)) is not None}
    return {**shown, "ts": iso(event.ts)}
