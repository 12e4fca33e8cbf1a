"""When parameters are searched, and how later days reuse the result.

A search takes time and its result changes little from day to day, so it serves ``RECSYS_TUNING_EVERY_DAYS`` days.
Periods are counted from the first day of the graph: the days that search follow from settings and stored partitions,
never from the clock, so a backfill searches on the same days. The first day of a period with enough examples searches,
and the later days reuse its result.

The earlier day is read from the store and recorded as an input. As a dependency in Dagster it would make each day wait
for the one before, which need not exist (see :mod:`recsys_assets.model_registry.state`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import TypeVar

from recsys_assets.core.contracts import Contract, arrow_schema
from recsys_assets.core.engine import Frame
from recsys_assets.core.tuning.study import Budget, Search
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.model_registry.state import stored_file
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.partition_store import PartitionStore

T = TypeVar("T")


def period_start(day: date, settings: Settings) -> date:
    """The first day of the period of a day; a day before the first of the graph is a period of its own."""
    passed = (day - settings.first_day).days
    return day - timedelta(days=passed % settings.tuning_every_days if passed > 0 else 0)


def reused_result(
    partitions: PartitionStore,
    asset: str,
    day: date,
    settings: Settings,
    read: Callable[[str], T],
    is_searched: Callable[[T], bool],
) -> tuple[T, Input] | None:
    """The search result of the latest earlier day of the same period.

    Args:
        partitions: those of the store, compared with what is stated now: a search with other settings is not reused.
        asset: that holds the parameters.
        day: that may reuse a result.
        settings: length and beginning of the periods.
        read: parses the text of a partition; ValueError where the text is of another version.
        is_searched: whether parameters come from a search; defaults are not reused.

    Returns:
        The parameters, and their partition as an input of a lineage record; None where the day has to search.
    """
    since, until = period_start(day, settings).isoformat(), day.isoformat()
    stored_days = partitions.days(asset)
    for earlier in reversed([stored for stored in stored_days if since <= stored < until]):
        record = partitions.read_lineage(asset, earlier)
        if record is None or partitions.changes(record):
            continue
        file = stored_file(partitions.store, asset, earlier)
        if file is None:
            continue
        data, partition = file
        try:
            params = read(data.decode())
        except ValueError:
            continue
        if is_searched(params):
            return params, partition
    return None


def stored_frame(store: StoreResource, frames: FrameWriter, contract: Contract, day: str) -> tuple[Frame, Input] | None:
    """A frame of a day that is read outside the asset graph, and its partition as an input of a lineage record.

    Args:
        store: where partitions are.
        frames: give the engine and the id types.
        contract: of the frame; its name is the asset's.
        day: of the partition.

    Returns:
        The frame, without ``dt``; None where the partition does not exist.

    Raises:
        OtherSettingsError: it was made with other settings.
    """
    partitions = store.partitions()
    record, uris = partitions.read_lineage(contract.name, day), partitions.uris(contract.name, [day])
    if record is None or not uris:
        return None
    partitions.refuse_other_settings([record])
    frame = frames.run.scan([uri for _, uri in uris], arrow_schema(contract, frames.ids)).drop("dt")
    return frame, Input(contract.name, day, record.sha256)


def search_of(settings: Settings, study: str, trials: int, on_trial: Callable[[str], None]) -> Search:
    """A search with the budget and the storage of the settings.

    Args:
        settings: of the process.
        study: its name.
        trials: maximum number of trials.
        on_trial: takes a line per trial.
    """
    return Search(
        study,
        Budget(trials, settings.tuning_seconds),
        settings.seed,
        settings.tuning_storage_uri.get_secret_value(),
        on_trial,
    )
