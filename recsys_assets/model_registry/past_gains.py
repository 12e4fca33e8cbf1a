"""Gains of the rankers of earlier days on their windows, read from the stored evaluations.

Like the registry state (:mod:`~recsys_assets.model_registry.state`), this is a dependency that Dagster does not know.
"""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.contracts import RANKER_EVALUATION
from recsys_assets.core.evaluation.pooled_gain import Gain, gain_of
from recsys_assets.core.evaluation.window import disjoint_windows
from recsys_assets.model_registry.state import stored_file
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.partition_store import PartitionStore

_WINDOWS = 3
"""Earlier windows that are read. Those of a year ago are of other rankers and other data."""


def gains_before(store: ObjectStore, day: str, horizon: int) -> tuple[list[Gain], list[Input]]:
    """The gains on the newest windows that end before the window of a day begins.

    Args:
        store: holds the partitions.
        day: its window is (day - horizon, day].
        horizon: days.

    Returns:
        The gains of windows that share no day, and the partitions that were read.
    """
    newest = (date.fromisoformat(day) - timedelta(days=horizon)).isoformat()
    days = disjoint_windows(
        [earlier for earlier in PartitionStore(store).days(RANKER_EVALUATION.name) if earlier <= newest], horizon
    )
    files = [stored for each in days[-_WINDOWS:] if (stored := stored_file(store, RANKER_EVALUATION.name, each))]
    gains = [gain_of(pq.read_table(pa.BufferReader(data)), "ranker") for data, _ in files]
    return [gain for gain in gains if gain and gain.users], [read for _, read in files]
