"""What passes between assets: handles of stored partitions on the way in, staged files on the way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys_assets.core.engine import Frame
from recsys_assets.storage.lineage import Input

FILE_NAMES: Mapping[str, str] = {
    "ranker": "model.cbm",
    "ranker_params": "params.json",
    "retrieval_params": "params.json",
    "champion": "model.cbm",
    "served_ranker": "model.cbm",
    "promotion": "promotion.json",
    "data_report": "report.html",
    "experiment_challenger": "model.bin",
    "experiment_promotion": "promotion.json",
    "model_comparison": "comparison.html",
    "backtest_report": "report.html",
}
"""Assets whose partitions are not parquet, and what their file is called.

A model may be of another kind than its file's name says, a linear one or that of an experiment: its first bytes tell
(:func:`recsys_assets.core.ranking.formats.read_model`).
"""


@dataclass(frozen=True)
class Partitions:
    """The partitions of an upstream asset within the window asked for.

    Nothing is read until asked. ``days`` exist in storage, ``missing`` do not; both ascend.
    """

    asset: str
    days: tuple[str, ...]
    missing: tuple[str, ...]
    scan: Callable[[Sequence[str]], Frame]
    fetch: Callable[[str], Path]

    def frame(self, *days: str) -> Frame:
        """A lazy frame over the given days (all that exist by default), with the day as column ``dt``."""
        wanted = set(days)
        return self.scan([day for day in self.days if not wanted or day in wanted])

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
    """One partition's bytes, written and audited but not yet stored."""

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
    """

    files: Mapping[str, StagedFile]
    seed: int | None = None
    inputs: tuple[Input, ...] = ()
