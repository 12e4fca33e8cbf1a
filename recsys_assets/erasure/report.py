"""What erasing a person has done so far, kept in the store under the person's token: never under the id."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import TypeAdapter

from recsys_assets.erasure.plan import Part
from recsys_assets.ingest.suppression import ROOT
from recsys_assets.storage.objects import NotFound, ObjectStore

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Affected:
    """A partition that has to be computed again, and its rows before that.

    Attributes:
        asset: name.
        day: ``YYYY-MM-DD``.
        rows: before the erasure.
        held: whether it held rows of the person itself.
    """

    asset: str
    day: str
    rows: int
    held: bool


@dataclass(frozen=True)
class Rewritten:
    """One asset in the report.

    Attributes:
        asset: name.
        partitions: how many were computed again or found to be so.
        rows_before: of all of them.
        rows_after: likewise.
    """

    asset: str
    partitions: int
    rows_before: int
    rows_after: int


@dataclass(frozen=True)
class Erasure:
    """The record of an erasure.

    Attributes:
        status: ``running`` until nothing of the person was found any more.
        erased_before: rows missing from staged files when it was begun, of persons erased earlier.
        staged_rows: rows taken out of staged files, at the end.
        affected: while it runs; days on which somebody acted say much, so that the end of it forgets them.
        releases_deleted: ids.
        serving: release served at the end; None if none is.
        rewritten: by asset, at the end.
        format_version: of this record.
    """

    status: Literal["running", "done"] = "running"
    erased_before: int | None = None
    staged_rows: int = 0
    affected: tuple[Affected, ...] = ()
    releases_deleted: tuple[str, ...] = ()
    serving: str | None = None
    rewritten: tuple[Rewritten, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def roots(self) -> list[Part]:
        """The partitions that held the person's rows."""
        return [(part.asset, part.day) for part in self.affected if part.held]

    def finished(self, rows_after: dict[Part, int], erased: int, serving: str | None) -> Erasure:
        """The record at the end, without days; the one of an earlier end where nothing was found since."""
        if self.status == "done":
            return self
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for part in self.affected:
            figures = (1, part.rows, rows_after.get((part.asset, part.day), 0))
            sums[part.asset] = [a + b for a, b in zip(sums[part.asset], figures, strict=True)]
        rewritten = tuple(Rewritten(asset, *figures) for asset, figures in sorted(sums.items()))
        gone = erased - (self.erased_before or 0)
        return replace(self, status="done", affected=(), rewritten=rewritten, staged_rows=gone, serving=serving)


_RECORD = TypeAdapter(Erasure)


def read_erasure(store: ObjectStore, token: str) -> Erasure:
    """The record of a person; an empty one where nothing was done yet."""
    try:
        return _RECORD.validate_json(store.get(report_key(token)))
    except NotFound:
        return Erasure()


def write_erasure(store: ObjectStore, token: str, erasure: Erasure) -> None:
    """Store a record over the one before."""
    store.put(report_key(token), _RECORD.dump_json(erasure, indent=1))


def report_key(token: str) -> str:
    """Where the record of a person is."""
    return f"{ROOT}/{token}.json"
