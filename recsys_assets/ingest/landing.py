"""The landing zone: files that others put there, read by day and never changed."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from dagster_aws.s3 import S3Resource
from dagster_aws.s3.sensor import get_objects
from pydantic import PrivateAttr

from recsys_assets.core.catalog.embeddings import join_embeddings, parse_embeddings
from recsys_assets.core.contracts import REJECTED_EVENTS, Contract, arrow_schema
from recsys_assets.core.dataset import Dataset, Kind, load_dataset
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.events.clean import clean_properties
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES, parse_categories
from recsys_assets.core.events.read import DataFileError, read_rows
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
from recsys_assets.ingest.staging import LandingFile, StagedFile, StagedKind, file_digest, read_staged, stage
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.store import StoreResource, s3_options
from recsys_assets.storage.objects import ObjectMeta, ObjectStore
from recsys_assets.storage.uri import open_store

Note = Callable[[str], None]

_INDEX: Mapping[Kind, str] = {
    "events": "index.json",
    "properties": "index.json",
    "categories": "edges.parquet",
    "embeddings": "vectors.parquet",
}
"""The object of a staged file that is written last."""

_EDGES = pa.schema([("category_id", pa.string()), ("parent_id", pa.string())])

_EARLIER = 20
"""Files whose columns a new one is compared with: enough to know them, and few to read."""

ACCEPTED_ONLY = {"recsys/landing": "accepted"}
"""Tag of runs that read the files that were found whole, rather than whatever is there when they start."""


class LandingResource(dg.ConfigurableResource[Any]):
    """Lists the landing zone, stages what is new in it once, and hands out single days.

    All days of a run see the same files: those that were accepted as whole where the run has the tag
    :data:`ACCEPTED_ONLY`, else those that are there when it first asks.
    """

    uri: str
    dataset: str
    s3: dg.ResourceDependency[S3Resource]
    store: dg.ResourceDependency[StoreResource]
    engine: dg.ResourceDependency[EngineResource]
    _spec: Dataset | None = PrivateAttr(default=None)
    _only_accepted: bool = PrivateAttr(default=False)
    _files: Accepted | None = PrivateAttr(default=None)
    _staged: dict[str, StagedFile] = PrivateAttr(default_factory=dict)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Learn which files this run reads."""
        self._only_accepted = context.run is not None and ACCEPTED_ONLY.items() <= context.run.tags.items()

    def listing(self) -> dict[str, AcceptedFile]:
        """The files that are there now and that the data set knows, by name; their days are not known yet."""
        found: dict[str, AcceptedFile] = {}
        for file in sorted(self._listed(), key=lambda file: file.name):
            kind = self._dataset.kind_of(file.name)
            if kind is not None:
                found[file.name] = AcceptedFile(kind, file.name, file.size, file.fingerprint, self._digest(kind, file))
        return found

    def experiment_files(self) -> list[ObjectMeta]:
        """The files of the folder ``experiments``, by name; they are no data, and nothing is staged of them."""
        return self._landing.list(FOLDER)

    def experiment_file(self, key: str) -> bytes:
        """One of them; ``NotFound`` if it is gone."""
        return self._landing.get(key)

    def accepted(self) -> Accepted:
        """The files that were accepted as whole, and staged."""
        return read_accepted(self.store.open())

    def changes(self) -> dict[str, AcceptedFile | None]:
        """How the landing zone differs from what was accepted; None: the file is gone."""
        accepted, found = self.accepted().files, self.listing()
        return {
            name: found.get(name)
            for name in sorted({*accepted, *found})
            if name not in found or name not in accepted or found[name].digest != accepted[name].digest
        }

    def accept(self, changes: Mapping[str, AcceptedFile | None], note: Note = lambda _: None) -> Accepted:
        """Stage changed files and let them count; if one cannot be used, none counts: better no day than half of one.

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
                    note_fault(self.store.open(), file.digest, str(error))
        now = self.listing()
        for name, file in staged.items():
            if file and (name not in now or now[name].digest != file.digest):
                self.store.open().delete(f"staging/{file.kind}/{file.digest}/{_INDEX[file.kind]}")
                faults.append(f"{name}: changed while it was read")
        if faults:
            raise DataFileError("; ".join(faults))
        return accept(self.store.open(), staged)

    def faults(self, files: Iterable[AcceptedFile | None]) -> list[str]:
        """Why files cannot be staged, of those at which somebody failed."""
        store = self.store.open()
        return [fault for file in files if file and (fault := find_fault(store, file.digest)) is not None]

    def digests(self, kind: Kind, day: str) -> list[str]:
        """Names of the contents that a day is made of; what is not of days serves every day."""
        files = self.files()
        return files.undated(kind) if kind in UNDATED else files.digests(kind, day)

    def files(self) -> Accepted:
        """The files that this run reads."""
        if self._files is None:
            if self._only_accepted:
                self._files = self.accepted()
            else:
                known = self.accepted().files
                found = {
                    name: known[name]
                    if name in known and known[name].digest == file.digest
                    else self._stage(file, lambda _: None)
                    for name, file in self.listing().items()
                }
                self._files = Accepted().with_changes(found)
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
        return pa.concat_tables([_EDGES.empty_table(), *self._undated("categories").values()])

    def embeddings(self) -> pa.Table:
        """Vectors of items (``ITEM_EMBEDDINGS``).

        Raises:
            DataFileError: files do not go together.
        """
        return join_embeddings(self._undated("embeddings"), self._dataset.ids)

    def differences(self, day: str) -> dict[str, list[str]]:
        """How the columns of a day's event files differ from those of the files before them, by file."""
        files = [file for file in self.files().files.values() if file.kind == "events" and file.days]
        files.sort(key=lambda file: (file.days[0], file.name))
        found: dict[str, list[str]] = {}
        for n, file in enumerate(files):
            if day in file.days:
                earlier = [self._index("events", one).columns for one in files[max(n - _EARLIER, 0) : n]]
                if changed := differences(self._index("events", file).columns, earlier):
                    found[file.name] = changed
        return found

    def _of(self, kind: StagedKind, day: str) -> Iterator[StagedFile]:
        """What was staged of the files that have rows of a day, by name."""
        for _, file in sorted(self.files().files.items()):
            if file.kind == kind and day in file.days:
                yield self._index(kind, file)

    def _undated(self, kind: Kind) -> dict[str, pa.Table]:
        """What was staged of the files of a kind that is not of days, by their names."""
        found: dict[str, pa.Table] = {}
        for name, file in sorted(self.files().files.items()):
            if file.kind == kind:
                with self.store.open().open(f"staging/{kind}/{file.digest}/{_INDEX[kind]}") as stream:
                    found[name] = pq.read_table(stream)
        return found

    def _index(self, kind: StagedKind, file: AcceptedFile) -> StagedFile:
        if file.digest not in self._staged:
            staged = read_staged(kind, file.digest, self.store.open())
            if staged is None:
                raise DataFileError(f"{file.name}: what was staged of it is gone; run make run, which reads it")
            self._staged[file.digest] = staged
        return self._staged[file.digest]

    def _stage(self, file: AcceptedFile, note: Note) -> AcceptedFile:
        """Read a file, unless that was done before; the file with its days."""
        store, landing = self.store.open(), self._landing
        if file.kind == "categories" or file.kind == "embeddings":
            key = f"staging/{file.kind}/{file.digest}/{_INDEX[file.kind]}"
            if not store.exists(key):
                self._stage_whole(file, key)
            return file
        known = read_staged(file.kind, file.digest, store)
        if known is None:
            note(f"reading {file.name} ({file.size / 1e6:,.1f} MB)")
            source = LandingFile(landing.uri(file.name), file.name, file.size, file.fingerprint)
            known = stage(file.kind, source, lambda: landing.open(file.name), self._dataset, store)
        return replace(file, days=tuple(sorted(known.days)))

    def _stage_whole(self, file: AcceptedFile, key: str) -> None:
        """Read a file that is not of days into one object."""
        with self._landing.open(file.name) as stream, tempfile.TemporaryDirectory(prefix="staging-") as scratch:
            path = Path(scratch) / "staged.parquet"
            pq.write_table(self._read_whole(file, stream), path)
            self.store.open().put(key, path)

    def _read_whole(self, file: AcceptedFile, stream: BinaryIO) -> pa.Table:
        tree, vectors = self._dataset.categories, self._dataset.embeddings
        if file.kind == "categories" and tree is not None:
            edges = [parse_categories(batch, tree) for batch in read_rows(stream, file.name, tree, dict(tree.columns))]
            return pa.concat_tables([_EDGES.empty_table(), *edges])
        if file.kind == "embeddings" and vectors is not None:
            batches = read_rows(stream, file.name, vectors, dict(vectors.columns))
            return parse_embeddings(batches, vectors, self._dataset.ids, file.name)
        raise DataFileError(f"{file.name}: data set {self._dataset.name!r} has no [{file.kind}]")

    def _digest(self, kind: Kind, file: LandingFile) -> str:
        if kind == "events" or kind == "properties":
            return file_digest(kind, file, self._dataset)
        spec = self._dataset.spec(kind)
        recipe = spec.model_dump_json() if spec else ""
        if kind == "embeddings":
            recipe += self._dataset.ids.item
        return hashlib.sha256("\0".join((file.name, file.fingerprint, recipe)).encode()).hexdigest()[:32]

    def _scan(self, keys: list[str | None], contract: Contract) -> Frame:
        store = self.store.open()
        engine: Engine = self.engine.open()
        schema = arrow_schema(contract, self._dataset.ids)
        return engine.scan([store.uri(key) for key in keys if key], schema).select(*contract.columns)

    def _listed(self) -> list[LandingFile]:
        if not self.uri.startswith("s3://"):
            return [
                LandingFile(self._landing.uri(meta.key), meta.key, meta.size, meta.etag)
                for meta in self._landing.list()
            ]
        parts = urlsplit(self.uri)
        prefix = parts.path.strip("/")
        found = get_objects(parts.netloc, f"{prefix}/" if prefix else "", client=self.s3.get_client())
        # boto3's stubs leave open whether a listed object has a key and a size.
        objects = cast("list[dict[str, Any]]", found)
        return [
            LandingFile(f"s3://{parts.netloc}/{o['Key']}", name, o["Size"], o["ETag"].strip('"'))
            for o in objects
            if (name := o["Key"].removeprefix(f"{prefix}/" if prefix else "")) and not name.endswith("/")
        ]

    @property
    def _dataset(self) -> Dataset:
        if self._spec is None:
            self._spec = load_dataset(self.dataset)
        return self._spec

    @property
    def _landing(self) -> ObjectStore:
        return open_store(self.uri, s3_options(self.s3) if self.uri.startswith("s3://") else None)
