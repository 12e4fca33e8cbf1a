"""The landing zone: files from other systems, read by day and never changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.catalog.embeddings import join_embeddings
from recsys_assets.core.contracts import IMPRESSIONS, REJECTED_EVENTS, Contract, arrow_schema
from recsys_assets.core.dataset import Dataset, Kind, is_served
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import clean_properties
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES, PARSED_SERVED_EVENTS
from recsys_assets.core.events.read import DataFileError
from recsys_assets.core.events.schema import differences
from recsys_assets.core.experiments.config import FOLDER
from recsys_assets.ingest.accepted import (
    UNDATED,
    Accepted,
    AcceptedFile,
    accept,
    find_fault,
    note_fault,
    read_accepted,
)
from recsys_assets.ingest.equal_files import EqualFiles, orphans
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.served import FOLDER as SERVED
from recsys_assets.ingest.served import forget_served
from recsys_assets.ingest.staging import StagedFile, StagedKind, file_digest, index_key, read_staged, stage
from recsys_assets.ingest.suppression import UserId
from recsys_assets.ingest.undated import EDGES, UndatedKind, read_table, stage_table, table_digest, table_key
from recsys_assets.storage.objects import ObjectMeta, ObjectStore, sha256_object

Log = Callable[[str], None]
Scan = Callable[[Sequence[str], pa.Schema], Frame]
""":meth:`~recsys_assets.core.engine.Engine.scan`."""

_COMPARED_FILES = 20
"""Earlier files whose columns a file is compared with: enough to know the columns, few enough to read."""


class LandingZone:
    """Lists the landing zone, stages each new file once and returns single days.

    All days of one zone object come from the same files: the accepted ones if ``only_accepted``, else those that exist
    when a day is first requested.

    Args:
        dataset: names of the files and how they are parsed.
        store: of staged files.
        open_landing: opens the store of the landing files; called once, when the first of them is needed.
        list_files: lists the current files; :func:`list_landing` does so for a plain store.
        scan: of the engine that reads the days.
        only_accepted: whether only accepted files count.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: ObjectStore,
        open_landing: Callable[[], ObjectStore],
        list_files: Callable[[], Iterable[LandingFile]],
        scan: Scan,
        *,
        only_accepted: bool = False,
    ) -> None:
        self._dataset, self._store, self._only_accepted = dataset, store, only_accepted
        self._open_landing, self._list_files, self._scan_parquet = open_landing, list_files, scan
        self._files: Accepted | None = None
        self._staged: dict[str, StagedFile] = {}

    def listing(self) -> dict[str, AcceptedFile]:
        """The current files that the data set knows, by name; without their days."""
        files: dict[str, AcceptedFile] = {}
        for file in sorted(self._list_files(), key=lambda file: file.name):
            kind = self._dataset.kind_of(file.name)
            if kind is not None:
                version = self._version(kind, file)
                files[file.name] = AcceptedFile(kind, file.name, file.size, file.fingerprint, version, version=version)
        return files

    def experiment_files(self) -> list[ObjectMeta]:
        """The files of the folder ``experiments``, by name. They are not data and are not staged."""
        return self._landing.list(FOLDER)

    def experiment_file(self, key: str) -> bytes:
        """The content of one of them; ``NotFound`` if it does not exist."""
        return self._landing.get(key)

    def accepted(self) -> Accepted:
        """The accepted files, which are complete and staged."""
        return read_accepted(self._store)

    def changes(self) -> dict[str, AcceptedFile | None]:
        """New and changed files of the landing zone, compared with the accepted ones; None for a deleted file.

        A file that was only touched is among them: :meth:`accept` and :meth:`accept_equal` find that out.
        """
        accepted, listed = self.accepted().files, self.listing()
        orphaned = orphans(accepted, ())
        return {
            name: listed.get(name)
            for name in sorted({*accepted, *listed})
            if name not in listed
            or name not in accepted
            or name in orphaned
            or listed[name].digest != accepted[name].listed
        }

    def accept(self, changes: Mapping[str, AcceptedFile | None], log: Log = lambda _: None) -> Accepted:
        """Stage and accept changed files: all, or none if one is invalid, so that no day is built in part.

        Raises:
            DataFileError: names each file that is invalid or that changed while it was read.
        """
        staged, faults = self._stage_all(changes, log)
        for name in self._changed_since(staged):
            file = staged[name]
            if file and file.digest == file.listed and not file.copy_of:
                self._unstage(file)
            faults.append(f"{name}: changed while it was read")
        if faults:
            raise DataFileError("; ".join(faults))
        return accept(self._store, staged)

    def forget_served(self, user: UserId, log: Log = lambda _: None) -> None:
        """Take a person out of the files of the API, and accept what is left of them.

        What killed writes of the API have left is removed; nobody else's files are.
        """
        for left in self._landing.sweep(SERVED, history=True):
            log(f"removed: {left}")
        removed = forget_served(self._landing, user)
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
            if file is None or file.size > most_bytes or not equal.may_be_equal(file) or self.faults([file]):
                continue
            most_bytes -= file.size
            if known := equal.find(file, sha256_object(self._landing, file.name)):
                found[name] = known
                equal.add(known)
        settled = {name: file for name, file in found.items() if name not in self._changed_since(found)}
        if settled:
            accept(self._store, settled)
        return set(settled)

    def faults(self, files: Iterable[AcceptedFile | None]) -> list[str]:
        """The faults of those files that could not be staged."""
        return [fault for file in files if file and (fault := find_fault(self._store, file.digest)) is not None]

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
                staged, faults = self._stage_all(self.changes())
                if faults:
                    raise DataFileError("; ".join(faults))
                self._files = self.accepted().with_changes(staged)
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

    def _stage_all(
        self, changes: Mapping[str, AcceptedFile | None], log: Log = lambda _: None
    ) -> tuple[dict[str, AcceptedFile | None], list[str]]:
        """Changed files as they are to be accepted, and the faults of those that cannot be staged.

        Copies of a file that changes are among them, since its rows may be theirs from now on.
        """
        left = orphans(self.accepted().files, changes) - changes.keys()
        if left:
            listed = self.listing()
            changes = {**changes, **{name: listed[name] for name in left if name in listed}}
        equal = self._equal_files(changes)
        staged: dict[str, AcceptedFile | None] = {}
        faults: list[str] = []
        for name in equal.order(changes):
            file = changes[name]
            try:
                staged[name] = file and self._stage(file, equal, log)
            except DataFileError as error:
                faults.append(str(error))
                if file is not None:
                    note_fault(self._store, file.digest, str(error))
        return staged, faults

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
