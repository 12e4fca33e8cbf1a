"""Takes new and changed files of the landing zone in: compares, stages and accepts them, or sets them aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property

import pyarrow.parquet as pq

from recsys_assets.core.dataset import SERVED, Dataset, DatasetError, Kind, is_served
from recsys_assets.core.events.read import DataFileError
from recsys_assets.core.experiments.config import FOLDER
from recsys_assets.ingest.accepted import (
    Accepted,
    AcceptedFile,
    FileKind,
    Quarantined,
    Shrunk,
    change_accepted,
    read_accepted,
)
from recsys_assets.ingest.equal_files import EqualFiles, orphans
from recsys_assets.ingest.listing import LandingFile, ListFiles, Listing
from recsys_assets.ingest.quarantine import (
    acknowledged,
    far_apart,
    lost_share,
    sentence,
    set_aside,
    stray_days,
    taking,
    waiting,
)
from recsys_assets.ingest.served import forget_served
from recsys_assets.ingest.shrinking import shrunk
from recsys_assets.ingest.staging import StagedFile, StagedKind, file_digest, index_key, read_staged, stage
from recsys_assets.ingest.suppression import UserId
from recsys_assets.ingest.undated import stage_table, table_digest, table_key
from recsys_assets.storage.objects import ObjectStore, sha256_object

Log = Callable[[str], None]

_READERS = 16
_NAMED_ROWS = 3
_DATED: tuple[StagedKind, ...] = ("events", "properties")
"""Kinds of files whose vanishing takes history away."""


@dataclass(frozen=True)
class _Look:
    """What changed files turned out to be.

    Attributes:
        staged: what they are accepted as; None: deleted.
        quarantined: those at fault.
        deletions: those that vanished and wait for a person.
        shrunk: those that lost too many rows and wait for a person.
    """

    staged: Mapping[str, AcceptedFile | None]
    quarantined: Mapping[str, Quarantined]
    deletions: Collection[str] = ()
    shrunk: Mapping[str, Shrunk] = field(default_factory=dict[str, Shrunk])


class Intake:
    """Lists the landing zone, stages each new file once and keeps the record of those that count.

    Args:
        dataset: names of the files and how they are parsed.
        store: of staged files.
        open_landing: opens the store of the landing files; called once, when the first of them is needed.
        list_files: lists the current files; :func:`list_landing` does so for the files of a store.
        most_deleted: the largest share of the rows of a kind that may vanish with their files without a person, and of
            the rows of a file that is replaced.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: ObjectStore,
        open_landing: Callable[[], ObjectStore],
        list_files: ListFiles,
        *,
        most_deleted: float = 1.0,
    ) -> None:
        self._dataset, self._store, self._most_deleted = dataset, store, most_deleted
        self._open_landing, self._list_files = open_landing, list_files
        self._listing = Listing((), {})
        self._staged: dict[str, StagedFile] = {}

    def listing(self) -> dict[str, AcceptedFile]:
        """The current files that the data set knows, by name; without their days."""
        self._listing = self._list_files(lambda name: self._dataset.kind_of(name) is not None, "")
        files: dict[str, AcceptedFile] = {}
        for file in sorted(self._listing.files, key=lambda file: file.name):
            kind = self._dataset.kind_of(file.name) or "events"  # a name that was escaped may match no pattern
            version = self._version(kind, file)
            files[file.name] = AcceptedFile(
                kind, file.name, file.size, file.fingerprint, version, version=version, fault=file.fault
            )
        return files

    @property
    def skipped(self) -> dict[str, str]:
        """What the last listing left out, hidden files and folders not looked into: name to reason."""
        return self._listing.skipped

    def experiment_files(self) -> list[LandingFile]:
        """The files of the folder ``experiments``, by name. They are not data and are not staged."""
        files = self._list_files(lambda name: name.startswith(f"{FOLDER}/"), FOLDER).files
        return sorted(files, key=lambda file: file.name)

    def experiment_file(self, key: str) -> bytes:
        """The content of one of them; ``NotFound`` if it does not exist."""
        return self._landing.get(key)

    def accepted(self) -> Accepted:
        """The accepted files, which are complete and staged."""
        return read_accepted(self._store)

    def changes(self) -> dict[str, AcceptedFile | None]:
        """New and changed files of the landing zone, compared with what is known of it; None for a deleted file.

        A file that was only touched is among them: :meth:`accept` and :meth:`accept_equal` find that out. A file that
        is set aside is among them when it has changed, and one that vanished and waits for a person when it is back.
        """
        accepted, listed = self.accepted(), self.listing()
        orphaned = orphans(accepted.files, ())
        names = sorted({*accepted.files, *accepted.quarantined, *listed})
        return {name: listed.get(name) for name in names if self._is_news(name, listed.get(name), accepted, orphaned)}

    def _is_news(self, name: str, file: AcceptedFile | None, accepted: Accepted, orphaned: Collection[str]) -> bool:
        aside, known = accepted.quarantined.get(name), accepted.files.get(name)
        if file is None:
            # Nobody knows what is in a folder that cannot be looked into now.
            unseen = any(f"/{name}".startswith(f"/{folder.lstrip('/')}") for folder in self._listing.unseen)
            return not unseen and (aside is not None or name not in accepted.deletions)
        if aside is not None:
            return aside.listed != file.digest
        if name in accepted.shrunk and name not in accepted.deletions:
            return accepted.shrunk[name].file.listed != file.digest
        return known is None or name in orphaned or name in accepted.deletions or file.digest != known.listed

    def accept(self, changes: Mapping[str, AcceptedFile | None], log: Log = lambda _: None) -> Accepted:
        """Stage and accept changed files. One at fault is set aside, and one that is being written waits.

        All that waits for a person is logged, and what was skipped.
        """
        look = self._look_at(changes, log)
        after = change_accepted(self._store, lambda accepted: self._after(accepted, look))
        if waits := waiting(after):
            log(f"waiting for a person: {sentence(waits)}")
        if self.skipped:
            log(f"{len(self.skipped):,} skipped in the landing zone: {sentence(self.skipped)}")
        return after

    def decide(self, files: Collection[str] = (), days: Collection[str] = (), *, deletions: bool = False) -> Accepted:
        """Follow a person.

        Args:
            files: go on without these, which are set aside.
            days: take these, which are held.
            deletions: let go of the files that vanished, and of the rows that files lost.

        Raises:
            ValueError: names what does not wait for a person.
        """

        def change(accepted: Accepted) -> Accepted:
            after = taking(acknowledged(accepted, files), days)
            if deletions:
                smaller = {name: file.file for name, file in after.shrunk.items()}
                after = after.with_changes({**smaller, **dict.fromkeys(after.deletions)})
                after = replace(after, deletions=(), shrunk={})
            return after.with_held(self._held(after)) if days or deletions else after

        return change_accepted(self._store, change)

    def forget_served(self, user: UserId, log: Log = lambda _: None) -> None:
        """Take a person out of the files of the API and what its killed writes left, and accept what remains."""
        for left in self._landing.sweep(SERVED, history=True):
            log(f"removed: {left}")
        files = [file for file in self.listing().values() if is_served(file.name) and not file.fault]
        removed = forget_served(self._landing, [file.name for file in files if file.kind != "properties"], user)
        for name, lines in removed.items():
            log(f"{name}: {lines} lines taken out")
        known = self.accepted().files
        changes = self.changes() if removed else {}
        self.accept({name: file for name, file in changes.items() if name in removed and name in known}, log)

    def accept_equal(self, changes: Mapping[str, AcceptedFile | None], most_bytes: int) -> set[str]:
        """Accept those files that are equal to accepted ones; returns their names. Nothing is staged, no day changes.

        Args:
            changes: complete files.
            most_bytes: bytes to read; files beyond them are left to :meth:`accept`.
        """
        equal = self._equal_files(changes)
        found: dict[str, AcceptedFile | None] = {}
        for name in equal.order(changes):
            file = changes[name]
            if file is None or file.fault or file.size > most_bytes or not equal.may_be_equal(file):
                continue
            most_bytes -= file.size
            if known := equal.find(file, sha256_object(self._landing, file.name)):
                found[name] = known
                equal.add(known)
        settled = {name: file for name, file in found.items() if name not in self._changed_since(found)}
        if settled:
            look = _Look(settled, {})
            change_accepted(self._store, lambda accepted: self._after(accepted, look))
        return set(settled)

    def _index(self, kind: StagedKind, file: AcceptedFile) -> StagedFile:
        if file.digest not in self._staged:
            staged = read_staged(kind, file.digest, self._store)
            if staged is None:
                raise DataFileError(f"{file.name}: its staged rows are missing; run make run, which stages it")
            self._staged[file.digest] = staged
        return self._staged[file.digest]

    def _look_at(self, changes: Mapping[str, AcceptedFile | None], log: Log) -> _Look:
        """Stage changed files and find out which are at fault, and which vanished.

        Copies of a file that changes are among them, since its rows may be theirs from now on.
        """
        accepted = self.accepted()
        left = orphans(accepted.files, changes) - changes.keys()
        if left:
            listed = self.listing()
            changes = {**changes, **{name: listed[name] for name in left if name in listed}}
        equal = self._equal_files(changes)
        staged: dict[str, AcceptedFile | None] = {}
        quarantined: dict[str, Quarantined] = {}
        for name in equal.order(changes):
            file = changes[name]
            try:
                staged[name] = file and self._stage(file, equal, log)
            except (DataFileError, DatasetError) as error:
                if file is not None:
                    reason = str(error).removeprefix(f"{name}: ")
                    quarantined[name] = set_aside(file, reason, accepted.files.get(name))
        for name in self._changed_since(changes):
            file = staged.pop(name, None)
            quarantined.pop(name, None)
            if file and file.digest == file.listed and not file.copy_of:
                self._unstage(file)
            log(f"{name}: changed while it was read; it is taken in when it is whole")
        gone = {name for name, file in staged.items() if file is None and name in accepted.files}
        gone |= set(accepted.deletions) - {file.name for file in self._listing.files}
        staged |= dict.fromkeys(gone)
        smaller = shrunk(accepted, staged, self._store)
        held = {name: file for name, file in smaller.items() if file.share > self._most_deleted}
        for name in smaller.keys() - held.keys():
            log(f"{name}: has {smaller[name].rows:,} rows and had {smaller[name].before:,}")
        staged = {name: file for name, file in staged.items() if name not in held}
        if gone and self._lost_share(accepted, staged, gone) > self._most_deleted:
            return _Look({name: file for name, file in staged.items() if name not in gone}, quarantined, gone, held)
        return _Look(staged, quarantined, shrunk=held)

    def _lost_share(
        self, accepted: Accepted, staged: Mapping[str, AcceptedFile | None], gone: Collection[str]
    ) -> float:
        """The share of rows that goes with vanished files and does not come back in new ones."""
        known = accepted.files
        new = {name: file for name, file in staged.items() if name not in known or known[name].copy_of or name in gone}
        return lost_share(self._rows(accepted), self._rows(accepted.with_changes(new)))

    def _after(self, accepted: Accepted, look: _Look) -> Accepted:
        """The record after a look at the landing zone."""
        names = {*look.staged, *look.quarantined, *look.shrunk}
        after = accepted.with_changes(look.staged).with_quarantined(names, look.quarantined)
        deletions = {*accepted.deletions, *look.deletions} - names
        left = {name: file for name, file in accepted.shrunk.items() if name not in {*names, *deletions}}
        after = replace(after, deletions=tuple(sorted(deletions)), shrunk=dict(sorted({**left, **look.shrunk}.items())))
        # Days are held or free by their rows, which change with a generation only.
        return after if after.generation == accepted.generation else after.with_held(self._held(after))

    def _set_aside(self, files: Mapping[str, Quarantined]) -> None:
        """Record files at fault alone."""
        change_accepted(self._store, lambda accepted: accepted.with_quarantined(files.keys(), files))

    def _held(self, accepted: Accepted) -> dict[str, str]:
        """The stray newest days, each with where its rows are and why it is held."""
        files = [file for file in accepted.files.values() if file.kind == "events"]
        if not far_apart({day for file in files for day in file.days}):
            return {}
        stray = stray_days(self._rows(accepted)["events"], accepted.taken)
        return {day: f"{self._where(files, day)}, {why}" for day, why in stray.items()}

    def _where(self, files: Collection[AcceptedFile], day: str) -> str:
        """The files that have rows of a day, with the numbers of the first ones."""
        places: list[str] = []
        for file in sorted((file for file in files if day in file.days), key=lambda file: file.name):
            key = self._index("events", file).rows_key(day)
            if key is not None:
                with self._store.open(key) as stream:
                    numbers = pq.read_table(stream, columns=["source_row"])["source_row"].to_pylist()
                more = f" and {len(numbers) - _NAMED_ROWS} more" if len(numbers) > _NAMED_ROWS else ""
                places.append(f"{file.name} row {', '.join(map(str, numbers[:_NAMED_ROWS]))}{more}")
        return "; ".join(places)

    def _rows(self, accepted: Accepted) -> dict[FileKind, Counter[str]]:
        """Good rows by kind and day."""
        rows: dict[FileKind, Counter[str]] = {kind: Counter() for kind in _DATED}
        files = [file for file in accepted.files.values() if file.days and file.kind in _DATED]
        with ThreadPoolExecutor(_READERS) as pool:
            for file, staged in zip(files, pool.map(lambda file: self._index(file.kind, file), files), strict=True):
                rows[file.kind].update({day: counts.rows for day, counts in staged.days.items()})
        return rows

    def _changed_since(self, read: Mapping[str, AcceptedFile | None]) -> list[str]:
        """Names of the files that are no longer listed as they were when they were read."""
        listed = self.listing()
        return [
            name for name, file in read.items() if file and (name not in listed or listed[name].digest != file.listed)
        ]

    def _equal_files(self, changes: Mapping[str, AcceptedFile | None]) -> EqualFiles:
        def is_current(file: AcceptedFile) -> bool:
            return file.listed == self._version(file.kind, LandingFile("", file.name, file.size, file.fingerprint))

        return EqualFiles(self.accepted().files, changes, is_current)

    def _stage(self, file: AcceptedFile, equal: EqualFiles, log: Log) -> AcceptedFile:
        """What a listed file is accepted as; it is staged unless it is equal to an accepted one."""
        if file.fault:
            raise DataFileError(f"{file.name}: {file.fault}")
        content = sha256_object(self._landing, file.name)
        known = equal.find(file, content)
        if known is None:
            known = replace(self._stage_new(file, log), content=content)
        else:
            log(f"{file.name} is equal to {known.copy_of or 'what was accepted'}")
        equal.add(known)
        return known

    def _stage_new(self, file: AcceptedFile, log: Log) -> AcceptedFile:
        """Stage a file unless it is staged already; returns the file with its days."""
        store, landing = self._store, self._landing
        if file.kind == "categories" or file.kind == "embeddings":
            stage_table(file.kind, file.name, file.digest, lambda: landing.open(file.name), self._dataset, store)
            return file
        staged = read_staged(file.kind, file.digest, store)
        if staged is None:
            log(f"reading {file.name} ({file.size / 1e6:,.1f} MB)")
            source = LandingFile(landing.uri(file.name), file.name, file.size, file.fingerprint)
            staged = stage(file.kind, source, lambda: landing.open(file.name), self._dataset, store)
            for note in staged.notes():
                log(f"{file.name}: {note}")
        return replace(file, days=tuple(sorted(staged.days)))

    def _unstage(self, file: AcceptedFile) -> None:
        """Delete the index of a staged file, so that it is staged again."""
        if file.kind == "categories" or file.kind == "embeddings":
            self._store.delete(table_key(file.kind, file.digest))
        else:
            self._store.delete(index_key(file.kind, file.digest))

    def _version(self, kind: Kind, file: LandingFile) -> str:
        """Names a listed file and how it is parsed; staging it makes that its digest."""
        if kind == "categories" or kind == "embeddings":
            return table_digest(kind, file.name, file.fingerprint, self._dataset)
        return file_digest(kind, file, self._dataset)

    @cached_property
    def _landing(self) -> ObjectStore:
        return self._open_landing()
