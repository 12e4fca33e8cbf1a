"""A small shop in odd files: its rows in any format, and what staging made of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.dataset import Dataset
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import StagedFile, StagedKind, stage
from recsys_assets.storage.local import LocalStore

STATED: Mapping[str, Any] = {
    "name": "shop",
    "start_date": "2025-01-01",
    "ids": {"user": "string", "item": "int64"},
    "events": {
        "files": ["events*"],
        "time_unit": "iso",
        "columns": {"user_id": "user", "item_id": "item", "event_type": "action", "ts": "time"},
        "types": {"view": {"weight": 1}, "buy": {"weight": 10, "target": True}},
    },
    "properties": {
        "files": ["props*"],
        "time_unit": "iso",
        "columns": {"item_id": "item", "ts": "time", "property": "property", "value": "value"},
        "names": {"category": "category", "available": "stock", "price": "price", "title": "title"},
    },
}
HEADER = "user,item,action,time"
LINES = [f"u{n},{100 + n},view,2025-01-0{1 + n % 5}T10:00:0{n}Z" for n in range(10)]
TEXT = "\n".join([HEADER, *LINES]) + "\n"
"""Ten good rows of ten users."""


def shop(events: Mapping[str, Any] | None = None, properties: Mapping[str, Any] | None = None) -> Dataset:
    """The data set with some fields of its files stated otherwise; None takes a field away."""
    changed = {
        "events": {**STATED["events"], **(events or {})},
        "properties": {**STATED["properties"], **(properties or {})},
    }
    kept = {part: {key: value for key, value in spec.items() if value is not None} for part, spec in changed.items()}
    return Dataset.model_validate({**STATED, **kept})


def staged(
    store: LocalStore, name: str, data: bytes, dataset: Dataset | None = None, kind: StagedKind = "events"
) -> tuple[StagedFile, list[dict[str, Any]], list[dict[str, Any]]]:
    """What a file was staged as, its good rows and its rejected ones."""
    file = LandingFile(f"file:///{name}", name, len(data), str(hash(data)))
    done = stage(kind, file, lambda: io.BytesIO(data), dataset or shop(), store)
    good, bad = (
        [
            row
            for day in done.days
            if (key := of(day))
            for row in pq.read_table(pa.BufferReader(store.get(key))).to_pylist()
        ]
        for of in (done.rows_key, done.rejected_key)
    )
    return done, good, bad


def parquet(columns: Mapping[str, Any] | pa.Table, **options: Any) -> bytes:
    """A parquet file of columns."""
    sink = io.BytesIO()
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(dict(columns)), sink, **options)
    return sink.getvalue()
