"""Validation of posted events: what passes here, stores and the graph can take as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from recsys_api.events.event import SIGNALS, Event, new_event_ids
from recsys_api.posted import MOST_FAULTS, Posted, id_fault
from recsys_api.problems import FieldFault, InvalidFieldsError

AHEAD = timedelta(minutes=5)
"""How far a clock of a client may be ahead."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TYPE = re.compile(r"[a-z_][a-z0-9_]{0,63}")
PLAIN = r"^[^\x00-\x1f\x7f-\x9f\s]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s])?$"
"""Text without control characters that neither begins nor ends with a blank: the graph ignores blanks around values."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=PLAIN)]
Integer = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Id = Integer | Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=PLAIN)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class NewEvent(BaseModel):
    """An event as a client posts it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: Id = Field(description="in the data set's own id type", examples=[1150086])
    item_id: Id = Field(description="likewise", examples=[187946])
    event_type: Text = Field(
        description="a type of the data set (`facts.event_types` of `GET /release`), `impression` or `dislike`",
        examples=["view"],
    )
    event_id: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)] | None = Field(
        default=None,
        description="names the event: a second one of the same id changes nothing. One is made where it is absent; "
        "then a request that is repeated stores its events again. UUIDs and ULIDs that ascend in time are fastest",
        examples=["0198f7ea-ae2c-7809-8aeb-b819cf5e9e7f"],
    )
    ts: AwareDatetime | None = Field(default=None, description="when it happened, ISO 8601 with an offset; absent: now")
    session_id: Text | None = Field(default=None, description="the visit")
    recommendation_id: Text | None = Field(default=None, description="the answer that showed the item")
    release_id: Text | None = Field(default=None, description="the release of that answer")
    placement: Text | None = Field(default=None, description="where it was shown", examples=["home"])
    position: Annotated[int, Field(ge=1, lt=2**31)] | None = Field(default=None, description="1 is the first place")
    source: Text | None = Field(default=None, description="what put the item there, as the answer named it")
    order_id: Text | None = Field(default=None, description="of a purchase")
    quantity: Amount | None = Field(default=None, description="units")
    price: Amount | None = Field(default=None, description="of one unit")


_EVENTS = Posted(NewEvent, ids=("user_id", "item_id"), noun="events")


@dataclass(frozen=True)
class Terms:
    """What events have to fit.

    Attributes:
        user_ids: int64 or string.
        item_ids: likewise.
        event_types: of the data set; None where it is not known which it has.
        now: microseconds since 1970.
        oldest: the earliest time, likewise.
        most: events in one request.
    """

    user_ids: str
    item_ids: str
    event_types: frozenset[str] | None
    now: int
    oldest: int
    most: int


def read_events(body: bytes, media_type: str, terms: Terms) -> list[Event]:
    """The events of a request.

    Args:
        body: an event or a list of events as JSON, or a line of JSON for each event.
        media_type: ``application/json`` or ``application/x-ndjson``.
        terms: what they have to fit.

    Raises:
        InvalidFieldsError: names each field at fault, and its place in the list.
    """
    posted, one = _EVENTS.read(body, media_type, terms.most)
    faults = [
        FieldFault(field=field, message=message, index=None if one else index)
        for index, event in enumerate(posted)
        for field, message in _misfits(event, terms)
    ]
    if faults:
        raise InvalidFieldsError(faults[:MOST_FAULTS])
    made = new_event_ids(sum(event.event_id is None for event in posted))
    return [_event(event, event.event_id or next(made), terms.now) for event in posted]


def _misfits(event: NewEvent, terms: Terms) -> list[tuple[str, str]]:
    """Fields that the release or the time does not allow, each with a message."""
    misfits = [
        (field, message)
        for field, kind, value in (
            ("user_id", terms.user_ids, event.user_id),
            ("item_id", terms.item_ids, event.item_id),
        )
        if (message := id_fault(kind, value)) is not None
    ]
    kind = event.event_type
    if terms.event_types is not None and kind not in terms.event_types and kind not in SIGNALS:
        misfits.append(("event_type", f"expected one of {', '.join(sorted(terms.event_types | SIGNALS))}"))
    elif terms.event_types is None and not _ANY_TYPE.fullmatch(event.event_type):
        misfits.append(("event_type", f"expected text of the form {_ANY_TYPE.pattern}"))
    if event.ts is not None:
        micros = _micros(event.ts)
        if micros > terms.now + AHEAD // timedelta(microseconds=1):
            misfits.append(("ts", "expected a time at most 5 minutes in the future"))
        elif micros < terms.oldest:
            misfits.append(("ts", "Input is older than what is kept (RECSYS_EVENTS_RETENTION_DAYS)"))
    return misfits


def _event(posted: NewEvent, event_id: str, now: int) -> Event:
    ts = now if posted.ts is None else _micros(posted.ts)
    fields: dict[str, Any] = {**vars(posted), "event_id": event_id, "ts": ts}
    return Event(**fields)


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)
