"""Staging: each landing file is parsed once and split by day, so that a day can be read without the whole file.

::

    staging/<kind>/<digest>/dt=2015-05-03/rows.parquet       parsed rows of the day, in the order of the file
    staging/<kind>/<digest>/dt=2015-05-03/rejected.parquet   rejected rows of the day; both only if not empty
    staging/<kind>/<digest>/index.json                       counts by day; written last, marks the rest as complete

The digest covers the file's name, its content and everything that affects its parsing. So a changed file or data set
maps to another folder, and an existing index is reused. Equal input gives equal bytes: it does no harm if two processes
stage the same file at once, or if one dies halfway.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from recsys_assets.core.dataset import Dataset, is_served
from recsys_assets.core.events.batches import RawBatch
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.ingest import parse_file
from recsys_assets.core.events.parse import PARSER_VERSION, Parsed
from recsys_assets.core.events.schema import SchemaWatch
from recsys_assets.core.events.vocabulary import UnknownValues
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.spill import UNDATED, DayBuckets
from recsys_assets.ingest.suppression import Suppressed, read_suppressed, without_erased
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.scratch import temporary_folder

StagedKind = Literal["events", "properties", "impressions"]

_MEMORY = 64 << 20
_ROW_GROUP = 65_536
_REJECTED_ROW_GROUP = 8_192
"""Few, since each holds the text of a row."""


class NoGoodRowsError(DataFileError):
    """Every row of a landing file was rejected: the data set does not fit the file."""


class RowsLostError(RuntimeError):
    """The counts of rows do not add up: a bug, never a fault of the file."""


@dataclass(frozen=True)
class StagedDay:
    """Counts of rows of one file on one day; erased rows are not stored."""

    rows: int
    rejected: int
    erased: int = 0


@dataclass(frozen=True)
class StagedFile:
    """A staged landing file; total = rows + rejected + ignored + erased.

    Args:
        kind: events, properties or impressions.
        digest: names its folder.
        name: path relative to the landing zone.
        size: bytes.
        fingerprint: of the parsed content.
        total: data rows in the file.
        rows: parsed rows.
        rejected: rejected rows.
        ignored: rows of properties that the data set does not use.
        reasons: rejected rows by reason.
        first_ts: time of the earliest parsed row, ISO 8601 UTC; None without rows.
        last_ts: time of the latest parsed row, likewise.
        days: counts by day, ``YYYY-MM-DD``. Rejected rows without a valid time count for the first day with rows;
            where a served file has no day at all, they are counted and not stored.
        erased: rows, good or rejected, of erased persons.
        columns: name to type of every column of the file, mapped or not; text files have no types.
        unknown: values that nobody mapped, with their rows, by column or property; they are null in the rows. At most
            ``MOST_UNKNOWN`` of each, clipped.
        repeated_hour: rows in an hour that clocks of the stated zone repeat, taken as the first of the two.
    """

    kind: StagedKind
    digest: str
    name: str
    size: int
    fingerprint: str
    total: int
    rows: int
    rejected: int
    ignored: int
    reasons: dict[str, int]
    first_ts: str | None
    last_ts: str | None
    days: dict[str, StagedDay]
    erased: int = 0
    columns: dict[str, str] = field(default_factory=dict[str, str])
    unknown: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    repeated_hour: int = 0

    def rows_key(self, day: str) -> str | None:
        """Key of the day's parsed rows, of the contract that they were parsed to; None if it has none."""
        return f"{_folder(self.kind, self.digest)}/dt={day}/rows.parquet" if self._day(day).rows else None

    def rejected_key(self, day: str) -> str | None:
        """Key of the day's rejected rows (``REJECTED_EVENTS``); None if it has none."""
        return f"{_folder(self.kind, self.digest)}/dt={day}/rejected.parquet" if self._day(day).rejected else None

    def notes(self) -> list[str]:
        """What a person should know of how its values were taken, without any of them."""
        found = [
            f"{column}: {sum(values.values()):,} rows with values that mean nothing that is known; they are taken as"
            " unknown, and the check known_values lists them"
            for column, values in self.unknown.items()
        ]
        if self.repeated_hour:
            found.append(f"{self.repeated_hour:,} rows in an hour that clocks repeat; taken as the first of the two")
        return found

    def _day(self, day: str) -> StagedDay:
        return self.days.get(day, StagedDay(0, 0))


_INDEX = TypeAdapter(StagedFile)


def find_staged(kind: StagedKind, file: LandingFile, dataset: Dataset, store: ObjectStore) -> StagedFile | None:
    """The staged file of an earlier call of :func:`stage`; None if there is none."""
    return read_staged(kind, file_digest(kind, file, dataset), store)


def index_key(kind: StagedKind, digest: str) -> str:
    """Key of the index, which is written last: without it, the file counts as not staged."""
    return f"{_folder(kind, digest)}/index.json"


def read_staged(kind: StagedKind, digest: str, store: ObjectStore) -> StagedFile | None:
    """The staged file of a digest; None if there is none."""
    index = index_key(kind, digest)
    return _INDEX.validate_json(store.get(index)) if store.exists(index) else None


def write_index(staged: StagedFile, store: ObjectStore) -> None:
    """Write the index, which marks a staged file as complete."""
    store.put(index_key(staged.kind, staged.digest), _INDEX.dump_json(staged, indent=1))


def stage(
    kind: StagedKind,
    file: LandingFile,
    open_file: Callable[[], BinaryIO],
    dataset: Dataset,
    store: ObjectStore,
    memory: int = _MEMORY,
) -> StagedFile:
    """Parse a landing file and split it by day, unless it is staged already.

    Args:
        kind: of the file.
        file: which file.
        open_file: opens its bytes, which are closed here; not called if the file is staged already.
        dataset: how it is parsed.
        store: where the days are stored.
        memory: bytes of rows to hold before they spill to local disk.

    Raises:
        DataFileError: the file cannot be read, changed in columns, types or units, or has no good row among
            its rows; names the file.
        RowsLostError: the counts do not add up.
    """
    dataset = dataset.of_file(file.name)
    staged = find_staged(kind, file, dataset, store)
    while staged is None:
        with temporary_folder("staging-") as scratch, open_file() as stream:
            (Path(scratch) / "rejected").mkdir()
            run = _Staging(kind, file, dataset, Path(scratch), memory, read_suppressed(store))
            for batch, parsed in parse_file(kind, file.name, stream, dataset):
                run.add(batch, parsed)
            staged = run.finish(store)
    return staged


class _Staging:
    """A file while it is staged: its counts, and its rows by day."""

    def __init__(
        self, kind: StagedKind, file: LandingFile, dataset: Dataset, scratch: Path, memory: int, suppressed: Suppressed
    ) -> None:
        self.kind: StagedKind = kind
        self.file, self.dataset, self.suppressed, self.scratch = file, dataset, suppressed, scratch
        self.digest = file_digest(kind, file, dataset)
        self.erased: Counter[str] = Counter()
        self.good = DayBuckets(scratch, memory)
        self.bad = DayBuckets(scratch / "rejected", memory // 4)
        self.total = self.ignored = 0
        self.reasons: Counter[str] = Counter()
        self.schema = SchemaWatch(kind, dataset)
        self.columns: dict[str, str] = {}
        self.unknown, self.repeated_hour = UnknownValues(), 0
        self.first, self.last = 2**63 - 1, -(2**63)

    def add(self, batch: RawBatch, parsed: Parsed) -> None:
        self.total += batch.num_rows
        self.ignored += parsed.ignored
        self.schema.add(parsed)
        self.columns.update(batch.columns)
        self.repeated_hour += parsed.repeated_hour
        for column, values in parsed.unknown.items():
            self.unknown.add(column, values)
        if self.kind != "properties" and self.suppressed:
            parsed, erased = without_erased(parsed, self.suppressed, self.dataset)
            self.erased.update(erased)
        self.reasons.update(parsed.rejected["reason"].to_pylist())
        self.good.add(parsed.good)
        self.bad.add(parsed.rejected)
        if parsed.good.num_rows:
            times = parsed.good["ts"].cast(pa.int64()).to_numpy()
            self.first, self.last = min(self.first, int(times.min())), max(self.last, int(times.max()))

    def finish(self, store: ObjectStore) -> StagedFile | None:
        """Write the days and the index; None if a person was erased meanwhile, so that it must be repeated."""
        name, good, bad = self.file.name, self.good.rows, self.bad.rows
        self.schema.check(name)
        dated = {*good, *self.erased} - {UNDATED}
        # That no row of a served file is good says nothing against its format: live events may be of other days.
        if (bad or self.erased) and not dated and not is_served(name):
            raise NoGoodRowsError(f"{name}: none of {self.total:,} rows is good: {dict(self.reasons.most_common())}")
        rows, rejected, erased = sum(good.values()), sum(bad.values()), self.erased.total()
        if self.total != rows + rejected + self.ignored + erased:
            counted = f"{rows} good + {rejected} rejected + {self.ignored} ignored + {erased} erased"
            raise RowsLostError(f"{name}: {self.total} rows in, {counted}")
        first_day = min(dated or set(bad) - {UNDATED}, default=None)
        days: dict[str, StagedDay] = {}
        for day in sorted({*dated, *bad} - {UNDATED}):
            folder = f"{_folder(self.kind, self.digest)}/dt={day}"
            undated = [UNDATED] if day == first_day else []
            days[day] = StagedDay(
                self._write(store, f"{folder}/rows.parquet", self.good, [day], _ROW_GROUP),
                self._write(store, f"{folder}/rejected.parquet", self.bad, [day, *undated], _REJECTED_ROW_GROUP),
                sum(self.erased[source] for source in (day, *undated)),
            )
        dayless = bad.get(UNDATED, 0) if first_day is None else 0
        if sum(d.rows + d.rejected for d in days.values()) != rows + rejected - dayless:
            raise RowsLostError(f"{name}: wrote {days}, expected {rows} rows and {rejected} rejected")
        staged = StagedFile(
            kind=self.kind,
            digest=self.digest,
            name=name,
            size=self.file.size,
            fingerprint=self.file.fingerprint,
            total=self.total,
            rows=rows,
            rejected=rejected,
            ignored=self.ignored,
            reasons=dict(sorted(self.reasons.items())),
            first_ts=_iso(self.first) if rows else None,
            last_ts=_iso(self.last) if rows else None,
            days=days,
            erased=erased,
            columns=dict(sorted(self.columns.items())),
            unknown=self.unknown.counts(),
            repeated_hour=self.repeated_hour,
        )
        if read_suppressed(store) != self.suppressed:
            for meta in store.list(_folder(self.kind, self.digest)):
                store.delete(meta.key)
            return None
        write_index(staged, store)
        return staged

    def _write(self, store: ObjectStore, key: str, buckets: DayBuckets, sources: list[str], most: int) -> int:
        """Write the buckets of some days as one object, or none if they are empty; returns the rows."""
        path = self.scratch / "day.parquet"
        written, writer = 0, None
        for source in sources:
            for table in buckets.read(source, most):
                writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
                writer.write_table(table)
                written += table.num_rows
            buckets.drop(source)
        if writer is not None:
            writer.close()
            store.put(key, path)
        return written


def file_digest(kind: StagedKind, file: LandingFile, dataset: Dataset) -> str:
    """Hash of everything that the staged bytes depend on, and nothing else: a new weight must not cause a new parse."""
    config = dataset.of_file(file.name).model_dump(mode="json")
    spec = "properties" if kind == "properties" else "events"
    relevant = {part: config[part] for part in ("ids", "start_date", "end_date", "day_starts_at", spec)}
    if spec == "events":
        relevant["events"] = {
            **config["events"],
            "types": {raw: event_type["name"] for raw, event_type in config["events"]["types"].items()},
        }
    relevant[spec] = {key: value for key, value in relevant[spec].items() if key != "files"}
    content = [PARSER_VERSION, kind, file.name, file.fingerprint, relevant]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _iso(micros: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat()


def _folder(kind: StagedKind, digest: str) -> str:
    return f"staging/{kind}/{digest}"
