"""The landing zone: files that others put there, read by day and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import pyarrow as pa

from recsys_assets.core.catalog.embeddings import join_embeddings
from recsys_assets.core.contracts import REJECTED_EVENTS, Contract, arrow_schema
from recsys_assets.core.dataset import Dataset, Kind
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import clean_properties
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES
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
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import StagedFile, StagedKind, file_digest, index_key, read_staged, stage
from recsys_assets.ingest.undated import EDGES, UndatedKind, read_table, stage_table, table_digest, table_key
from recsys_assets.storage.objects import ObjectMeta, ObjectStore

Note = Callable[[str], None]
Scan = Callable[[Sequence[str], pa.Schema], Frame]
"""What :meth:`~recsys_assets.core.engine.Engine.scan` does."""

_EARLIER = 20
"""Files whose columns a new one is compared with: enough to know them, and few to read."""


class LandingZone:
    """Lists the landing zone, stages what is new in it once, and hands out single days.

    All days of one zone object see the same files: those that were accepted as whole where only these count, else
    those that are there when it is first asked for a day.

    Args:
        dataset: which files there are, and how they are read.
        store: where staged files go.
        open_landing: opens the place of the files; called once, when one of them is needed.
        list_files: lists the files now; :func:`list_landing` lists a plain store.
        scan: of the engine that days are read with.
        only_accepted: whether only the files count that were accepted as whole.
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
        """The files that are there now and that the data set knows, by name; their days are not known yet."""
        files: dict[str, AcceptedFile] = {}
        for file in sorted(self._list_files(), key=lambda file: file.name):
            kind = self._dataset.kind_of(file.name)
            if kind is not None:
                files[file.name] = AcceptedFile(kind, file.name, file.size, file.fingerprint, self._digest(kind, file))
        return files

    def experiment_files(self) -> list[ObjectMeta]:
        """The files of the folder ``experiments``, by name; they are no data, and nothing is staged of them."""
        return self._landing.list(FOLDER)

    def experiment_file(self, key: str) -> bytes:
        """One of them; ``NotFound`` if it is gone."""
        return self._landing.get(key)

    def accepted(self) -> Accepted:
        """The files that were accepted as whole, and staged."""
        return read_accepted(self._store)

    def changes(self) -> dict[str, AcceptedFile | None]:
        """How the landing zone differs from what was accepted; None: the file is gone."""
        accepted, listed = self.accepted().files, self.listing()
        return {
            name: listed.get(name)
            for name in sorted({*accepted, *listed})
            if name not in listed or name not in accepted or listed[name].digest != accepted[name].digest
        }

    def accept(self, changes: Mapping[str, AcceptedFile | None], note: Note = lambda _: None) -> Accepted:
        """Stage and accept changed files: all of them, or none if one cannot be used, so that no day is built in part.

        Raises:
            DataFileError: naming each file that cannot be used, or that changed while it was read.
        """
        staged: dict[str, AcceptedFile | None] = {}
        faults: list[str] = []
        for name, file in changes.items():
            try:
                staged[name] = file and self._stage(file, note)
            except DataFileError as error:
                faults.append(str(error))
                if file is not None:
                    note_fault(self._store, file.digest, str(error))
        now = self.listing()
        for name, file in staged.items():
            if file and (name not in now or now[name].digest != file.digest):
                self._unstage(file)
                faults.append(f"{name}: changed while it was read")
        if faults:
            raise DataFileError("; ".join(faults))
        return accept(self._store, staged)

    def faults(self, files: Iterable[AcceptedFile | None]) -> list[str]:
        """Why files cannot be staged, of those that were tried."""
        return [fault for file in files if file and (fault := find_fault(self._store, file.digest)) is not None]

    def digests(self, kind: Kind, day: str) -> list[str]:
        """Names of the contents that a day is made of; what is not of days serves every day."""
        files = self.files()
        return files.undated(kind) if kind in UNDATED else files.digests(kind, day)

    def files(self) -> Accepted:
        """The files that the days of this zone object come from."""
        if self._files is None:
            if self._only_accepted:
                self._files = self.accepted()
            else:
                accepted = self.accepted().files
                staged = {
                    name: accepted[name]
                    if name in accepted and accepted[name].digest == file.digest
                    else self._stage(file, lambda _: None)
                    for name, file in self.listing().items()
                }
                self._files = Accepted().with_changes(staged)
        return self._files

    def events(self, day: str) -> Frame:
        """Parsed rows of a day from all files (``PARSED_EVENTS``)."""
        return self._scan([file.rows_key(day) for file in self._of("events", day)], PARSED_EVENTS)

    def rejected(self, day: str) -> Frame:
        """Rejected rows that belong to a day (``REJECTED_EVENTS``)."""
        return self._scan([file.rejected_key(day) for file in self._of("events", day)], REJECTED_EVENTS)

    def erased(self, day: str) -> int:
        """Number of the day's rows that were left out because the person was erased."""
        return sum(file.days[day].erased for file in self._of("events", day))

    def properties(self, day: str) -> Frame:
        """Property snapshots of a day (``ITEM_PROPERTIES``)."""
        rows = self._scan([file.rows_key(day) for file in self._of("properties", day)], PARSED_PROPERTIES)
        return clean_properties(rows)

    def categories(self) -> pa.Table:
        """Edges of the category tree: category_id, parent_id; none where the data set has no tree."""
        return pa.concat_tables([EDGES.empty_table(), *self._tables("categories").values()])

    def embeddings(self) -> pa.Table:
        """Vectors of items (``ITEM_EMBEDDINGS``).

        Raises:
            DataFileError: files do not go together.
        """
        return join_embeddings(self._tables("embeddings"), self._dataset.ids)

    def differences(self, day: str) -> dict[str, list[str]]:
        """How the columns of a day's event files differ from those of the files before them, by file."""
        files = [file for file in self.files().files.values() if file.kind == "events" and file.days]
        files.sort(key=lambda file: (file.days[0], file.name))
        by_file: dict[str, list[str]] = {}
        for n, file in enumerate(files):
            if day in file.days:
                earlier = [self._index("events", other).columns for other in files[max(n - _EARLIER, 0) : n]]
                if changed := differences(self._index("events", file).columns, earlier):
                    by_file[file.name] = changed
        return by_file

    def _of(self, kind: StagedKind, day: str) -> Iterator[StagedFile]:
        """What was staged of the files that have rows of a day, by name."""
        for _, file in sorted(self.files().files.items()):
            if file.kind == kind and day in file.days:
                yield self._index(kind, file)

    def _tables(self, kind: UndatedKind) -> dict[str, pa.Table]:
        """What was staged of the files of a kind that is not of days, by their names."""
        files = sorted(self.files().files.items())
        return {name: read_table(kind, file.digest, self._store) for name, file in files if file.kind == kind}

    def _index(self, kind: StagedKind, file: AcceptedFile) -> StagedFile:
        if file.digest not in self._staged:
            staged = read_staged(kind, file.digest, self._store)
            if staged is None:
                raise DataFileError(f"{file.name}: what was staged of it is gone; run make run, which reads it")
            self._staged[file.digest] = staged
        return self._staged[file.digest]

    def _stage(self, file: AcceptedFile, note: Note) -> AcceptedFile:
        """Read a file, unless that was done before; the file with its days."""
        store, landing = self._store, self._landing
        if file.kind == "categories" or file.kind == "embeddings":
            stage_table(file.kind, file.name, file.digest, lambda: landing.open(file.name), self._dataset, store)
            return file
        staged = read_staged(file.kind, file.digest, store)
        if staged is None:
            note(f"reading {file.name} ({file.size / 1e6:,.1f} MB)")
            source = LandingFile(landing.uri(file.name), file.name, file.size, file.fingerprint)
            staged = stage(file.kind, source, lambda: landing.open(file.name), self._dataset, store)
        return replace(file, days=tuple(sorted(staged.days)))

    def _unstage(self, file: AcceptedFile) -> None:
        """Delete the index of a staged file, so that it is read again."""
        if file.kind == "categories" or file.kind == "embeddings":
            self._store.delete(table_key(file.kind, file.digest))
        else:
            self._store.delete(index_key(file.kind, file.digest))

    def _digest(self, kind: Kind, file: LandingFile) -> str:
        if kind == "categories" or kind == "embeddings":
            return table_digest(kind, file.name, file.fingerprint, self._dataset)
        return file_digest(kind, file, self._dataset)

    def _scan(self, keys: list[str | None], contract: Contract) -> Frame:
        schema = arrow_schema(contract, self._dataset.ids)
        return self._scan_parquet([self._store.uri(key) for key in keys if key], schema).select(*contract.columns)

    @cached_property
    def _landing(self) -> ObjectStore:
        return self._open_landing()
