"""When parameters are searched, and where they are kept in between.

Searches take time and change little from day to day, so one serves ``RECSYS_TUNING_EVERY_DAYS`` days. Periods are
counted from the first day of the graph: which days search follows from settings and stored partitions, never from the
clock, and a backfill searches on the same days. The first day of a period that has enough to search on does it, and
the later ones carry forward what it found.

The earlier day is read from the store and recorded as an input. A dependency that Dagster knew would make each day wait
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
from recsys_assets.io_managers.partitions import FILE_NAMES
from recsys_assets.model_registry.state import stored_file
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partitions import PartitionStore

T = TypeVar("T")


def period_start(day: date, settings: Settings) -> date:
    """The first day of the period that a day lies in; a day before the first of the graph is a period of its own."""
    passed = (day - settings.first_day).days
    return day - timedelta(days=passed % settings.tuning_every_days if passed > 0 else 0)


def reused_result(
    store: ObjectStore,
    asset: str,
    day: date,
    settings: Settings,
    read: Callable[[str], T],
    is_searched: Callable[[T], bool],
) -> tuple[T, Input] | None:
    """What the latest earlier day of the same period holds, if it was searched.

    Args:
        store: where partitions are.
        asset: whose parameters.
        day: the day that asks.
        settings: length and beginning of the periods.
        read: makes parameters of the text of a partition; ValueError where the text is of another version.
        is_searched: whether parameters come from a search; defaults are not carried forward.

    Returns:
        The parameters, and the partition as the lineage names it; None where the day is to search itself.
    """
    since, until = period_start(day, settings).isoformat(), day.isoformat()
    for earlier in reversed(
        [one for one in PartitionStore(store).days(asset, FILE_NAMES[asset]) if since <= one < until]
    ):
        found = stored_file(store, asset, earlier)
        try:
            params = read(found[0].decode()) if found else None
        except ValueError:
            continue
        if found and params is not None and is_searched(params):
            return params, found[1]
    return None


def stored_frame(store: StoreResource, frames: FrameWriter, contract: Contract, day: str) -> tuple[Frame, Input] | None:
    """A frame of a day that the graph of assets cannot show as read, and how lineage names it.

    Args:
        store: where partitions are.
        frames: gives the engine and the id types.
        contract: of the frame, which is also the asset's name.
        day: of the partition.

    Returns:
        The frame, without ``dt``; None where that day is not there.
    """
    partitions = store.partitions()
    record, uris = partitions.read_lineage(contract.name, day), partitions.uris(contract.name, [day])
    if record is None or not uris:
        return None
    frame = frames.run.scan([uri for _, uri in uris], arrow_schema(contract, frames.ids)).drop("dt")
    return frame, Input(contract.name, day, record.sha256)


def search_of(settings: Settings, study: str, trials: int, on_trial: Callable[[str], None]) -> Search:
    """A search with the budget and the storage of the settings.

    Args:
        settings: of the process.
        study: its name.
        trials: most parameter sets.
        on_trial: takes a line per trial.
    """
    return Search(
        study,
        Budget(trials, settings.tuning_seconds),
        settings.seed,
        settings.tuning_storage_uri.get_secret_value(),
        on_trial,
    )
