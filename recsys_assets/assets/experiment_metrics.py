"""Group experiments: metrics of each model on the test window of a day, in the store and in MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.window import targets_after
from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.window import with_targets
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Staged
from recsys_assets.model_registry.experiment_models import ExperimentModel
from recsys_assets.model_registry.experiment_validation import VALIDATION, score_models, stored_rows
from recsys_assets.resources.tracking import OFF, Tracking
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore


@dataclass(frozen=True)
class EvaluationWindow:
    """What a day's experiments are tested on.

    Attributes:
        examples: RANKING_EXAMPLES of the day.
        activity: USER_ACTIVITY with ``dt``, which holds the targets.
        cut: the last day before the window.
    """

    examples: Frame
    activity: Frame
    cut: date

    def rows(self) -> pa.Table:
        """The examples with the number of targets of their users, sorted."""
        rows = with_targets(self.examples, targets_after(self.activity, self.cut))
        return rows.sort("user_id", "item_id").collect(backend="polars").to_arrow()


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
    context: dg.AssetExecutionContext,
    partitions: PartitionStore,
    models: Sequence[ExperimentModel],
    test: EvaluationWindow,
    window_hash: str,
    seed: int,
) -> Validation:
    """Score the models that were not yet scored on these very rows, and choose the best of all."""
    stored = stored_rows(partitions, context.partition_key, window_hash)
    table, faults = score_models(partitions, models, stored, test.rows, seed)
    context.log.info(f"{len(faults)} of {len(models)} experiments were not validated on this window yet")
    for name, fault in faults.items():
        if fault:
            context.log.warning(f"experiment {name}: {fault}")
    best = best_of(table.to_pylist(), {model.name: model.facts["target"] for model in models})
    return Validation(table, faults, len(models), next((model for model in models if model.name == best), None))


def validation_output(
    context: dg.AssetExecutionContext,
    frames: FrameWriter,
    validation: Validation,
    unrecorded: Sequence[str | None],
    window_hash: str,
    seed: int,
    inputs: Sequence[Input],
) -> dg.MaterializeResult[Staged]:
    """Stage the table of a day's validation."""
    faults = [f"{name}: {fault}" for name, fault in validation.faults.items() if fault]
    return frames.write(
        context,
        lambda _: validation.table,
        asset=VALIDATION,
        seed=seed,
        params={"window": window_hash},
        metadata={
            "best": validation.best.name if validation.best else "none",
            "experiments": validation.models,
            "scored_now": ", ".join(sorted(validation.faults)) or "none",
            "faults": "; ".join(faults) or "none",
            "users": max(validation.table["users"].to_pylist(), default=0),
            "mlflow": "; ".join(sorted({problem for problem in unrecorded if problem})) or "recorded",
        },
        inputs=inputs,
    )


def record(tracking: Tracking, model: ExperimentModel, table: pa.Table, day: str) -> str | None:
    """Log the metrics of a day's test window into the run of the model.

    The step of a metric is its day, so that MLflow shows the newest window, in whatever order days are validated. A tag
    holds a hash of the metrics logged for a day: equal metrics are not logged again, and missed ones are added later.

    Returns:
        Why they could not be logged; None where they were, or where MLflow is off.
    """
    step = date.fromisoformat(day).toordinal()
    rows = [row for row in table.to_pylist() if row["experiment"] == model.name and row["value"] is not None]
    rows.sort(key=lambda row: row["metric"])
    tag, logged = f"validated.{day}", sha256_bytes(repr(rows).encode())[:16]

    def write(client: Any, run_id: str) -> None:
        if client.get_run(run_id).data.tags.get(tag) == logged:
            return
        for row in rows:
            client.log_metric(run_id, f"{row['metric']}_test", row["value"], step=step)
            for bound in ("low", "high"):
                if row[bound] is not None:
                    client.log_metric(run_id, f"{row['metric']}_test_{bound}", row[bound], step=step)
        client.log_metric(run_id, "users_test", max((row["users"] for row in rows), default=0), step=step)
        client.set_tag(run_id, tag, logged)

    recorded = tracking.add(model.tags, write)
    if recorded.problem is None and recorded.run_id is None:
        return f"{model.name} has no run: materialize its experiment_model again"
    return recorded.problem if recorded.problem != OFF else None
