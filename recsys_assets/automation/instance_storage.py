"""Dagster's storages of runs and schedules on SQLite, which one process at a time sets up.

Dagster's own create the same tables twice where two first commands start at once, and one of them fails. The event log,
:mod:`recsys_assets.automation.event_storage`, has a lock of its own.
"""

from pathlib import Path
from typing import Any

from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage

from recsys_assets.automation.locks import alone


class AloneSqliteRunStorage(SqliteRunStorage):
    """For ``run_storage`` of a ``dagster.yaml``; takes the same configuration."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> SqliteRunStorage:
        """Create the storage from the configuration of an instance."""
        with alone(Path(config_value["base_dir"]).absolute()):
            return cls.from_local(inst_data=inst_data, **config_value)


class AloneSqliteScheduleStorage(SqliteScheduleStorage):
    """For ``schedule_storage`` of a ``dagster.yaml``; takes the same configuration."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> SqliteScheduleStorage:
        """Create the storage from the configuration of an instance."""
        with alone(Path(config_value["base_dir"]).absolute()):
            return cls.from_local(inst_data=inst_data, **config_value)
