"""The values that assets exchange: handles of stored partitions as inputs, staged files as outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys_assets.core.engine import Frame
from recsys_assets.storage.lineage import Input

FILE = "recsys/file"
"""Metadata key of an asset whose partitions are not parquet: the name of their file, as declared at the asset."""

WHOLE = "recsys/whole"
"""Metadata key of an input of which no day that has files may be missing."""
ANY_SETTINGS = "recsys/any_settings"
"""Metadata key of an input whose days may have been made with other settings: reports on how days were."""


@dataclass(frozen=True)
class Partitions:
    """The partitions of an upstream asset within the window that a step reads.

    Nothing is read before a method is called.

    Attributes:
        asset: name.
        days: days that exist in the store, ascending.
        missing: days of the window that do not, ascending.
        scan: makes a lazy frame of some days.
        fetch: makes a local copy of the file of a day.
    """

    asset: str
    days: tuple[str, ...]
    missing: tuple[str, ...]
    scan: Callable[[Sequence[str]], Frame]
    fetch: Callable[[str], Path]

    def frame(self, *days: str) -> Frame:
        """A lazy frame over the given days (all that exist by default), with the day as column ``dt``."""
        selected = set(days)
        return self.scan([day for day in self.days if not selected or day in selected])

    def file(self, day: str) -> Path | None:
        """The partition's file on local disk, checked against its lineage; None where the day is missing."""
        return self.fetch(day) if day in self.days else None

    @property
    def latest(self) -> str | None:
        """The newest day that exists."""
        return self.days[-1] if self.days else None

    @property
    def facts(self) -> dict[str, Any]:
        """How much of the window was there, for the metadata of what was built from it."""
        return {
            f"{self.asset}_days": len(self.days),
            **({f"{self.asset}_days_missing": len(self.missing)} if self.missing else {}),
        }


@dataclass(frozen=True)
class StagedFile:
    """One partition's bytes, written and audited but not yet stored.

    Attributes:
        path: local file; the partition's file in the store gets the same name.
        rows: of a frame; 0 for anything else.
        sha256: hex.
        params: what it was computed with, for the lineage record.
    """

    path: Path
    rows: int
    sha256: str
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Staged:
    """The output of a step: a file per day.

    Attributes:
        files: by day.
        seed: of anything random.
        inputs: partitions that were read past the IO manager.
        days_read: the trailing days of an input that each day of a run over several was made of; 1 unless stated.
        failure: why the first of the days that have no file failed.
    """

    files: Mapping[str, StagedFile]
    seed: int | None = None
    inputs: tuple[Input, ...] = ()
    days_read: Mapping[str, int] = field(default_factory=dict[str, int])
    failure: Exception | None = None
