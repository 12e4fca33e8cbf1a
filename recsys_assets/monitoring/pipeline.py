"""All figures of one deployment: its instance, its store, its graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from recsys_assets.automation.event_log import EventLog
from recsys_assets.core.dataset import Dataset
from recsys_assets.monitoring.assets import asset_figures, check_figures, event_figures
from recsys_assets.monitoring.collector import Part, PipelineCollector
from recsys_assets.monitoring.runs import backfill_figures, daemon_figures, run_figures
from recsys_assets.monitoring.stored import (
    freshness_figures,
    gate_figures,
    landing_figures,
    newest_days,
    quality_figures,
    size_figures,
)
from recsys_assets.settings import Settings
from recsys_assets.storage.partition_store import PartitionStore


@dataclass(frozen=True)
class Watched:
    """What is watched.

    Attributes:
        instance: Dagster's.
        partitions: of the store.
        settings: of the deployment.
        dataset: that the settings name.
        assets: keys of the graph.
        checks: keys of the graph's checks.
    """

    instance: dg.DagsterInstance
    partitions: PartitionStore
    settings: Settings
    dataset: Dataset
    assets: Collection[dg.AssetKey]
    checks: Sequence[dg.AssetCheckKey]

    @staticmethod
    def of(
        definitions: dg.Definitions,
        instance: dg.DagsterInstance,
        partitions: PartitionStore,
        settings: Settings,
        dataset: Dataset,
    ) -> Watched:
        """The graph of some definitions on an instance and a store."""
        graph = definitions.resolve_asset_graph()
        return Watched(
            instance, partitions, settings, dataset, graph.get_all_asset_keys(), sorted(graph.asset_check_keys)
        )

    def end_of(self, day: str) -> datetime:
        """The instant at which a day ends."""
        midnight = datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), tzinfo=UTC)
        return midnight + timedelta(hours=self.dataset.boundary_hours)


def pipeline_collector(
    watched: Watched, seconds: float = 15, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> PipelineCollector:
    """The collector of a deployment.

    Args:
        watched: the deployment.
        seconds: between two looks at the runs. What changes with runs is read every four times, the whole store is
            listed every forty times.
        now: the time.
    """
    instance, partitions, store = watched.instance, watched.partitions, watched.partitions.store
    uri = watched.settings.storage_uri
    (clean_events,) = (key for key in watched.assets if key.path[-1] == "clean_events")

    # An event log remembers whose runs are whose, so each read begins with a new one.
    def log() -> EventLog:
        return EventLog(instance, uri)

    return PipelineCollector(
        [
            Part("runs", seconds, lambda: run_figures(instance, uri, now())),
            Part("daemons", seconds, lambda: daemon_figures(instance)),
            Part("backfills", seconds, lambda: backfill_figures(instance, now())),
            Part("landing", seconds, lambda: landing_figures(store)),
            Part("assets", 4 * seconds, lambda: asset_figures(log(), watched.assets)),
            Part("checks", 4 * seconds, lambda: check_figures(log(), watched.checks)),
            Part(
                "events",
                4 * seconds,
                lambda: event_figures(log(), clean_events, newest_days(partitions, "clean_events")),
            ),
            Part(
                "freshness",
                4 * seconds,
                lambda: freshness_figures(partitions, watched.end_of, watched.settings.fresh_hours),
            ),
            Part("gate", 4 * seconds, lambda: gate_figures(partitions)),
            Part("quality", 4 * seconds, lambda: quality_figures(partitions)),
            Part("size", 40 * seconds, lambda: size_figures(store)),
        ]
    )
