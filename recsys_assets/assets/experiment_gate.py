"""Group experiments, their end: what each model is worth on the test window of a day, and the best before the gate."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder, Output
from recsys_assets.assets.promotion import described, stored_promotion
from recsys_assets.assets.tracking import register_model
from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.evaluation.window import collect_window, evaluate_window, targets_after
from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.window import with_targets
from recsys_assets.core.gate.promotion import ModelRef, Promotion, promote
from recsys_assets.core.gate.rule import confidence_of_best_of, decide, pick_baseline
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.experiment_models import ASSET, EXPERIMENTS, TrainedExperiment, model_of, trained_by
from recsys_assets.model_registry.experiment_validation import (
    CODE_VERSION,
    VALIDATION,
    known_rows,
    scored,
    window_sha256,
)
from recsys_assets.model_registry.state import (
    EXPERIMENT_CHALLENGER,
    EXPERIMENT_PROMOTION,
    StoredState,
    approval,
    rejected_before,
)
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import OFF, Tracking
from recsys_assets.storage.objects import sha256_bytes

Result = dg.MaterializeResult[Staged]

STEP = "experiment_gate"

_OUTPUTS = {
    VALIDATION: Output(
        "Every experiment on the targets of the last horizon, which none of them was built on: metrics with intervals, "
        "on the same users. A model that was scored on these very rows before is not scored again.",
        code_version=CODE_VERSION,
        checks=("contract",),
    ),
    EXPERIMENT_CHALLENGER: Output(
        "The model of the best experiment if it passed the gate; else an empty file.",
        kinds=("catboost", "scikitlearn"),
        code_version=CODE_VERSION,
        file="model.bin",
    ),
    EXPERIMENT_PROMOTION: Output(
        "What the gate decided about the best experiment, once the day had its champion. It counts from the gate of "
        "the next day on.",
        kinds=("json",),
        code_version=CODE_VERSION,
        file="promotion.json",
    ),
}


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Validation and gate of experiments: one step, since both speak of the same rows."""
    settings = graph.settings
    horizon = settings.horizon_days

    def validated_and_evaluated(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        user_activity: Partitions,
        champion: Partitions,
        promotion: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> tuple[Result, Result, Result]:
        day = context.partition_key
        opened, partitions = store.open(), store.partitions()
        registry_state = stored_promotion(promotion, day)
        models = trained_by(partitions, context.instance.get_dynamic_partitions(str(EXPERIMENTS.name)), day, horizon)
        pool, activity = ranking_examples.frame().drop("dt"), user_activity.frame()
        cut = graph.day(day) - timedelta(days=horizon)

        def rows_to_evaluate() -> pa.Table:
            rows = with_targets(pool, targets_after(activity, cut))
            return rows.sort("user_id", "item_id").collect(backend="polars").to_arrow()

        evaluated_by = window_sha256(partitions, day, ranking_examples, user_activity)
        table, fresh = scored(
            partitions, models, known_rows(partitions, day, evaluated_by), rows_to_evaluate, settings.seed
        )
        rows = table.to_pylist()
        context.log.info(f"{len(fresh)} of {len(models)} experiments were not validated on this window yet")
        faults = [f"{name}: {fault}" for name, fault in fresh.items() if fault]
        for fault in faults:
            context.log.warning(f"experiment {fault}")
        problems = [record(tracking, one, table, day) for one in models if not fresh.get(one.name)]

        best = best_of(rows, {one.name: one.facts["target"] for one in models})
        chosen = next((one for one in models if one.name == best), None)
        path = champion.file(day)
        stood = StoredState(registry_state.after, path.read_bytes() if path else b"", day, ())
        before = without_unusable_champion(stood, graph.contracts["candidates"], context.log.warning)
        data = model_of(partitions, chosen) if chosen else b""
        mine = challenger(chosen, before, day)
        scores = {
            name: score_candidates(frames.run, pool, one, graph.ids)
            for name, one in {"ranker": data if mine else b"", "champion": before.champion}.items()
            if one
        }
        level = confidence_of_best_of(len(models))
        evaluation = (
            evaluate_window(
                collect_window(pool, activity, cut),
                pool,
                scores,
                settings.seed,
                level=level,
                pick_baseline=pick_baseline,
            )
            if mine
            else arrow_schema(RANKER_EVALUATION, IdTypes()).empty_table()
        )
        said = approval(opened, mine, day) if mine else None
        if mine and rejected_before(opened, mine.sha256, day):
            said = "rejected"
        decision = decide(evaluation, settings.min_evaluated_users)
        decided = promote(day, settings.mode, registry_state.after, mine, said, decision)
        context.log.info(f"best: {best or 'none'}; {decided.verdict}; {decided.gate.why}")
        passed = decided.verdict in ("promoted", "waiting")
        inputs = [one.input for one in models]
        params = {"mode": settings.mode, "best": best or "", "level": level}
        shown = {"best": best or "none", **described(decided, before)}
        results = (
            frames.write(
                context,
                lambda _: table,
                asset=VALIDATION,
                seed=settings.seed,
                params={"window": evaluated_by},
                metadata={
                    "best": best or "none",
                    "experiments": len(models),
                    "scored_now": ", ".join(sorted(fresh)) or "none",
                    "faults": "; ".join(faults) or "none",
                    "users": max((row["users"] for row in rows), default=0),
                    "mlflow": "; ".join(sorted({problem for problem in problems if problem})) or "recorded",
                },
                inputs=inputs,
            ),
            frames.write_bytes(
                context,
                data if passed else b"",
                asset=EXPERIMENT_CHALLENGER,
                params=params,
                metadata=shown,
                inputs=inputs,
            ),
            frames.write_bytes(
                context,
                decided.to_json().encode(),
                asset=EXPERIMENT_PROMOTION,
                params=params,
                metadata=shown,
                inputs=inputs,
            ),
        )
        if chosen and mine and passed:
            register(tracking, chosen, data, mine, decided)
        return results

    gated = graph.multi_asset(
        STEP,
        "experiments",
        _OUTPUTS,
        reads={
            "ranking_examples": None,
            "user_activity": window(settings.activity_days + horizon),
            "champion": None,
            "promotion": None,
        },
        grain="experiment",
        deps=[dg.AssetDep(ASSET, partition_mapping=dg.AllPartitionMapping())],
    )(validated_and_evaluated)
    return [gated]


def challenger(chosen: TrainedExperiment | None, before: StoredState, day: str) -> ModelRef | None:
    """How the model of an experiment stands before the gate; None where there is none, or it is champion already."""
    if chosen is None:
        return None
    sha256, registry_state = chosen.lineage.sha256, before.registry_state
    if registry_state.champion and registry_state.champion.sha256 == sha256:
        return None
    if registry_state.challenger and registry_state.challenger.sha256 == sha256:
        return registry_state.challenger
    return ModelRef(day, sha256, EXPERIMENT_CHALLENGER)


def record(tracking: Tracking, one: TrainedExperiment, table: pa.Table, day: str) -> str | None:
    """Log the metrics of a day's test window into the run that the model has; why not, where that failed.

    The step of a metric is its day, so that the newest window is what MLflow shows, in whatever order they come. A tag
    says what was logged of a day: what MLflow has is not logged again, and what it missed is made up for.
    """
    step = date.fromisoformat(day).toordinal()
    rows = [row for row in table.to_pylist() if row["experiment"] == one.name and row["value"] is not None]
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

    recorded = tracking.add(one.tags, write)
    if recorded.problem is None and recorded.run_id is None:
        return f"{one.name} has no run: materialize its experiment_model again"
    return recorded.problem if recorded.problem != OFF else None


def register(tracking: Tracking, chosen: TrainedExperiment, data: bytes, model: ModelRef, decided: Promotion) -> None:
    """Make the model a version in the registry, and tell its run what the gate decided."""

    def write(client: Any, run_id: str) -> None:
        register_model(tracking, client, run_id, data, model, decided.verdict)
        client.set_tag(run_id, "verdict", decided.verdict)
        client.set_tag(run_id, "why", decided.gate.why[:5000])

    tracking.add(chosen.tags, write)
