"""Which files of the landing zone count, and when each day last changed.

::

    staging/accepted.json    the files that were found whole and were staged, and what waits; moved by compare-and-swap

Runs that sensors start read these files and no others: a file that is being written does not reach a day by chance, and
an old version serves until the new one is whole. What a file at fault, a stray newest day or vanished files mean for
this record is decided in :mod:`recsys_assets.ingest.quarantine`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import TypeAdapter

from recsys_assets.storage.layout import ACCEPTED
from recsys_assets.storage.objects import Conflict, NotFound, ObjectStore

FORMAT_VERSION = 1
_ATTEMPTS = 20

FileKind = Literal["events", "properties", "categories", "embeddings", "impressions"]

UNDATED: tuple[FileKind, ...] = ("categories", "embeddings")
"""What is not of days: as it is now, it serves whichever day is asked for."""


@dataclass(frozen=True)
class AcceptedFile:
    """A file that counts.

    Attributes:
        kind: what it holds.
        name: path below the landing zone.
        size: bytes.
        fingerprint: of its content, as listed.
        digest: names what staging made of it.
        days: the days that it has rows of, ascending; none for what is not of days.
        version: names the listed file and how it is parsed; empty where that is ``digest``. It changes when the file
            is touched, while ``digest`` changes with the content.
        content: SHA-256 of its bytes; empty where that is not known.
        copy_of: name of the accepted file with the same bytes, which has its rows; empty if there is none.
        fault: why a listed file must not be read; a file that has one never counts.
    """

    kind: FileKind
    name: str
    size: int
    fingerprint: str
    digest: str
    days: tuple[str, ...] = ()
    version: str = ""
    content: str = ""
    copy_of: str = ""
    fault: str = ""

    @property
    def listed(self) -> str:
        """The version by which a listing knows the file."""
        return self.version or self.digest


@dataclass(frozen=True)
class Quarantined:
    """A file that is set aside because it cannot be used. It is tried again when it changes.

    Attributes:
        kind: what it should hold.
        reason: what is wrong with it; names columns and types, never a value.
        listed: the version by which a listing knows it.
        days: the days that it is about, as far as that is known from its last good version or its name.
        missing: bytes that the graph lacks because of it: all of it, or by how much it grew since its last good
            version, whose rows stay.
        acknowledged: whether a person has said to go on without it.
    """

    kind: FileKind
    reason: str
    listed: str
    days: tuple[str, ...] = ()
    missing: int = 0
    acknowledged: bool = False


@dataclass(frozen=True)
class Shrunk:
    """A file that was replaced by one with fewer rows.

    Attributes:
        file: as it is now, staged.
        rows: good rows that it has.
        before: those that it had.
        share: of these, which are gone and came back in no other file.
    """

    file: AcceptedFile
    rows: int
    before: int
    share: float


@dataclass(frozen=True)
class Accepted:
    """The landing zone as the graph takes it.

    Attributes:
        id: of this record's line of generations; another one where a store was emptied and begun anew.
        generation: counts the changes.
        files: by name.
        changed: day to the generation that last changed which contents it is made of; deleted ones included.
        quarantined: the files that are set aside, by name; a last good version stays among ``files``.
        held: days of events that the graph does not take yet, and why; see :func:`quarantine.stray_days`.
        taken: days that a person has said to take, however far they are from the others.
        deletions: files that vanished and count until a person agrees, since they are too large a share of all.
        shrunk: files that lost too large a share of their rows; the earlier version counts until a person agrees.
        format_version: of this record.
    """

    id: str = ""
    generation: int = 0
    files: Mapping[str, AcceptedFile] = field(default_factory=dict[str, AcceptedFile])
    changed: Mapping[str, int] = field(default_factory=dict[str, int])
    quarantined: Mapping[str, Quarantined] = field(default_factory=dict[str, Quarantined])
    held: Mapping[str, str] = field(default_factory=dict[str, str])
    taken: tuple[str, ...] = ()
    deletions: tuple[str, ...] = ()
    shrunk: Mapping[str, Shrunk] = field(default_factory=dict[str, Shrunk])
    format_version: int = FORMAT_VERSION

    def digests(self, kind: FileKind, day: str) -> list[str]:
        """Names of the contents that a day is made of."""
        return sorted(file.digest for file in self.files.values() if file.kind == kind and day in file.days)

    def undated(self, kind: FileKind) -> list[str]:
        """Names of the contents of a kind that is not of days."""
        return sorted(file.digest for file in self.files.values() if file.kind == kind and not file.copy_of)

    def event_days(self) -> list[str]:
        """The days with events (or rejected rows) that the graph takes, ascending."""
        days = {day for file in self.files.values() if file.kind == "events" for day in file.days}
        return sorted(days - self.held.keys())

    def with_changes(self, changes: Mapping[str, AcceptedFile | None]) -> Accepted:
        """The record after some files came, changed or went (None); itself if that changes nothing.

        A category tree has no days: it holds from the newest day with events on. Embeddings change no day: they are
        part of what is as of a day, which reads them when it is made. A file that was only touched, and a copy of
        another one, are recorded; they change no day and make no generation.
        """
        changes = {name: file for name, file in changes.items() if self.files.get(name) != file}
        if not changes:
            return self
        unchanged = {name: file for name, file in self.files.items() if name not in changes}
        files = {**unchanged, **{name: file for name, file in changes.items() if file}}
        after = replace(self, id=self.id or uuid.uuid4().hex[:12], files=files)
        pairs = [(self.files.get(name), file) for name, file in changes.items()]
        affected = [file for pair in pairs if _adds(pair[0]) != _adds(pair[1]) for file in pair if _adds(file) and file]
        if not affected:
            return after
        days = {day for file in affected for day in file.days}
        if any(file.kind == "categories" for file in affected):
            days.update(after.event_days()[-1:])
        return after._with_changed(days)

    def with_quarantined(self, names: Collection[str], quarantined: Mapping[str, Quarantined]) -> Accepted:
        """The record after some files were looked at, and those at fault among them set aside."""
        kept = {name: file for name, file in self.quarantined.items() if name not in names}
        return replace(self, quarantined=dict(sorted({**kept, **quarantined}.items())))

    def with_held(self, held: Mapping[str, str]) -> Accepted:
        """The record with other days held; those that are held no longer count as changed."""
        free = self.held.keys() - held.keys()
        after = replace(self, held=dict(sorted(held.items())))
        return after._with_changed(free) if free else after

    def _with_changed(self, days: Collection[str]) -> Accepted:
        """The record after some days changed: its next generation."""
        generation = self.generation + 1
        changed = {**self.changed, **dict.fromkeys(sorted(days), generation)}
        return replace(self, id=self.id or uuid.uuid4().hex[:12], generation=generation, changed=changed)


def _adds(file: AcceptedFile | None) -> str:
    """Names what a file adds to its days; empty for none and for a copy."""
    return file.digest if file and not file.copy_of else ""


_RECORD = TypeAdapter(Accepted)


def read_accepted(store: ObjectStore) -> Accepted:
    """The record of a store; empty before the first file.

    Raises:
        ValueError: it is of a newer format.
    """
    return _read(store)[0]


def change_accepted(store: ObjectStore, change: Callable[[Accepted], Accepted]) -> Accepted:
    """Replace the record by what a function makes of it; what other processes change meanwhile is kept."""
    for _ in range(_ATTEMPTS):
        accepted, etag = _read(store)
        changed = change(accepted)
        if changed == accepted:
            return accepted
        try:
            store.replace(ACCEPTED, _RECORD.dump_json(changed), etag)
            return changed
        except Conflict:
            continue
    raise Conflict(f"{store.uri(ACCEPTED)}: could not be changed in {_ATTEMPTS} attempts")


def _read(store: ObjectStore) -> tuple[Accepted, str | None]:
    try:
        data, etag = store.get_with_etag(ACCEPTED)
    except NotFound:
        return Accepted(), None
    accepted = _RECORD.validate_json(data)
    if accepted.format_version != FORMAT_VERSION:
        raise ValueError(
            f"{store.uri(ACCEPTED)}: format_version: expected {FORMAT_VERSION}, found {accepted.format_version}"
        )
    return accepted, etag
