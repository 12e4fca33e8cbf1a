"""The landing zone: files from other systems, read by day and never changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.catalog.embeddings import join_embeddings
from recsys_assets.core.contracts import IMPRESSIONS, REJECTED_EVENTS, Contract, arrow_schema
from recsys_assets.core.dataset import Dataset, Kind, is_served
from recsys_assets.core.engine import Frame
from recsys_assets.core.events.clean import clean_properties
from recsys_assets.core.events.edges import EDGES
from recsys_assets.core.events.parse import PARSED_EVENTS, PARSED_PROPERTIES, PARSED_SERVED_EVENTS
from recsys_assets.core.events.schema import differences
from recsys_assets.ingest.accepted import UNDATED, Accepted
from recsys_assets.ingest.intake import Intake
from recsys_assets.ingest.listing import ListFiles
from recsys_assets.ingest.staging import StagedFile, StagedKind
from recsys_assets.ingest.undated import UndatedKind, read_table
from recsys_assets.storage.objects import ObjectStore

Scan = Callable[[Sequence[str], pa.Schema], Frame]
""":meth:`~recsys_assets.core.engine.Engine.scan`."""

_COMPARED_FILES = 20
"""Earlier files whose columns a file is compared with: enough to know the columns, few enough to read."""


class LandingZone(Intake):
    """The landing zone by day, as the graph reads it.

    All days of one zone object come from the same files: the accepted ones if ``only_accepted``, else those that exist
    when a day is first requested.

    Args:
        dataset: as of :class:`Intake`, like the next three.
        store: see there.
        open_landing: see there.
        list_files: see there.
        scan: of the engine that reads the days.
        only_accepted: whether only accepted files count.
        most_deleted: as of :class:`Intake`.
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
        most_deleted: float = 1.0,
    ) -> None:
        super().__init__(dataset, store, open_landing, list_files, most_deleted=most_deleted)
        self._only_accepted, self._scan_parquet = only_accepted, scan
        self._files: Accepted | None = None

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
                if look.quarantined:  # so that the release of this run says what it lacks
                    self._set_aside(look.quarantined)
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
        """Edges of the category tree (``EDGES``); empty if the data set has no tree."""
        staged = self._tables("categories").values()
        # Tables of before this version do not say where their rows stand.
        return pa.concat_tables([EDGES.empty_table(), *staged], promote_options="default")

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

    def _scan(self, keys: list[str | None], contract: Contract) -> Frame:
        schema = arrow_schema(contract, self._dataset.ids)
        return self._scan_parquet([self._store.uri(key) for key in keys if key], schema).select(*contract.columns)
