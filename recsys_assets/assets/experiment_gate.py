"""Group experiments, their end: what each model is worth on the test window of a day, and the best before the gate."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import OWNERS, GraphBuilder, backfill_policy, through_io_manager
from recsys_assets.assets.promotion import described, stored_promotion, usable
from recsys_assets.assets.tracking import register_model
from recsys_assets.core.contracts import EXPERIMENT_VALIDATION, RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.evaluation.window import collect_window, evaluate_window, targets_after
from recsys_assets.core.experiments.best import best_of
from recsys_assets.core.experiments.window import with_targets
from recsys_assets.core.gate.promotion import Model, Promotion, promote
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.partitions import Partitions, Staged
from recsys_assets.model_registry.experiment_models import (
    ASSET,
    EXPERIMENTS,
    ExperimentModel,
    models_to_test,
    read_model_bytes,
)
from recsys_assets.model_registry.experiment_validation import (
    CODE_VERSION,
    VALIDATION,
    score_models,
    stored_rows,
    window_sha256,
)
from recsys_assets.model_registry.state import (
    EXPERIMENT_CHALLENGER,
    EXPERIMENT_PROMOTION,
    Found,
    approval,
    rejected_before,
)
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import OFF, Tracking
from recsys_assets.storage.objects import sha256_bytes

Result = dg.MaterializeResult[Staged]

STEP = "experiment_gate"

_ABOUT = {
    VALIDATION: "Every experiment on the targets of the last horizon, which none of them was built on: metrics with "
    "intervals, on the same users. A model that was scored on these very rows before is not scored again.",
    EXPERIMENT_CHALLENGER: "The model of the best experiment if it passed the gate; else an empty file.",
    EXPERIMENT_PROMOTION: "What the gate decided about the best experiment, once the day had its champion. It counts "
    "from the gate of the next day on.",
}
_KINDS = {VALIDATION: {"parquet"}, EXPERIMENT_CHALLENGER: {"catboost", "scikitlearn"}, EXPERIMENT_PROMOTION: {"json"}}


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
        models = models_to_test(
            partitions, context.instance.get_dynamic_partitions(str(EXPERIMENTS.name)), day, horizon
        )
        pool, activity = ranking_examples.frame().drop("dt"), user_activity.frame()
        cut = graph.day(day) - timedelta(days=horizon)

        def rows_to_evaluate() -> pa.Table:
            rows = with_targets(pool, targets_after(activity, cut))
            return rows.sort("user_id", "item_id").collect(backend="polars").to_arrow()

        evaluated_by = window_sha256(partitions, day, ranking_examples, user_activity)
        table, fresh = score_models(
            partitions, models, stored_rows(partitions, day, evaluated_by), rows_to_evaluate, settings.seed
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
        stood = Found(registry_state.after, path.read_bytes() if path else b"", day, ())
        before = usable(stood, graph.contracts["candidates"], context)
        data = read_model_bytes(partitions, chosen) if chosen else b""
        mine = challenger(chosen, before, day)
        scores = {
            name: score_candidates(frames.run, pool, one, graph.ids)
            for name, one in {"ranker": data if mine else b"", "champion": before.champion}.items()
            if one
        }
        # The best of several, picked on the window that it is judged on, is better there than it is: its interval is
        # as much wider as there were models to pick from (Bonferroni).
        level = 1 - 0.05 / max(1, len(models))
        evaluation = (
            evaluate_window(collect_window(pool, activity, cut), pool, scores, settings.seed, level)
            if mine
            else arrow_schema(RANKER_EVALUATION, IdTypes()).empty_table()
        )
        said = approval(opened, mine, day) if mine else None
        if mine and rejected_before(opened, mine.sha256, day):
            said = "rejected"
        decided = promote(
            day, settings.mode, registry_state.after, mine, said, evaluation, settings.min_evaluated_users
        )
        context.log.info(f"best: {best or 'none'}; {decided.verdict}; {decided.gate.why}")
        passed = decided.verdict in ("promoted", "waiting")
        inputs = [one.input for one in models]
        params = {"mode": settings.mode, "best": best or "", "level": level}
        shown = {"best": best or "none", **described(decided, before)}
        results = (
            frames.write(
                context,
                VALIDATION,
                lambda _: table,
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
                context, EXPERIMENT_CHALLENGER, data if passed else b"", params=params, metadata=shown, inputs=inputs
            ),
            frames.write_bytes(
                context,
                EXPERIMENT_PROMOTION,
                decided.to_json().encode(),
                params=params,
                metadata=shown,
                inputs=inputs,
            ),
        )
        if chosen and mine and passed:
            register(tracking, chosen, data, mine, decided)
        return results

    through_io_manager(validated_and_evaluated)
    gated = dg.multi_asset(
        name=STEP,
        outs={
            name: dg.AssetOut(
                group_name="experiments",
                kinds=_KINDS[name],
                owners=OWNERS,
                code_version=CODE_VERSION,
                tags={"recsys/grain": "experiment"},
                description=about,
                metadata=graph.columns(EXPERIMENT_VALIDATION if name == VALIDATION else None),
            )
            for name, about in _ABOUT.items()
        },
        ins={
            "ranking_examples": dg.AssetIn(),
            "user_activity": dg.AssetIn(partition_mapping=window(settings.activity_days + horizon)),
            "champion": dg.AssetIn(),
            "promotion": dg.AssetIn(),
        },
        deps=[dg.AssetDep(ASSET, partition_mapping=dg.AllPartitionMapping())],
        partitions_def=graph.partitions,
        backfill_policy=backfill_policy("as_of"),
        pool=STEP,
        check_specs=graph.checks(VALIDATION, ("contract",)),
    )(validated_and_evaluated)
    return [gated]


def challenger(chosen: ExperimentModel | None, before: Found, day: str) -> Model | None:
    """How the model of an experiment stands before the gate; None where there is none, or it is champion already."""
    if chosen is None:
        return None
    sha256, registry_state = chosen.lineage.sha256, before.registry_state
    if registry_state.champion and registry_state.champion.sha256 == sha256:
        return None
    if registry_state.challenger and registry_state.challenger.sha256 == sha256:
        return registry_state.challenger
    return Model(day, sha256, EXPERIMENT_CHALLENGER)


def record(tracking: Tracking, one: ExperimentModel, table: pa.Table, day: str) -> str | None:
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


def register(tracking: Tracking, chosen: ExperimentModel, data: bytes, model: Model, decided: Promotion) -> None:
    """Make the model a version in the registry, and tell its run what the gate decided."""

    def write(client: Any, run_id: str) -> None:
        register_model(tracking, client, run_id, data, model, decided.verdict)
        client.set_tag(run_id, "verdict", decided.verdict)
        client.set_tag(run_id, "why", decided.gate.why[:5000])

    tracking.add(chosen.tags, write)
