"""Group experiments: metrics of each model on the test window of a day, in the store and in MLflow."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Staged
from recsys_assets.model_registry.experiment_models import ExperimentModel
from recsys_assets.model_registry.experiment_validation import VALIDATION, Validation
from recsys_assets.resources.tracking import OFF, Tracking
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import sha256_bytes


def log_validation(context: dg.AssetExecutionContext, validation: Validation) -> None:
    """Log how many experiments were scored now, and which could not be."""
    faults = validation.faults
    context.log.info(f"{len(faults)} of {validation.models} experiments were not validated on this window yet")
    for name, fault in faults.items():
        if fault:
            context.log.warning(f"experiment {name}: {fault}")


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
