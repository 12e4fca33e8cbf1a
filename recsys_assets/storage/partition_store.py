"""Partitions of assets: ``assets/<asset>/dt=<day>/<file>`` with ``_lineage.json`` beside it.

The layout is Hive's, so Polars, DuckDB, Spark and Athena can read it directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from recsys_assets.storage.lineage import Lineage, check_day, check_name, decode, encode, same_facts
from recsys_assets.storage.objects import NotFound, ObjectStore, local_file, sha256_file, sha256_object
from recsys_assets.storage.stated import Change, OtherSettingsError, Statements, days_as_text, described

LINEAGE_FILE = "_lineage.json"
REBUILD = "`make rebuild` or the job `rebuild` builds the days again; or state the old values again."


class TornPartition(RuntimeError):  # noqa: N818
    """Data and lineage of a partition do not match: a write was interrupted between the two."""


@dataclass(frozen=True)
class Written:
    """The result of a write.

    Attributes:
        lineage: the record as it is stored.
        changed: False if equal data and lineage were stored already, so that nothing was written.
    """

    lineage: Lineage
    changed: bool

    @property
    def sha256(self) -> str:
        """Hex, of the data file."""
        return self.lineage.sha256

    @property
    def bytes(self) -> int:
        """Size of the data file."""
        return self.lineage.bytes


class PartitionStore:
    """Partitions within a store. One writer per partition at a time; any number of readers."""

    def __init__(self, store: ObjectStore, statements: Statements | None = None):
        """Partitions of a store.

        Args:
            store: holds them.
            statements: what is stated for the graph, which records are marked with and compared to; None for readers
                that take partitions as they are.
        """
        self.store, self.statements = store, statements

    def write(self, asset: str, day: str, file: Path, lineage: Lineage) -> Written:
        """Store a data file, then its lineage; write nothing if both are stored already.

        Args:
            asset: name.
            day: ``YYYY-MM-DD``.
            file: local file with the data.
            lineage: its record; ``sha256``, ``bytes`` and ``fingerprint`` are filled in here.

        Raises:
            ValueError: the lineage is of another partition or of other bytes.
        """
        sha256 = sha256_file(file)
        if (lineage.asset, lineage.day) != (asset, day) or lineage.sha256 not in ("", sha256):
            raise ValueError(
                f"lineage is of {lineage.asset}, {lineage.day}, sha256 {lineage.sha256 or 'not set'}; "
                f"expected {asset}, {day}, sha256 {sha256}"
            )
        lineage = replace(lineage, sha256=sha256, bytes=file.stat().st_size)
        if self.statements:
            self.statements.keep()
            lineage = replace(lineage, fingerprint=self.statements.now.fingerprint(asset))
        data_key = partition_key(asset, day, lineage.file)
        stored = self.read_lineage(asset, day)
        if stored and same_facts(stored, lineage) and self._holds(data_key, lineage):
            return Written(lineage, changed=False)
        self.store.put(data_key, file)
        self.store.put(partition_key(asset, day, LINEAGE_FILE), encode(lineage))
        return Written(lineage, changed=True)

    def read_lineage(self, asset: str, day: str) -> Lineage | None:
        """The record of a partition; None if it was never written completely."""
        key = partition_key(asset, day, LINEAGE_FILE)
        try:
            data = self.store.get(key)
        except NotFound:
            return None
        return decode(data, self.store.uri(key))

    def changes(self, record: Lineage) -> tuple[Change, ...]:
        """What is stated otherwise since a partition was made; empty if it is current."""
        return self.statements.changes(record) if self.statements else ()

    def refuse_other_settings(self, records: Iterable[Lineage]) -> None:
        """Let nobody read partitions that were made with other settings.

        Raises:
            OtherSettingsError: naming assets, days, what has changed and what to do.
        """
        found = [(record, changes) for record in records if (changes := self.changes(record))]
        if found:
            assets = ", ".join(sorted({record.asset for record, _ in found}))
            raise OtherSettingsError(
                f"{assets} of {days_as_text(record.day for record, _ in found)}: made with other settings "
                f"({described(change for _, changes in found for change in changes)}), which is not mixed with what is "
                f"made now. {REBUILD}"
            )

    def uris(self, asset: str, days: Iterable[str]) -> list[tuple[str, str]]:
        """Day and URI of the data of each of the given days that exists, ascending, after a single listing."""
        existing = self._data_files(asset)
        stored = sorted(day for day in set(days) if check_day(day) in existing)
        return [
            (day, self.store.uri(partition_key(asset, day, self._current(asset, day, existing[day])))) for day in stored
        ]

    def days(self, asset: str) -> list[str]:
        """The days of an asset that have both data and lineage, ascending."""
        return sorted(self._data_files(asset))

    def fetch(self, asset: str, day: str, into: Path) -> Path:
        """A local file with the data, its hash checked: the stored file itself, or a download.

        Args:
            asset: name.
            day: ``YYYY-MM-DD``.
            into: folder for downloads; not used where objects are files.

        Raises:
            NotFound: there is no such partition.
            TornPartition: the data do not match the lineage.
        """
        lineage = self.read_lineage(asset, day)
        if lineage is None:
            raise NotFound(f"{self.store.uri(partition_key(asset, day, LINEAGE_FILE))} does not exist")
        key = partition_key(asset, day, lineage.file)
        try:
            target = into / asset / f"dt={day}" / lineage.file
            path, sha256 = local_file(self.store, key, target, lineage.sha256)
        except FileNotFoundError:
            path, sha256 = None, "no data"
        if path is None or sha256 != lineage.sha256:
            raise TornPartition(
                f"{self.store.uri(key)}: expected sha256 {lineage.sha256} (its lineage), found {sha256}: "
                f"a write was cut off; materialize {asset} for {day} again"
            )
        return path

    def delete(self, asset: str, day: str) -> None:
        """Remove a partition: its record first, because a partition exists only with its record."""
        lineage = self.read_lineage(asset, day)
        self.store.delete(partition_key(asset, day, LINEAGE_FILE))
        if lineage:
            self.store.delete(partition_key(asset, day, lineage.file))

    def _data_files(self, asset: str) -> dict[str, list[str]]:
        """The data files of each day that has a lineage record, by day."""
        root = f"assets/{check_name(asset)}/dt="
        files: dict[str, list[str]] = {}
        for meta in self.store.list(f"assets/{asset}"):
            day, _, name = meta.key.removeprefix(root).partition("/")
            files.setdefault(day, []).append(name)
        return {
            day: data
            for day, names in files.items()
            if LINEAGE_FILE in names and (data := [name for name in names if name != LINEAGE_FILE])
        }

    def _current(self, asset: str, day: str, names: list[str]) -> str:
        """The data file of a day. If a file of an older name is left beside it, the lineage record decides."""
        if len(names) == 1:
            return names[0]
        lineage = self.read_lineage(asset, day)
        return lineage.file if lineage else names[0]

    def _holds(self, key: str, lineage: Lineage) -> bool:
        """Whether the stored data are the bytes of the record.

        The size alone is not enough: an interrupted write can leave other data of equal size beside an old record.
        """
        try:
            return self.store.head(key).size == lineage.bytes and sha256_object(self.store, key) == lineage.sha256
        except NotFound:
            return False


def partition_key(asset: str, day: str, file: str) -> str:
    """The key of a file of a partition."""
    name = file if file == LINEAGE_FILE else check_name(file)
    return f"assets/{check_name(asset)}/dt={check_day(day)}/{name}"
