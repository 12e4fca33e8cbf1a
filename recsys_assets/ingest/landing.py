"""The landing zone: files from other systems, read by day and never changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.catalog.embeddings import join_embeddings
from recsys_assets.core.contracts import IMPRESSIONS, REJECTED_EVENTS, Contract, arrow_schema
from recsys_assets.core.dataset import Dataset, DatasetError, Kind, is_served
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import clean_properties
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES, PARSED_SERVED_EVENTS
from recsys_assets.core.events.schema import differences
from recsys_assets.core.experiments.config import FOLDER
from recsys_assets.ingest.accepted import (
    UNDATED,
    Accepted,
    AcceptedFile,
    Quarantined,
    change_accepted,
    read_accepted,
)
from recsys_assets.ingest.equal_files import EqualFiles, orphans
from recsys_assets.ingest.listing import LandingFile, ListFiles, Listing
from recsys_assets.ingest.quarantine import acknowledged, sentence, set_aside
from recsys_assets.ingest.served import forget_served
from recsys_assets.ingest.staging import StagedFile, StagedKind, file_digest, index_key, read_staged, stage
from recsys_assets.ingest.suppression import UserId
from recsys_assets.ingest.undated import EDGES, UndatedKind, read_table, stage_table, table_digest, table_key
from recsys_assets.storage.objects import ObjectStore, sha256_object

Log = Callable[[str], None]
Scan = Callable[[Sequence[str], pa.Schema], Frame]
""":meth:`~recsys_assets.core.engine.Engine.scan`."""

_COMPARED_FILES = 20
"""Earlier files whose columns a file is compared with: enough to know the columns, few enough to read."""


@dataclass(frozen=True)
class _Look:
    """What changed files turned out to be: what they are accepted as (None: deleted), and those at fault."""

    staged: Mapping[str, AcceptedFile | None]
    quarantined: Mapping[str, Quarantined]


class LandingZone:
    """Lists the landing zone, stages each new file once and returns single days.

    All days of one zone object come from the same files: the accepted ones if ``only_accepted``, else those that exist
    when a day is first requested.

    Args:
        dataset: names of the files and how they are parsed.
        store: of staged files.
        open_landing: opens the store of the landing files; called once, when the first of them is needed.
        list_files: lists the current files; :func:`list_landing` does so for the files of a store.
        scan: of the engine that reads the days.
        only_accepted: whether only accepted files count.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: ObjectStore,
        open_landing: Callable[[], ObjectStore],
        list_files: ListFiles,
        scan: Scan,
        *,
        only_accepted: bool = False,
    ) -> None:
        self._dataset, self._store, self._only_accepted = dataset, store, only_accepted
        self._open_landing, self._list_files, self._scan_parquet = open_landing, list_files, scan
        self._files: Accepted | None = None
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
            unseen = any(
                folder.endswith("/") and f"/{name}".startswith(f"/{folder.lstrip('/')}") for folder in self.skipped
            )
            return not unseen and (aside is not None or name not in accepted.deletions)
        if aside is not None:
            return aside.listed != file.digest
        return known is None or name in orphaned or name in accepted.deletions or file.digest != known.listed

    def accept(self, changes: Mapping[str, AcceptedFile | None], log: Log = lambda _: None) -> Accepted:
        """Stage and accept changed files. One at fault is set aside, and one that is being written waits.

        What is left undone is logged: files that are set aside or skipped, days that are held, deletions that wait.
        """
        look = self._look_at(changes, log)
        after = change_accepted(self._store, lambda accepted: self._after(accepted, look))
        for name, file in look.quarantined.items():
            kept = "; the rows of its last good version stay" if name in after.files else ""
            log(f"{name} is set aside: {file.reason}{kept}")
        if self.skipped:
            log(f"skipped in the landing zone: {sentence(self.skipped)}")
        return after

    def decide(self, files: Collection[str] = ()) -> Accepted:
        """Follow a person: go on without some files that are set aside.

        Raises:
            ValueError: names what does not wait for a person.
        """
        return change_accepted(self._store, lambda accepted: acknowledged(accepted, files))

    def forget_served(self, user: UserId, log: Log = lambda _: None) -> None:
        """Take a person out of the files of the API, and accept what is left of them."""
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

    def digests(self, kind: Kind, day: str) -> list[str]:
        """Digests of the files that a day comes from; undated kinds apply to every day."""
        files = self.files()
        return files.undated(kind) if kind in UNDATED else files.digests(kind, day)

    def files(self) -> Accepted:
        """The files that the days of this zone object come from."""
        if self._files is None:
            if self._only_accepted:
                self._files = self.accepted()
            else:
                look = self._look_at(self.changes(), lambda _: None)
                self._files = self._after(self.accepted(), look)
        return self._files

    def events(self, day: str) -> Frame:
        """Parsed rows of a day from all files (``PARSED_EVENTS``)."""
        files = list(self._staged_on("events", day))
        ours = [file.rows_key(day) for file in files if is_served(file.name)]
        others = self._scan([file.rows_key(day) for file in files if not is_served(file.name)], PARSED_EVENTS)
        if not any(ours):
            return others
        served = self._scan(ours, PARSED_SERVED_EVENTS).select(*PARSED_EVENTS.columns)
        return nw.concat([others, served], how="vertical")

    def rejected(self, day: str, kind: StagedKind = "events") -> Frame:
        """Rejected rows of a kind that belong to a day (``REJECTED_EVENTS``)."""
        return self._scan([file.rejected_key(day) for file in self._staged_on(kind, day)], REJECTED_EVENTS)

    def answers(self, day: str) -> Frame:
        """The events of a day that name the answer they follow from: source_file, source_row, recommendation_id."""
        keys = [file.rows_key(day) for file in self._staged_on("events", day) if is_served(file.name)]
        rows = self._scan(keys, PARSED_SERVED_EVENTS).select("source_file", "source_row", "recommendation_id")
        return rows.filter(~nw.col("recommendation_id").is_null())

    def impressions(self, day: str) -> Frame:
        """Parsed impressions and dislikes of a day (``IMPRESSIONS``, with duplicates)."""
        return self._scan([file.rows_key(day) for file in self._staged_on("impressions", day)], IMPRESSIONS)

    def served_rejections(self, kind: StagedKind) -> dict[str, int]:
        """Rejected rows of the API's files of a kind, by reason: of all days, and those of no day of the data set."""
        reasons: Counter[str] = Counter()
        for file in self.files().files.values():
            if file.kind == kind and is_served(file.name) and not file.copy_of:
                reasons.update(self._index(kind, file).reasons)
        return dict(sorted(reasons.items()))

    def erased(self, day: str, kind: StagedKind = "events") -> int:
        """Number of the day's rows that were dropped because the person was erased."""
        return sum(file.days[day].erased for file in self._staged_on(kind, day))

    def properties(self, day: str) -> Frame:
        """Property snapshots of a day (``ITEM_PROPERTIES``)."""
        rows = self._scan([file.rows_key(day) for file in self._staged_on("properties", day)], PARSED_PROPERTIES)
        return clean_properties(rows)

    def categories(self) -> pa.Table:
        """Edges of the category tree: category_id, parent_id; empty if the data set has no tree."""
        return pa.concat_tables([EDGES.empty_table(), *self._tables("categories").values()])

    def embeddings(self) -> pa.Table:
        """Vectors of items (``ITEM_EMBEDDINGS``).

        Raises:
            DataFileError: the files contradict each other.
        """
        return join_embeddings(self._tables("embeddings"), self._dataset.ids)

    def differences(self, day: str) -> dict[str, list[str]]:
        """Differences between the columns of a day's event files and those of earlier files, by file."""
        files = [file for file in self.files().files.values() if file.kind == "events" and file.days]
        files.sort(key=lambda file: (file.days[0], file.name))
        by_file: dict[str, list[str]] = {}
        for position, file in enumerate(files):
            if day in file.days:
                earlier_files = [one for one in files[:position] if is_served(one.name) == is_served(file.name)]
                compared = earlier_files[-_COMPARED_FILES:]
                earlier = [self._index("events", earlier_file).columns for earlier_file in compared]
                if changes := differences(self._index("events", file).columns, earlier):
                    by_file[file.name] = changes
        return by_file

    def unknown_values(self, kind: StagedKind, day: str) -> dict[str, dict[str, dict[str, int]]]:
        """Values that nobody mapped in the files of a day: file to column to value to its rows in the whole file."""
        return {file.name: file.unknown for file in self._staged_on(kind, day) if file.unknown}

    def _staged_on(self, kind: StagedKind, day: str) -> Iterator[StagedFile]:
        """The staged files with rows of a day, in order of their names."""
        for _, file in sorted(self.files().files.items()):
            if file.kind == kind and day in file.days:
                yield self._index(kind, file)

    def _tables(self, kind: UndatedKind) -> dict[str, pa.Table]:
        """The staged tables of an undated kind, by file name."""
        files = sorted(self.files().files.items())
        return {
            name: read_table(kind, file.digest, self._store)
            for name, file in files
            if file.kind == kind and not file.copy_of
        }

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
        return _Look(staged, quarantined)

    def _after(self, accepted: Accepted, look: _Look) -> Accepted:
        """The record after a look at the landing zone."""
        names = {*look.staged, *look.quarantined}
        return accepted.with_changes(look.staged).with_quarantined(names, look.quarantined)

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

    def _scan(self, keys: list[str | None], contract: Contract) -> Frame:
        schema = arrow_schema(contract, self._dataset.ids)
        return self._scan_parquet([self._store.uri(key) for key in keys if key], schema).select(*contract.columns)

    @cached_property
    def _landing(self) -> ObjectStore:
        return self._open_landing()
