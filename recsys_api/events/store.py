"""What a store of events and of changes of items does, and the errors that it raises."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import orjson

from recsys_api.events.event import Event
from recsys_api.events.item_change import ItemChange
from recsys_assets.storage.lists import Key

T_co = TypeVar("T_co", covariant=True)


class StoreError(Exception):
    """Events cannot be stored or read now."""


class StoreFullError(StoreError):
    """The disk is full: nothing of the call was stored."""


class StoreBusyError(StoreError):
    """So many entries wait to become durable that no more are taken: nothing of the call was stored."""


MOST_QUEUED = 50_000
"""Entries that may wait to become durable in a worker, some seconds' worth: about 50 MB. A call that finds none waiting
is always taken."""


def check_room(queued: int, more: int) -> None:
    """Refuse entries where too many wait, so that memory is bounded however fast they come.

    Args:
        queued: entries that wait.
        more: those that are to be added.

    Raises:
        StoreBusyError: there would be more than :data:`MOST_QUEUED`.
    """
    if queued and queued + more > MOST_QUEUED:
        raise StoreBusyError(f"{queued:,} events or changes of items wait to be stored: post again later")


@dataclass(frozen=True)
class Added:
    """Outcome of a call.

    Attributes:
        accepted: events that are new.
        duplicates: those that were known already.
        new: of each event of the call, whether it is new.
    """

    accepted: int
    duplicates: int
    new: Sequence[bool] = field(default=(), compare=False)

    @staticmethod
    def of(new: Sequence[bool]) -> Added:
        """The outcome by what is new."""
        accepted = sum(new)
        return Added(accepted, len(new) - accepted, new)


@dataclass(frozen=True)
class Backlog:
    """What waits.

    Attributes:
        queued: entries that wait to become durable, in this worker.
        unexported: stored entries that are in no landing file yet.
    """

    queued: int
    unexported: int


@dataclass(frozen=True)
class Limits:
    """How much a store keeps.

    Attributes:
        days: age at which an event, or a change of an item, is forgotten.
        per_user: newest events of a user.
        keep_unexported: whether an event, or a change, stays until it is in a landing file.
        item_changes: newest changes of items.
    """

    days: int = 90
    per_user: int = 1000
    keep_unexported: bool = True
    item_changes: int = 100_000

    def oldest(self, now: int) -> int:
        """What is before it is forgotten; microseconds since 1970, as ``now``."""
        return now - self.days * 86_400_000_000


@dataclass(frozen=True)
class ExportState:
    """How far a log is exported.

    Attributes:
        cursor: all entries up to this sequence are in landing files.
        planned: the file that is being written ends with this sequence; equal to ``cursor`` if there is none.
        at: when the last file was written; microseconds since 1970.
    """

    cursor: int
    planned: int
    at: int


class Log(Protocol[T_co]):
    """Entries in the order of their arrival, which one worker at a time writes to landing files."""

    async def since(self, sequence: int, limit: int) -> Sequence[tuple[int, T_co]]:
        """The next entries after a sequence, in the order of arrival, each with its sequence.

        Who goes on from the last sequence returned sees every entry that is added, once, whichever worker added it.
        """
        ...

    async def backlog(self) -> Backlog:
        """What waits."""
        ...

    async def claim_export(self, holder: str, now: int, seconds: float) -> ExportState | None:
        """Become or stay the one worker that exports, for some seconds; None while another one is.

        Args:
            holder: names the worker.
            now: microseconds since 1970.
            seconds: after which another worker may take over.
        """
        ...

    async def plan_export(self, holder: str, upto: int) -> bool:
        """Note where the next file ends, before it is written; False if another worker has taken over.

        Who takes over after a crash writes that very file again.
        """
        ...

    async def finish_export(self, holder: str, upto: int, now: int) -> bool:
        """Note that the planned file is written; False if another worker has taken over."""
        ...


class ItemLog(Log[ItemChange], Protocol):
    """Changes of items, shared by all workers; what a call has acknowledged is durable."""

    async def add(self, changes: Sequence[ItemChange]) -> int:
        """Store changes; returns when they are durable. All of a call are stored or none.

        The newest change of a field is the one that arrived last. No time is before that of an earlier arrival: the
        order by time, which the graph goes by, is the order of arrival, whatever the clocks of the workers say.

        Args:
            changes: in their order. Their ``ts`` is the time now.

        Returns:
            The time of the last one as it is stored; microseconds since 1970.

        Raises:
            StoreFullError: there is no space.
            StoreBusyError: too many wait.
            StoreError: the store does not answer.
        """
        ...

    async def trim(self, now: int) -> int:
        """Delete changes that newer ones have replaced, and those beyond the store's limits; returns how many.

        Args:
            now: microseconds since 1970.
        """
        ...


class EventStore(Log[Event], Protocol):
    """Events of users, shared by all workers; what a call has acknowledged is durable."""

    @property
    def items(self) -> ItemLog:
        """Changes of items, in the same place."""
        ...

    async def add(self, events: Sequence[Event]) -> Added:
        """Store events; returns when they are durable. All of a call are stored or none.

        An event whose id is known is a duplicate and changes nothing.

        Raises:
            StoreFullError: there is no space.
            StoreBusyError: too many wait.
            StoreError: the store does not answer.
        """
        ...

    def may_know(self, user_id: Key) -> bool:
        """Whether anything may be known of a user. False is certain; a store to which it is no cheaper says True."""
        ...

    async def of_user(self, user_id: Key, limit: int) -> list[Event]:
        """The newest events of a user, newest first. It is cheap enough for every request."""
        ...

    async def history(self, user_id: Key, limit: int) -> tuple[list[Event], bool]:
        """What every request needs, in one read: :meth:`of_user` and :meth:`deleted`."""
        ...

    async def last(self) -> int:
        """The sequence of the newest event; 0 without any."""
        ...

    async def delete_user(self, user_id: Key) -> int:
        """Forget a user; returns how many events were deleted. Later events of the id are a new beginning."""
        ...

    async def trim(self, now: int) -> int:
        """Delete events beyond the store's limits; returns how many. ``now`` is in microseconds since 1970."""
        ...

    async def close(self) -> None:
        """Store what was accepted, and let go of files and connections."""
        ...


def tombstone(user_id: Key, salt: bytes) -> bytes:
    """What a store remembers of a deleted user: a keyed hash, not the id."""
    return hashlib.blake2b(orjson.dumps(user_id), key=salt, digest_size=16).digest()
