"""A person to erase, and how the person's rows are taken out of staged files.

Partitions of assets are not rewritten here but materialized again: what was counted or learned from the person's rows
cannot be found by an id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets.core.dataset import Dataset
from recsys_assets.ingest.staging import StagedDay, StagedFile, StagedKind, read_staged, write_index
from recsys_assets.ingest.suppression import UserId, ids_in_raw, matching
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.scratch import TemporaryFolder

_STAGED: tuple[StagedKind, ...] = ("events", "impressions")
"""Kinds of staged files with rows of persons."""


@dataclass(frozen=True)
class Person:
    """Whom to look for.

    Attributes:
        id: as the data set types it.
        dataset: says where ids stand in rejected rows.
    """

    id: UserId
    dataset: Dataset

    @property
    def columns(self) -> set[str]:
        """Names of the columns of users in landing files."""
        return {files.events.columns.user_id for files in (self.dataset, self.dataset.served)}

    def rows(self, table: pa.Table) -> pa.Array | pa.ChunkedArray:
        """Which rows of a table are the person's, by ``user_id`` or, in rejected rows, ``raw``."""
        if "user_id" in table.column_names:
            return matching(table["user_id"], [self.id])
        kind, columns = self.dataset.ids.user, self.columns
        raw = table["raw"].to_pylist()
        return pa.array([any(self.id in ids_in_raw(text, name, kind) for name in columns) for text in raw], pa.bool_())


def erased_rows(store: ObjectStore) -> int:
    """Rows that were left out of staged files, of all persons."""
    staged = (read_staged(kind, digest, store) for kind in _STAGED for digest in _staged_keys(store, kind))
    return sum(file.erased for file in staged if file)


def forget_staged(store: ObjectStore, person: Person) -> Iterator[tuple[StagedFile, StagedFile]]:
    """Take a person out of every staged file; yields each file that lost rows, before and after.

    Counts come from the files that are there, so that it may be cut off anywhere and be called again. What a staging
    that was cut off has left behind is deleted.
    """
    for kind in _STAGED:
        for digest, keys in _staged_keys(store, kind).items():
            before = read_staged(kind, digest, store)
            if before is None:
                for key in keys:
                    store.delete(key)
            else:
                after = _forget(store, before, person)
                if after != before:
                    yield before, after


def _staged_keys(store: ObjectStore, kind: StagedKind) -> dict[str, list[str]]:
    """The keys of the staged files of a kind, by digest."""
    by_digest: dict[str, list[str]] = {}
    for meta in store.list(f"staging/{kind}"):
        by_digest.setdefault(meta.key.split("/")[2], []).append(meta.key)
    return by_digest


def _forget(store: ObjectStore, before: StagedFile, person: Person) -> StagedFile:
    days: dict[str, StagedDay] = {}
    for day, counts in before.days.items():
        rows = _without(store, before.rows_key(day), person.rows)
        rejected = _without(store, before.rejected_key(day), person.rows)
        gone = counts.rows + counts.rejected - rows - rejected
        days[day] = StagedDay(rows, rejected, counts.erased + gone)
    if days == before.days:
        return before
    after = replace(
        before,
        days=days,
        rows=sum(day.rows for day in days.values()),
        rejected=sum(day.rejected for day in days.values()),
        erased=sum(day.erased for day in days.values()),
    )
    reasons: Counter[str] = Counter()
    for key in filter(None, map(after.rejected_key, days)):
        reasons.update(_read(store, key, "reason").to_pylist())
    filled = [key for key in map(after.rows_key, sorted(days)) if key]
    after = replace(
        after,
        reasons=dict(sorted(reasons.items())),
        first_ts=_extreme(store, filled[0], "min") if filled else None,
        last_ts=_extreme(store, filled[-1], "max") if filled else None,
    )
    write_index(after, store)
    return after


def _without(store: ObjectStore, key: str | None, rows: Callable[[pa.Table], pa.Array | pa.ChunkedArray]) -> int:
    """Rewrite a file without some rows, if it has any such; returns how many it keeps. An empty file stays a file."""
    if key is None:
        return 0
    with TemporaryFolder("erasing-") as scratch, store.open(key) as stream:
        file = pq.ParquetFile(stream)
        path, rows_kept = Path(scratch) / "day.parquet", 0
        with pq.ParquetWriter(path, file.schema_arrow, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                table = table.filter(pc.call_function("invert", [rows(table)]))
                rows_kept += table.num_rows
                writer.write_table(table)
        if rows_kept != file.metadata.num_rows:
            store.put(key, path)
    return rows_kept


def _read(store: ObjectStore, key: str, column: str) -> pa.ChunkedArray:
    with store.open(key) as stream:
        return pq.read_table(stream, columns=[column])[column]


def _extreme(store: ObjectStore, key: str, which: str) -> str:
    return cast(datetime, pc.call_function(which, [_read(store, key, "ts")]).as_py()).isoformat()
