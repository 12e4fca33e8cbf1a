"""A graph of a few assets in plain Python, to erase persons from in milliseconds.

``clean_events`` come from staged files; ``visits`` and ``totals`` count them by user and by item; ``trend`` adds up two
days of totals; ``recommendations`` give every visitor the items of the trend; releases hold recommendations.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.dataset import Dataset
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import stage
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.lists import write_lists
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import AlreadyExists, Conflict, NotFound, ObjectMeta, ObjectStore, sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, partition_key
from recsys_assets.storage.releases import Releases


class MemoryStore(LocalStore):
    """Objects in a dictionary: what is tried hundreds of times need not reach a disk."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        super().__init__(Path("/nowhere"))
        self.objects = dict(objects or {})

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        if key not in self.objects:
            raise NotFound(f"{key} does not exist")
        return self.objects[key], sha256_bytes(self.objects[key])

    def put(self, key: str, data: bytes | Path) -> None:
        self.objects[key] = data if isinstance(data, bytes) else data.read_bytes()

    def create(self, key: str, data: bytes | Path) -> None:
        if key in self.objects:
            raise AlreadyExists(key)
        self.put(key, data)

    def replace(self, key: str, data: bytes, etag: str | None) -> None:
        found = self.get_with_etag(key)[1] if key in self.objects else None
        if found != etag:
            raise Conflict(key)
        self.put(key, data)

    def exists(self, key: str) -> bool:
        return key in self.objects

    def head(self, key: str) -> ObjectMeta:
        data, etag = self.get_with_etag(key)
        return ObjectMeta(key, len(data), etag, datetime(2015, 5, 3, tzinfo=UTC))

    def list(self, prefix: str = "") -> list[ObjectMeta]:
        return [self.head(key) for key in sorted(self.objects) if not prefix or key.startswith(f"{prefix}/")]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def local_path(self, key: str) -> Path | None:
        return None

    def sweep(self, prefix: str = "", hours: float = 0, *, history: bool = False) -> list[str]:
        return []

    def unlisted(self, prefix: str = "") -> list[str]:
        return []


DAYS = ("2015-05-04", "2015-05-05", "2015-05-06", "2015-05-07")
ASSETS = ("clean_events", "visits", "totals", "trend", "recommendations", "release")


class Toy:
    def __init__(self, store: ObjectStore, dataset: Dataset, data: bytes, *, serve: bool = True):
        self.store, self.dataset, self.data, self.serve = store, dataset, data, serve
        self.ran: list[tuple[str, tuple[str, ...]]] = []

    def build(self) -> None:
        for day in DAYS:
            self.rebuild(day, list(ASSETS))
        self.ran.clear()

    def rebuild(self, day: str, assets: list[str]) -> None:
        self.ran.append((day, tuple(assets)))
        for asset in ASSETS:
            if asset in assets:
                self._release(day) if asset == "release" else self._write(asset, day)

    def _write(self, asset: str, day: str) -> None:
        table, reads = getattr(self, f"_{asset}")(day)
        partitions = PartitionStore(self.store)
        records = [(one, of_day, partitions.read_lineage(one, of_day)) for one, of_day in reads]
        inputs = tuple(Input(one, of_day, record.sha256) for one, of_day, record in records if record)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.parquet"
            pq.write_table(table, path)
            partitions.write(asset, day, path, Lineage(asset, day, table.num_rows, "1", inputs=inputs))

    def _read(self, asset: str, day: str) -> list[dict[str, Any]]:
        key = partition_key(asset, day, "data.parquet")
        return pq.read_table(io.BytesIO(self.store.get(key))).to_pylist() if self.store.exists(key) else []

    def _clean_events(self, day: str) -> tuple[pa.Table, list[tuple[str, str]]]:
        file = LandingFile("events.csv", "events.csv", len(self.data), str(hash(self.data)))
        staged = stage("events", file, lambda: io.BytesIO(self.data), self.dataset, self.store)
        key = staged.rows_key(day)
        ids = pa.int64() if self.dataset.ids.user == "int64" else pa.string()
        empty = pa.schema([("user_id", ids), ("item_id", pa.int64())]).empty_table()
        table = pq.read_table(io.BytesIO(self.store.get(key)), columns=["user_id", "item_id"]) if key else empty
        return table, []

    def _visits(self, day: str) -> tuple[pa.Table, list[tuple[str, str]]]:
        return self._counts("user_id", [("clean_events", day)])

    def _totals(self, day: str) -> tuple[pa.Table, list[tuple[str, str]]]:
        return self._counts("item_id", [("clean_events", day)])

    def _trend(self, day: str) -> tuple[pa.Table, list[tuple[str, str]]]:
        before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
        return self._counts("item_id", [("totals", before), ("totals", day)])

    def _counts(self, column: str, reads: list[tuple[str, str]]) -> tuple[pa.Table, list[tuple[str, str]]]:
        counts: Counter[Any] = Counter()
        for part in reads:
            for row in self._read(*part):
                counts[row[column]] += row.get("events", 1)
        kind = pa.string() if any(isinstance(key, str) for key in counts) else pa.int64()
        keys = pa.array(sorted(counts), kind)
        return pa.table({column: keys, "events": [counts[key] for key in sorted(counts)]}), reads

    def _recommendations(self, day: str) -> tuple[pa.Table, list[tuple[str, str]]]:
        reads = [("visits", day), ("trend", day)]
        users = [row["user_id"] for row in self._read("visits", day)]
        items = [row["item_id"] for row in self._read("trend", day)]
        rows = [(user, item, n + 1, 1.0) for user in users for n, item in enumerate(items)]
        columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
        types = [pa.string() if self.dataset.ids.user == "string" else pa.int64(), pa.int64(), pa.int64(), pa.float64()]
        names = ("user_id", "item_id", "rank", "score")
        return pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)}), reads

    def _release(self, day: str) -> None:
        table = pq.read_table(io.BytesIO(self.store.get(partition_key("recommendations", day, "data.parquet"))))
        record = PartitionStore(self.store).read_lineage("recommendations", day)
        with tempfile.TemporaryDirectory() as folder:
            paths = write_lists(table, "user_id", "recommendations", Path(folder))
            Releases(self.store).publish(
                day,
                {path.name: path for path in paths},
                {"inputs": {"recommendations": record.sha256 if record else ""}},
                serve=self.serve or Releases(self.store).current() is None,
            )
