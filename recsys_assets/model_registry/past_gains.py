"""What the rankers of earlier days gained on their windows, read from the evaluations that their gates left.

Like the registry state (:mod:`~recsys_assets.model_registry.state`), that is no dependency that Dagster knows.
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
"""Earlier windows that are read. A year ago other rankers were judged, of other data."""


def gains_before(store: ObjectStore, day: str, horizon: int) -> tuple[list[Gain], list[Input]]:
    """What rankers gained on the newest windows that end before the window of a day begins.

    Args:
        store: where partitions are.
        day: whose window is (day - horizon, day].
        horizon: days.

    Returns:
        The gains of windows that share no day, and the partitions that were read.
    """
    newest = (date.fromisoformat(day) - timedelta(days=horizon)).isoformat()
    days = disjoint_windows(
        [one for one in PartitionStore(store).days(RANKER_EVALUATION.name) if one <= newest], horizon
    )
    found = [stored for one in days[-_WINDOWS:] if (stored := stored_file(store, RANKER_EVALUATION.name, one))]
    gains = [gain_of(pq.read_table(pa.BufferReader(data)), "ranker") for data, _ in found]
    return [gain for gain in gains if gain and gain.users], [name for _, name in found]
