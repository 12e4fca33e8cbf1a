"""Group experiments, last step: metrics of each model on the test window of a day, and the gate for the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import dagster as dg

from recsys_assets.assets.builder import GraphBuilder, Output
from recsys_assets.assets.experiment_metrics import EvaluationWindow, record, validate, validation_output
from recsys_assets.assets.promotion import described, stored_promotion, without_unusable_champion
from recsys_assets.assets.tracking import register_model
from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.evaluation.window import collect_window, evaluate_window
from recsys_assets.core.gate.promotion import ApprovalDecision, ModelRef, Promotion, promote
from recsys_assets.core.gate.rule import confidence_of_best_of, decide, pick_baseline
from recsys_assets.core.ranking.model import score_candidates
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
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
from recsys_assets.resources.tracking import Tracking
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import ObjectStore

Result = dg.MaterializeResult[Staged]

STEP = "experiment_gate"

_OUTPUTS = {
    VALIDATION: Output(
        "Every experiment on the targets of the last horizon, which none of them was trained on: metrics with "
        "intervals, on the same users. A model that was scored on the same rows before is not scored again.",
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

    def validate_and_gate(
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
        names = context.instance.get_dynamic_partitions(str(EXPERIMENTS.name))
        models = models_to_test(store.partitions(), names, day, horizon)
        test = EvaluationWindow(
            ranking_examples.frame().drop("dt"), user_activity.frame(), graph.day(day) - timedelta(days=horizon)
        )
        window_hash = window_sha256(store.partitions(), day, ranking_examples, user_activity)
        validation = validate(context, store.partitions(), models, test, window_hash, settings.seed)
        unrecorded = [
            record(tracking, model, validation.table, day) for model in models if not validation.faults.get(model.name)
        ]
        path = champion.file(day)
        registry_state = StoredState(
            stored_promotion(promotion, day).after, path.read_bytes() if path else b"", day, ()
        )
        result = gate_best(context, graph, frames, store, validation.best, len(models), test, registry_state)
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
            "champion": None,
            "promotion": None,
        },
        grain="experiment",
        deps=[dg.AssetDep(ASSET, partition_mapping=dg.AllPartitionMapping())],
    )(validate_and_gate)
    return [gated]


@dataclass(frozen=True)
class ExperimentDecision:
    """What the gate decided about the best experiment.

    Attributes:
        best: name of the experiment; None where there is none.
        model: as a contender; None where there is none, or it is champion already.
        data: its stored model; empty where there is none.
        before: the registry state that it met.
        promotion: the decision.
        level: of the interval.
    """

    best: str | None
    model: ModelRef | None
    data: bytes
    before: StoredState
    promotion: Promotion
    level: float

    @property
    def passed(self) -> bool:
        """Whether it passed the gate."""
        return self.promotion.verdict in ("promoted", "waiting")


def gate_best(
    context: dg.AssetExecutionContext,
    graph: GraphBuilder,
    frames: FrameWriter,
    store: StoreResource,
    best: ExperimentModel | None,
    candidates: int,
    test: EvaluationWindow,
    registry_state: StoredState,
) -> ExperimentDecision:
    """Compare the best of several experiments with the champion and the generators, and decide about it."""
    settings, day = graph.settings, context.partition_key
    before = without_unusable_champion(registry_state, graph.contracts["candidates"], context.log.warning)
    data = read_model_bytes(store.partitions(), best) if best else b""
    model, level = challenger(best, before, day), confidence_of_best_of(candidates)
    evaluation = arrow_schema(RANKER_EVALUATION, IdTypes()).empty_table()
    approval_decision = None
    if model:
        scores = {
            name: score_candidates(frames.run, test.examples, contender, graph.ids)
            for name, contender in {"ranker": data, "champion": before.champion}.items()
            if contender
        }
        window_of_day = collect_window(test.examples, test.activity, test.cut)
        evaluation = evaluate_window(
            window_of_day, test.examples, scores, settings.seed, level=level, pick_baseline=pick_baseline
        )
        approval_decision = approval_of(store.open(), model, day)
    decided = promote(
        day,
        settings.mode,
        registry_state.registry_state,
        model,
        approval_decision,
        decide(evaluation, settings.min_evaluated_users),
    )
    name = best.name if best else None
    context.log.info(f"best: {name or 'none'}; {decided.verdict}; {decided.gate.why}")
    return ExperimentDecision(name, model, data, before, decided, level)


def approval_of(store: ObjectStore, model: ModelRef, day: str) -> ApprovalDecision | None:
    """What people decided about a model by a day: bytes that were ever rejected stay rejected."""
    return "rejected" if rejected_before(store, model.sha256, day) else approval(store, model, day)


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


def challenger(best: ExperimentModel | None, before: StoredState, day: str) -> ModelRef | None:
    """The model of an experiment as a contender; None where there is none, or it is champion already."""
    if best is None:
        return None
    sha256, registry_state = best.lineage.sha256, before.registry_state
    if registry_state.champion and registry_state.champion.sha256 == sha256:
        return None
    if registry_state.challenger and registry_state.challenger.sha256 == sha256:
        return registry_state.challenger
    return ModelRef(day, sha256, EXPERIMENT_CHALLENGER)


def register(tracking: Tracking, best: ExperimentModel, data: bytes, model: ModelRef, decided: Promotion) -> None:
    """Register the model as a version in MLflow, and log the gate's decision into its run."""

    def write(client: Any, run_id: str) -> None:
        register_model(tracking, client, run_id, data, model, decided.verdict)
        client.set_tag(run_id, "verdict", decided.verdict)
        client.set_tag(run_id, "why", decided.gate.why[:5000])

    tracking.add(best.tags, write)
