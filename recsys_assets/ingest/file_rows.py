"""What became of the rows of each event file, over all of its days, so that they add up before a person's eyes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from recsys_assets.core.insight.counts import CLEAN, DUPLICATE, REJECTED
from recsys_assets.ingest.accepted import Accepted
from recsys_assets.ingest.staging import StagedFile, read_staged
from recsys_assets.storage.objects import NotFound, ObjectStore
from recsys_assets.storage.partition_store import PartitionStore

COUNTS = "event_counts"
_READERS = 16

Counts = Counter[tuple[str, str, str]]
"""Rows of a day by file, outcome and reason."""


@dataclass(frozen=True)
class FileRows:
    """The rows of one file: read = clean + duplicates + rejected + outside + held + unbuilt.

    Attributes:
        name: of the file; of several, a description.
        read: rows in the file, without those of erased persons.
        clean: events.
        duplicates: exact copies of events.
        rejected: by reason.
        outside: rows of days that the graph does not have.
        held: rows of days that are held.
        unbuilt: rows of days that are not built from this file yet.
    """

    name: str
    read: int = 0
    clean: int = 0
    duplicates: int = 0
    rejected: Counter[str] = field(default_factory=Counter[str])
    outside: int = 0
    held: int = 0
    unbuilt: int = 0

    def told(self) -> str:
        """One line."""
        reasons = ", ".join(f"{reason}: {rows:,}" for reason, rows in sorted(self.rejected.items()))
        parts = [
            f"{self.clean:,} clean",
            f"{self.duplicates:,} duplicates",
            f"{self.rejected.total():,} rejected" + (f" ({reasons})" if reasons else ""),
            f"{self.outside:,} outside the dates of the graph",
            *([f"{self.held:,} held"] if self.held else []),
            *([f"{self.unbuilt:,} not built yet"] if self.unbuilt else []),
        ]
        return f"{self.name}: {self.read:,} rows read = {' + '.join(parts)}"


def file_rows(store: ObjectStore, accepted: Accepted, names: Collection[str], span: tuple[str, str]) -> list[FileRows]:
    """The rows of some accepted event files; of those that are copies of another file, all are duplicates.

    Args:
        store: of staged files and of ``event_counts``.
        accepted: the files that count.
        names: of the files; others than event files are left out.
        span: the first and the last day of the graph.
    """
    files = [accepted.files[name] for name in sorted(names) if accepted.files[name].kind == "events"]
    originals = {file.name: accepted.files.get(file.copy_of, file) for file in files}
    days = sorted({day for file in files if not file.copy_of for day in file.days if span[0] <= day <= span[1]})
    with tempfile.TemporaryDirectory(prefix="counts-") as folder, ThreadPoolExecutor(_READERS) as pool:
        counted = dict(zip(days, pool.map(lambda day: _counts(store, day, Path(folder, day)), days), strict=True))
    staged = {file.name: read_staged("events", originals[file.name].digest, store) for file in files}
    return [
        FileRows(f"{file.name} (equal to {file.copy_of})", one.total - one.erased, duplicates=one.total - one.erased)
        if file.copy_of
        else _of_file(one, counted, accepted.held)
        for file in files
        if (one := staged[file.name]) is not None
    ]


def _of_file(file: StagedFile, counted: Mapping[str, Counts], held: Collection[str]) -> FileRows:
    """The rows of one file.

    Args:
        file: as staged.
        counted: the counts of each of its days that the graph has.
        held: days that are held.
    """
    rows: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for day, of_day in file.days.items():
        here = of_day.rows + of_day.rejected
        if day not in counted or day in held:
            rows["held" if day in held else "outside"] += here
            continue
        for (name, outcome, reason), count in counted[day].items():
            if name == file.name:
                here -= count
                rows[outcome] += count
                rejected[reason] += count if outcome == REJECTED else 0
        rows["unbuilt"] += here
    if not file.days:  # of no day at all: such rows are counted and stored nowhere
        rejected.update(file.reasons)
    return FileRows(
        file.name,
        file.total - file.erased,
        rows[CLEAN],
        rows[DUPLICATE],
        +rejected,
        rows["outside"],
        rows["held"],
        rows["unbuilt"],
    )


def summed(rows: Sequence[FileRows], most: int) -> list[FileRows]:
    """The first files, and the others as one line."""
    first, others = rows[:most], rows[most:]
    if not others:
        return list(first)
    rejected: Counter[str] = Counter()
    for one in others:
        rejected.update(one.rejected)
    numbers = {
        name: sum(getattr(one, name) for one in others)
        for name in ("read", "clean", "duplicates", "outside", "held", "unbuilt")
    }
    return [*first, FileRows(f"{len(others):,} more files", rejected=rejected, **numbers)]


def _counts(store: ObjectStore, day: str, folder: Path) -> Counts:
    folder.mkdir()
    try:
        table = pq.ParquetFile(PartitionStore(store).fetch(COUNTS, day, folder)).read()
    except NotFound:
        return Counter()
    counts: Counts = Counter()
    for row in table.select(["source_file", "outcome", "name", "rows"]).to_pylist():
        counts[row["source_file"], row["outcome"], row["name"]] += row["rows"]
    return counts
