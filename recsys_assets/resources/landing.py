"""The landing zone: files that others put there, read by day and never changed."""

from collections.abc import Callable, Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import dagster as dg
import pyarrow as pa
from dagster_aws.s3 import S3Resource
from dagster_aws.s3.sensor import get_objects
from pydantic import PrivateAttr

from recsys_assets.core.contracts import REJECTED_EVENTS, Contract, arrow_schema
from recsys_assets.core.dataset import Dataset, Kind, load_dataset
from recsys_assets.core.events.clean import clean_properties
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES, parse_categories
from recsys_assets.core.events.read import read_rows
from recsys_assets.engines.base import Engine, Frame
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.store import StoreResource, s3_options
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.staging import LandingFile, StagedFile, StagedKind, find_staged, stage
from recsys_assets.storage.uri import open_store

Note = Callable[[str], None]


class LandingResource(dg.ConfigurableResource[Any]):
    """Lists the landing zone, stages what is new in it once, and hands out single days."""

    uri: str
    dataset: str
    s3: dg.ResourceDependency[S3Resource]
    store: dg.ResourceDependency[StoreResource]
    engine: dg.ResourceDependency[EngineResource]
    _staged: dict[str, list[StagedFile]] = PrivateAttr(default_factory=dict)
    _spec: Dataset | None = PrivateAttr(default=None)

    def found(self, kind: Kind) -> list[LandingFile]:
        """The files of one kind, by name."""
        listed = sorted(self._listed(), key=lambda file: file.name)
        return [file for file in listed if self._dataset.kind_of(file.name) == kind]

    def staged(self, kind: StagedKind, note: Note = lambda _: None) -> list[StagedFile]:
        """The files of one kind, each split by day; files seen before are not read again.

        Listed once per run, so that all days of a run see the same files.
        """
        if kind not in self._staged:
            self._staged[kind] = list(self._stage(kind, note))
        return self._staged[kind]

    def digests(self, kind: StagedKind, day: str) -> list[str]:
        """Names of the contents that a day is made of."""
        return sorted(file.digest for file in self.staged(kind) if day in file.days)

    def files_by_day(self, note: Note) -> dict[str, list[str]]:
        """Day to the names of the event contents that touch it, for every day of the landing zone."""
        self.staged("properties", note)
        days = sorted({day for file in self.staged("events", note) for day in file.days})
        return {day: self.digests("events", day) for day in days}

    def events(self, day: str) -> Frame:
        """Parsed rows of a day from all files (``PARSED_EVENTS``)."""
        return self._scan([file.rows_key(day) for file in self.staged("events")], PARSED_EVENTS)

    def rejected(self, day: str) -> Frame:
        """Rejected rows that belong to a day (``REJECTED_EVENTS``)."""
        return self._scan([file.rejected_key(day) for file in self.staged("events")], REJECTED_EVENTS)

    def properties(self, day: str) -> Frame:
        """Property snapshots of a day (``ITEM_PROPERTIES``)."""
        rows = self._scan([file.rows_key(day) for file in self.staged("properties")], PARSED_PROPERTIES)
        return clean_properties(rows)

    def categories(self) -> pa.Table:
        """Edges of the category tree: category_id, parent_id; none where the data set has no tree."""
        spec = self._dataset.categories
        edges = [pa.table({"category_id": pa.array([], pa.string()), "parent_id": pa.array([], pa.string())})]
        if spec is not None:
            for file in self.found("categories"):
                with self._landing.open(file.name) as stream:
                    for batch in read_rows(stream, file.name, spec, dict(spec.columns)):
                        edges.append(parse_categories(batch, spec).select(["category_id", "parent_id"]))
        return pa.concat_tables(edges)

    def _stage(self, kind: StagedKind, note: Note) -> Iterator[StagedFile]:
        landing, store = self._landing, self.store.open()
        for file in self.found(kind):
            known = find_staged(kind, file, self._dataset, store)
            if known is None:
                note(f"reading {file.name} ({file.size / 1e6:,.1f} MB)")
                known = stage(kind, file, lambda name=file.name: landing.open(name), self._dataset, store)
            yield known

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
