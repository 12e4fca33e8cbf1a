"""What experiments were found to be worth on the test window of a day, and which of them are still to be scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.contracts import EXPERIMENT_VALIDATION, IdTypes, arrow_schema
from recsys_assets.core.experiments.metrics import STANDARD, defined, figures
from recsys_assets.core.experiments.window import evaluated
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.io_managers.partitions import Partitions
from recsys_assets.model_registry.experiment_models import ExperimentModel, read_model_bytes
from recsys_assets.storage.lineage import DATA_FILE, Lineage, content_hash
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partitions import PartitionStore, partition_key

VALIDATION = "experiment_validation"
CODE_VERSION = "1"
Row = dict[str, Any]
StoredRows = Mapping[tuple[str, str], Sequence[Row]]
"""Rows of contract EXPERIMENT_VALIDATION by experiment and hash of its model's record."""


def window_sha256(partitions: PartitionStore, day: str, *read: Partitions) -> str:
    """Hash of all contents that say what happened in the window of a day: equal where the same was judged by."""
    found = {(one.asset, of): partitions.read_lineage(one.asset, of) for one in read for of in one.days}
    contents = [(*part, lineage.sha256 if lineage else "") for part, lineage in sorted(found.items())]
    return sha256_bytes(repr((day, contents)).encode())


def stored_rows(partitions: PartitionStore, day: str, window: str) -> StoredRows:
    """What was stored of a day for the very same window; nothing where anything has changed since."""
    stored = partitions.read_lineage(VALIDATION, day)
    if stored is None or stored.code_version != CODE_VERSION or stored.params.get("window") != window:
        return {}
    with partitions.store.open(partition_key(VALIDATION, day, DATA_FILE)) as stream:
        rows = pq.read_table(stream).to_pylist()
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["experiment"], row["model_record"]), []).append(row)
    return found


def unvalidated(partitions: PartitionStore, models: Sequence[ExperimentModel], day: str) -> list[str]:
    """The experiments whose model was not scored on the window of a day, as the lineage of the validation says."""
    stored: Lineage | None = partitions.read_lineage(VALIDATION, day)
    read = stored.inputs if stored else ()
    return [one.name for one in models if one.input not in read]


def score_models(
    partitions: PartitionStore,
    models: Sequence[ExperimentModel],
    stored: StoredRows,
    rows_to_evaluate: Callable[[], pa.Table],
    seed: int,
) -> tuple[pa.Table, dict[str, str]]:
    """The table of all models, and the names of those that had to be scored for it, with why one could not be.

    A model that cannot be used, such as one of a feature that candidates no longer have, stops no other.

    Args:
        partitions: where the models are.
        models: of the experiments.
        stored: rows that need not be made again.
        rows_to_evaluate: gives what :func:`.evaluated` takes; called at most once.
        seed: of the bootstrap.
    """
    found: list[Row] = []
    due: list[tuple[ExperimentModel, str, tuple[str, ...]]] = []
    for one in models:
        record, metrics = content_hash(one.lineage), tuple(dict.fromkeys([*one.facts["metrics"], *STANDARD]))
        if (one.name, record) in stored:
            found += stored[one.name, record]
        else:
            due.append((one, record, metrics))
    faults: dict[str, str] = {one.name: "" for one, _, _ in due}
    table = rows_to_evaluate() if due else None
    if table is not None and table.num_rows:
        lists = evaluated(table)
        for one, record, metrics in due:
            try:
                scores = Scorer(read_model_bytes(partitions, one), table.column_names).score(table)
            except ValueError as reason:
                faults[one.name] = str(reason)
                continue
            found += [
                {
                    "experiment": one.name,
                    "trained_as_of": one.lineage.day,
                    "model_record": record,
                    "metric": figure.metric,
                    "value": defined(figure.value),
                    "low": defined(figure.low),
                    "high": defined(figure.high),
                    "users": len(lists.targets),
                }
                for figure in figures(lists, scores, threshold_of(one), metrics, seed=seed)
            ]
    schema = arrow_schema(EXPERIMENT_VALIDATION, IdTypes())
    return pa.Table.from_pylist(found, schema=schema), faults


def threshold_of(one: ExperimentModel) -> float:
    """From which score on a row counts as predicted."""
    stated = one.facts["threshold"]
    return float("inf") if stated is None else float(stated)
