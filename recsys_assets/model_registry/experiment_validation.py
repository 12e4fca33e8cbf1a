"""Metrics of experiments on the test window of a day: those stored, and those still to be computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys_assets.core.contracts import EXPERIMENT_VALIDATION, IdTypes, arrow_schema
from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.metrics import STANDARD, EvaluatedLists, defined, figures
from recsys_assets.core.experiments.window import lists_to_evaluate
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.io_managers.handles import Partitions
from recsys_assets.model_registry.experiment_models import ExperimentModel, read_model_bytes
from recsys_assets.storage.lineage import DATA_FILE, Lineage, content_hash
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, partition_key

VALIDATION = "experiment_validation"
CODE_VERSION = "2"
Row = dict[str, Any]
StoredRows = Mapping[tuple[str, str], Sequence[Row]]
"""Rows of contract EXPERIMENT_VALIDATION by experiment and hash of its model's record."""


@dataclass(frozen=True)
class Validation:
    """The validation of a day's experiments.

    Attributes:
        table: of contract EXPERIMENT_VALIDATION, all models.
        faults: the models that were scored now, each with the reason why it could not be, or ''.
        models: number of experiments.
        best: the best of them; None where nothing was measured.
    """

    table: pa.Table
    faults: Mapping[str, str]
    models: int
    best: ExperimentModel | None


def validate(
    partitions: PartitionStore,
    models: Sequence[ExperimentModel],
    day: str,
    window: str,
    rows_to_evaluate: Callable[[], pa.Table],
    seed: int,
) -> Validation:
    """Score the models that were not yet scored on these very rows, and choose the best of all.

    Args:
        partitions: where the models and the rows of the last validation of the day are.
        models: of the experiments.
        day: of the test window.
        window: hash of the test window; see :func:`window_sha256`.
        rows_to_evaluate: gives the rows of the test window; called at most once, and only where a model is due.
        seed: of the bootstrap.
    """
    table, faults = score_models(partitions, models, stored_rows(partitions, day, window), rows_to_evaluate, seed)
    best = best_of(table.to_pylist(), {model.name: model.facts["target"] for model in models})
    return Validation(table, faults, len(models), next((model for model in models if model.name == best), None))


def window_sha256(partitions: PartitionStore, day: str, *read: Partitions) -> str:
    """Hash of all contents that describe the test window of a day; equal hashes mean equal rows."""
    lineages = {
        (asset.asset, stored): partitions.read_lineage(asset.asset, stored) for asset in read for stored in asset.days
    }
    contents = [(*partition, lineage.sha256 if lineage else "") for partition, lineage in sorted(lineages.items())]
    return sha256_bytes(repr((day, contents)).encode())


def stored_rows(partitions: PartitionStore, day: str, window: str) -> StoredRows:
    """The stored rows of a day that were computed on this very window; none where anything has changed since."""
    stored = partitions.read_lineage(VALIDATION, day)
    if stored is None or stored.code_version != CODE_VERSION or stored.params.get("window") != window:
        return {}
    with partitions.store.open(partition_key(VALIDATION, day, DATA_FILE)) as stream:
        rows = pq.read_table(stream).to_pylist()
    by_model: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_model.setdefault((row["experiment"], row["model_record"]), []).append(row)
    return by_model


def unvalidated(partitions: PartitionStore, models: Sequence[ExperimentModel], day: str) -> list[str]:
    """The experiments whose model is not among the inputs of the validation of a day."""
    stored: Lineage | None = partitions.read_lineage(VALIDATION, day)
    read = stored.inputs if stored else ()
    return [model.name for model in models if model.input not in read]


def score_models(
    partitions: PartitionStore,
    models: Sequence[ExperimentModel],
    stored: StoredRows,
    rows_to_evaluate: Callable[[], pa.Table],
    seed: int,
) -> tuple[pa.Table, dict[str, str]]:
    """Validate models, reusing stored rows.

    A model that cannot be used, such as one trained on a feature that candidates no longer have, stops no other.

    Args:
        partitions: where the models are.
        models: of the experiments.
        stored: rows that need not be computed again.
        rows_to_evaluate: gives the rows for :func:`.lists_to_evaluate`; called at most once.
        seed: of the bootstrap.

    Returns:
        The table of all models, and the names of those that were not among the stored rows, each with the reason why it
        could not be scored, or ''.
    """
    rows: list[Row] = []
    due: list[ExperimentModel] = []
    for model in models:
        reused = stored.get((model.name, content_hash(model.lineage)))
        if reused is None:
            due.append(model)
        else:
            rows += reused
    faults: dict[str, str] = {model.name: "" for model in due}
    table = rows_to_evaluate() if due else None
    if table is not None and table.num_rows:
        lists = lists_to_evaluate(table)
        for model in due:
            try:
                rows += _rows_of(model, read_model_bytes(partitions, model), table, lists, seed)
            except ValueError as reason:
                faults[model.name] = str(reason)
    schema = arrow_schema(EXPERIMENT_VALIDATION, IdTypes())
    return pa.Table.from_pylist(rows, schema=schema), faults


def _rows_of(model: ExperimentModel, data: bytes, table: pa.Table, lists: EvaluatedLists, seed: int) -> list[Row]:
    """The rows of one model: its own metrics and the standard ones.

    Raises:
        ValueError: it cannot score the table.
    """
    scores = Scorer(data, table.column_names).score(table)
    metrics = tuple(dict.fromkeys([*model.facts["metrics"], *STANDARD]))
    return [
        {
            "experiment": model.name,
            "trained_as_of": model.lineage.day,
            "model_record": content_hash(model.lineage),
            "metric": figure.metric,
            "value": defined(figure.value),
            "low": defined(figure.low),
            "high": defined(figure.high),
            "users": len(lists.targets),
        }
        for figure in figures(lists, scores, threshold_of(model), metrics, seed=seed)
    ]


def threshold_of(model: ExperimentModel) -> float:
    """From which score on a row counts as predicted."""
    threshold = model.facts["threshold"]
    return float("inf") if threshold is None else float(threshold)
