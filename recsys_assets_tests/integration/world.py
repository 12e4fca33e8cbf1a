"""A small world to run the whole graph in: a landing zone, a store, a Dagster instance, all in one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.dataset import Dataset
from recsys_assets.definitions import build_definitions, build_resources
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.lineage import Lineage

SMALL = {
    "generators": "all",
    "horizon_days": 5,
    "active_days": 14,
    "activity_days": 30,
    "popular_days": 10,
    "covisit_days": 30,
    "factors_days": 30,
    "factors": 16,
    "als_iterations": 5,
    "tuning_trials": 2,
    "tuning_fusion_trials": 12,
    "training_windows": 2,
    "min_evaluated_users": 5,
    "mlflow_tracking_uri": "off",
}
"""Settings that make the graph run in seconds on the small sample, with every generator there is."""


class Silent(Progress):
    def note(self, text: str) -> None:
        pass


@dataclass
class World:
    folder: Path
    settings: Settings
    dataset: Dataset
    instance: dg.DagsterInstance

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    @property
    def store(self) -> StoreResource:
        return build_resources(self.settings, self.dataset)["store"]

    def materializer(self) -> Materializer:
        return Materializer(self.settings, self.dataset, Silent(), self.instance)

    def definitions(self, **resources: Any) -> dg.Definitions:
        return build_definitions(self.settings, self.dataset, resources=resources)

    def run(self, job: str, day: str, **resources: Any) -> dg.ExecuteInProcessResult:
        return (
            self.definitions(**resources)
            .resolve_job_def(job)
            .execute_in_process(instance=self.instance, tags={"dagster/partition": day}, raise_on_error=False)
        )

    def lineage(self, asset: str, day: str) -> Lineage:
        """The record of a partition that exists."""
        record = self.store.partitions().read_lineage(asset, day)
        assert record is not None, f"{asset} of {day} was not written"
        return record

    def served_release(self) -> str:
        """The id of the release that the pointer names."""
        pointer = self.store.releases().current()
        assert pointer is not None, "nothing is served"
        return pointer.release_id

    def hashes(self, *prefixes: str) -> dict[str, str]:
        """SHA-256 of every stored file below the prefixes."""
        root = self.folder / "store"
        return {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for prefix in prefixes
            for path in sorted((root / prefix).rglob("*"))
            if path.is_file()
        }


def materialized(result: dg.ExecuteInProcessResult) -> dict[str, Mapping[str, dg.MetadataValue[Any]]]:
    """The metadata of each asset that a run made, in the order of the run."""
    events = [event.step_materialization_data for event in result.get_asset_materialization_events()]
    return {data.materialization.asset_key.to_user_string(): data.materialization.metadata for data in events}


def dagster_in(folder: Path, **overrides: Any) -> AbstractContextManager[dg.DagsterInstance]:
    """An instance that keeps everything in a folder, and its events as ``dagster.yaml`` of the project says."""
    folder.mkdir(exist_ok=True)
    events = {
        "module": "recsys_assets.automation.event_storage",
        "class": "KeptSqliteEventLogStorage",
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    # Nobody reads what steps print, and to capture it takes four processes for each run.
    logs = {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
    given = {"event_log_storage": events, "compute_logs": logs, **overrides}
    return dg.instance_for_test(temp_dir=str(folder), overrides=given)


def make_world(folder: Path, instance: dg.DagsterInstance, **settings: Any) -> World:
    (folder / "landing").mkdir(parents=True, exist_ok=True)
    stated = {"landing_uri": str(folder / "landing"), "storage_uri": str(folder / "store"), **SMALL, **settings}
    return World(folder, *load_settings(**stated), instance)
