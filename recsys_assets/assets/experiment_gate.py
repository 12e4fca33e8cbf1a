"""Group experiments, last step: metrics of each model on the test window of a day, and the gate for the best."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder, Output
from recsys_assets.assets.candidates import candidate_parameters
from recsys_assets.assets.experiment_metrics import log_validation, record, validation_output
from recsys_assets.assets.promotion import (
    described,
    fused_without,
    partition_bytes,
    stored_promotion,
    without_unusable_champion,
)
from recsys_assets.assets.tracking import register_model
from recsys_assets.core.gate.promotion import ModelRef, Promotion
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.experiment_gate import (
    EvaluationWindow,
    ExperimentDecision,
    GateRules,
    approval_of,
    gate_best,
)
from recsys_assets.model_registry.experiment_models import (
    ASSET,
    ExperimentModel,
    models_to_test,
    read_model_bytes,
)
from recsys_assets.model_registry.experiment_validation import (
    CODE_VERSION,
    VALIDATION,
    Validation,
    validate,
    window_sha256,
)
from recsys_assets.model_registry.state import EXPERIMENT_CHALLENGER, EXPERIMENT_PROMOTION, StoredState
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.resources.tracking import Tracking
from recsys_assets.storage.lineage import Input

Result = dg.MaterializeResult[Staged]

STEP = "experiment_gate"

_OUTPUTS = {
    VALIDATION: Output(
        "How good every experiment is, on the targets of the last horizon: metrics with intervals, on the same users. "
        "None was trained on those. A model that was scored on the same rows before is not scored again.",
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
        "The gate's decision about the best experiment, after the day's champion was decided. It takes effect from "
        "the gate of the next day on.",
        kinds=("json",),
        code_version=CODE_VERSION,
        file="promotion.json",
    ),
}


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Validation and gate of experiments: one step, because both use the same rows."""
    settings = graph.settings
    horizon = settings.horizon_days
    retrieval = candidate_parameters(graph)

    def validate_and_gate(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        user_activity: Partitions,
        retrieval_params: Partitions,
        champion: Partitions,
        promotion: Partitions,
        frames: FrameWriter,
        store: StoreResource,
        tracking: dg.ResourceParam[Tracking],
    ) -> tuple[Result, Result, Result]:
        day = context.partition_key
        names = context.instance.get_dynamic_partitions(str(graph.experiments.name))
        models = models_to_test(store.partitions(), names, day, horizon)
        examples, fused = ranking_examples.frame().drop("dt"), fused_without(retrieval, retrieval_params, day)
        cut = graph.day(day) - timedelta(days=horizon)
        test = EvaluationWindow(examples, fused(examples, day), user_activity.frame(), cut)
        window_hash = window_sha256(store.partitions(), day, ranking_examples, user_activity, retrieval_params)
        validation = validate(store.partitions(), models, day, window_hash, test.rows, settings.seed)
        log_validation(context, validation)
        unrecorded = [
            record(tracking, model, validation.table, day) for model in models if not validation.faults.get(model.name)
        ]
        left = StoredState(stored_promotion(promotion, day).after, partition_bytes(champion, day), day, ())
        result = _gate(context, graph, frames, store, validation, test, left)
        inputs = [model.input for model in models]
        outputs = (
            validation_output(context, frames, validation, unrecorded, window_hash, settings.seed, inputs),
            *_gate_outputs(context, frames, result, settings.mode, inputs),
        )
        if result.model and result.passed and validation.best:
            register(tracking, validation.best, result.data, result.model, result.promotion)
        return outputs

    gated = graph.multi_asset(
        STEP,
        "experiments",
        _OUTPUTS,
        reads={
            "ranking_examples": None,
            "user_activity": window(settings.activity_days + horizon),
            "retrieval_params": None,
            "champion": None,
            "promotion": None,
        },
        grain="experiment",
        deps={ASSET: dg.AllPartitionMapping()},
    )(validate_and_gate)
    return [gated]


def _gate(
    context: dg.AssetExecutionContext,
    graph: GraphBuilder,
    frames: FrameWriter,
    store: StoreResource,
    validation: Validation,
    test: EvaluationWindow,
    left: StoredState,
) -> ExperimentDecision:
    """Send the best experiment through the gate, after which the day's own model stands as ``left`` says."""
    settings, day, best = graph.settings, context.partition_key, validation.best
    result = gate_best(
        day,
        GateRules(settings.mode, settings.min_evaluated_users),
        best,
        read_model_bytes(store.partitions(), best) if best else b"",
        validation.models,
        left.registry_state,
        without_unusable_champion(left, graph.contracts["ranking_examples"], context.log.warning),
        lambda contenders, level: test.evaluate(frames.run, contenders, graph.ids, settings.seed, level),
        lambda model: approval_of(store.open(), model, day),
    )
    decided = result.promotion
    context.log.info(f"best: {result.best or 'none'}; {decided.verdict}; {decided.gate.why}")
    return result


def _gate_outputs(
    context: dg.AssetExecutionContext,
    frames: FrameWriter,
    result: ExperimentDecision,
    mode: str,
    inputs: Sequence[Input],
) -> tuple[Result, Result]:
    """The challenger's model if it passed the gate, and the decision."""
    outputs = {
        EXPERIMENT_CHALLENGER: result.data if result.passed else b"",
        EXPERIMENT_PROMOTION: result.promotion.to_json().encode(),
    }
    params = {"mode": mode, "best": result.best or "", "level": result.level}
    metadata = {"best": result.best or "none", **described(result.promotion, result.before)}
    model, promotion = (
        frames.write_bytes(context, content, asset=asset, params=params, metadata=metadata, inputs=inputs)
        for asset, content in outputs.items()
    )
    return model, promotion


def register(tracking: Tracking, best: ExperimentModel, data: bytes, model: ModelRef, decided: Promotion) -> None:
    """Register the model as a version in MLflow, and log the gate's decision into its run."""

    def write(client: Any, run_id: str) -> None:
        register_model(tracking, client, run_id, data, model, decided.verdict)
        client.set_tag(run_id, "verdict", decided.verdict)
        client.set_tag(run_id, "why", decided.gate.why[:5000])

    tracking.add(best.tags, write)
