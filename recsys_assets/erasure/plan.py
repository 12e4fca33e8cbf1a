"""Which partitions depend on which, as their lineage records say, and which of them are out of date."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor

from recsys_assets.storage.lineage import Lineage
from recsys_assets.storage.objects import sha256_object
from recsys_assets.storage.partition_store import LINEAGE_FILE, PartitionStore, partition_key

_READERS = 16

Part = tuple[str, str]
"""A partition: asset, day."""


class Stored:
    """The partitions of a store by their lineage records.

    Args:
        partitions: the store's.
    """

    def __init__(self, partitions: PartitionStore) -> None:
        self._partitions = partitions
        keys = [meta.key.split("/") for meta in partitions.store.list("assets")]
        parts = [(key[1], key[2].removeprefix("dt=")) for key in keys if len(key) == 4 and key[3] == LINEAGE_FILE]
        with ThreadPoolExecutor(_READERS) as pool:
            records = pool.map(lambda part: partitions.read_lineage(*part), parts)
            self.records: dict[Part, Lineage] = {p: r for p, r in zip(parts, records, strict=True) if r}

    def refresh(self, parts: Iterable[Part]) -> None:
        """Read records again that may have changed."""
        for part in parts:
            record = self._partitions.read_lineage(*part)
            if record:
                self.records[part] = record

    def sha256(self, part: Part) -> str | None:
        """Content of a partition; None if there is none."""
        record = self.records.get(part)
        return record.sha256 if record else None

    def is_whole(self, part: Part) -> bool:
        """Whether a partition's data are what its record says."""
        key = partition_key(*part, self.records[part].file)
        store = self._partitions.store
        return store.exists(key) and sha256_object(store, key) == self.records[part].sha256

    def dependents(self, roots: Collection[Part]) -> set[Part]:
        """The roots that exist, and every partition that was computed from one of them, directly or not."""
        readers: dict[Part, list[Part]] = defaultdict(list)
        for part, record in self.records.items():
            for source in record.inputs:
                readers[source.asset, source.day].append(part)
        dependent: set[Part] = set()
        waiting = [part for part in roots if part in self.records]
        while waiting:
            part = waiting.pop()
            if part not in dependent:
                dependent.add(part)
                waiting += readers[part]
        return dependent

    def outdated(self, parts: Collection[Part], invalid: Collection[Part]) -> set[Part]:
        """Those of some partitions of one day that have to be computed again.

        Args:
            parts: all of the same day.
            invalid: partitions that are out of date for a reason that lineage does not show.

        Returns:
            The invalid ones, those whose inputs have changed since, and those that read any of these.
        """
        outdated = {part for part in parts if part in invalid or self._has_moved(part)}
        size = -1
        while size != len(outdated):
            size = len(outdated)
            outdated |= {p for p in parts if any((i.asset, i.day) in outdated for i in self.records[p].inputs)}
        return outdated

    def _has_moved(self, part: Part) -> bool:
        return any(self.sha256((source.asset, source.day)) != source.sha256 for source in self.records[part].inputs)
