"""Queries of Dagster's event log, restricted to the partitions of one store.

An instance may have been used with other stores before: a sample, another data set. Runs that automation and
``make run`` start carry the store as a tag. A run without the tag was started by hand and counts as one of this store.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import dagster as dg

_STORE = "recsys/store"


def store_tag(uri: str) -> dict[str, str]:
    """The tag by which a run names its store."""
    return {_STORE: uri}


def is_of_store(run: dg.DagsterRun, uri: str) -> bool:
    """Whether a run wrote to a store; true for a run that names none."""
    return run.tags.get(_STORE, uri) == uri


@dataclass(frozen=True)
class Attempt:
    """The last attempt to write a partition. Dagster logs it as planned when a run is created.

    Attributes:
        storage_id: of the event.
        run_id: of the run.
    """

    storage_id: int
    run_id: str


@dataclass
class EventLog:
    """Answers about one store.

    Attributes:
        instance: whose log.
        store: address of the store.
    """

    instance: dg.DagsterInstance
    store: str
    _ours: dict[str, bool] = field(default_factory=dict[str, bool])

    def is_ours(self, run_id: str) -> bool:
        """Whether a run wrote to this store; true for a run that names no store."""
        if run_id not in self._ours:
            run = self.instance.get_run_by_id(run_id)
            self._ours[run_id] = run is None or is_of_store(run, self.store)
        return self._ours[run_id]

    def last_attempt(self, key: dg.AssetKey, day: str) -> Attempt | None:
        """The last attempt at a partition; None if there was none, or if the last one was for another store."""
        planned = self.instance.event_log_storage.get_latest_planned_materialization_info(key, day)
        return Attempt(planned.storage_id, planned.run_id) if planned and self.is_ours(planned.run_id) else None

    def changed_since(self, attempt: Attempt, key: dg.AssetKey, days: Sequence[str]) -> bool:
        """Whether some partition of an asset has another content than it had at another asset's last attempt.

        Args:
            attempt: that attempt.
            key: the asset that was read.
            days: its partitions that were read.
        """
        if not days:
            return False
        newer = dg.AssetRecordsFilter(asset_key=key, asset_partitions=days, after_storage_id=attempt.storage_id)
        materializations = self.instance.fetch_materializations(newer, limit=1000).records
        contents = {
            record.partition_key or "": _content(record)
            for record in reversed(materializations)
            # The attempt read what an earlier step of its own run wrote.
            if record.run_id != attempt.run_id and self.is_ours(record.run_id)
        }
        return any(self._content_before(attempt, key, day) != content for day, content in contents.items())

    def failed_days(self, checks: Sequence[dg.AssetCheckKey]) -> set[str]:
        """Days whose latest result of one of the checks is a failure.

        Dagster's own "check failed" does not do: it asks for the materialization that a check belongs to, and a run
        over a range of days logs the results of its days before it materializes them.
        """
        infos = self.instance.event_log_storage.get_asset_check_partition_info(list(checks)) if checks else []
        failed = [info for info in infos if info.latest_execution_status.value == "FAILED"]
        return {
            info.partition_key for info in failed if info.partition_key and self.is_ours(info.latest_planned_run_id)
        }

    def attempted(self, key: dg.AssetKey, days: Collection[str]) -> list[str]:
        """The days whose last attempt was for this store, ascending."""
        return [day for day in sorted(days) if self.last_attempt(key, day) is not None]

    def _content_before(self, attempt: Attempt, key: dg.AssetKey, day: str) -> object:
        older = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day], before_storage_id=attempt.storage_id + 1)
        records = self.instance.fetch_materializations(older, limit=20).records
        return next((_content(record) for record in records if self.is_ours(record.run_id)), None)


def _content(record: dg.EventLogRecord) -> object:
    """Hash of what was written; without one the event's own id, which equals no other."""
    written = record.asset_materialization
    sha256 = written.metadata.get("sha256") if written else None
    return sha256.value if sha256 is not None else record.storage_id
