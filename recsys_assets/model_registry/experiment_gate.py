"""The gate of a day's best experiment: what it is tested on, as which contender, and what is decided about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.evaluation.window import collect_window, evaluate_window, targets_after
from recsys_assets.core.experiments.window import with_targets
from recsys_assets.core.gate.promotion import ApprovalDecision, Mode, ModelRef, Promotion, RegistryState, promote
from recsys_assets.core.gate.rule import confidence_of_best_of, decide, pick_baseline
from recsys_assets.core.ranking.model import scores_by_model
from recsys_assets.model_registry.experiment_models import ExperimentModel
from recsys_assets.model_registry.state import EXPERIMENT_CHALLENGER, StoredState, approval, rejected_before
from recsys_assets.storage.objects import ObjectStore


@dataclass(frozen=True)
class EvaluationWindow:
    """What a day's experiments are tested on.

    Attributes:
        examples: RANKING_EXAMPLES of the day, which models score.
        fused: the same with the fused ranks that count on this window, as in the gate of rankers.
        activity: USER_ACTIVITY with ``dt``, which holds the targets.
        cut: the last day before the window.
    """

    examples: Frame
    fused: Frame
    activity: Frame
    cut: date

    def rows(self) -> pa.Table:
        """The examples with the number of targets of their users and the fused rank that counts, sorted."""
        baseline = self.fused.select("user_id", "item_id", baseline_rank=nw.col("fused_rank"))
        examples = self.examples.join(baseline, on=["user_id", "item_id"], how="inner")
        rows = with_targets(examples, targets_after(self.activity, self.cut))
        return rows.sort("user_id", "item_id").collect(backend="polars").to_arrow()

    def evaluate(self, engine: Engine, models: Mapping[str, bytes], ids: IdTypes, seed: int, level: float) -> pa.Table:
        """Models, fused generators and each generator on the targets.

        Args:
            engine: that the frames belong to.
            models: 'ranker' and 'champion' to the stored model; empty bytes where there is none.
            ids: the data set's id types.
            seed: of the bootstrap.
            level: of the intervals.

        Returns:
            Table of contract RANKER_EVALUATION.
        """
        scores = scores_by_model(engine, self.examples, models, ids)
        window = collect_window(self.examples, self.activity, self.cut)
        return evaluate_window(window, self.fused, scores, seed, level=level, pick_baseline=pick_baseline)


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


@dataclass(frozen=True)
class GateRules:
    """The settings of the gate.

    Attributes:
        mode: 'autonomous' promotes a model that passed the gate, 'manual' lets it wait.
        min_users: with fewer users evaluated, no model passes.
    """

    mode: Mode
    min_users: int


def gate_best(
    day: str,
    rules: GateRules,
    best: ExperimentModel | None,
    data: bytes,
    candidates: int,
    registry_state: RegistryState,
    before: StoredState,
    evaluate: Callable[[Mapping[str, bytes], float], pa.Table],
    approval_decision: Callable[[ModelRef], ApprovalDecision | None],
) -> ExperimentDecision:
    """Compare the best of several experiments with the champion and the generators, and decide about it.

    Args:
        day: whose test window and gate it is.
        rules: settings of the gate.
        best: of the experiments; None where none could be measured.
        data: its stored model; empty where there is none.
        candidates: number of experiments that it was picked from.
        registry_state: what the gate of the day left; it stays where the experiment is not let through.
        before: the same, with a champion that can be used or none.
        evaluate: 'ranker' and 'champion' to their bytes, and the level of the intervals in; table of contract
            RANKER_EVALUATION out. Called at most once, and only where there is a contender.
        approval_decision: what people decided about a model by that day; asked only about the contender.
    """
    model, level = challenger(best, before, day), confidence_of_best_of(candidates)
    evaluation = arrow_schema(RANKER_EVALUATION, IdTypes()).empty_table()
    decided = None
    if model:
        evaluation = evaluate({"ranker": data, "champion": before.champion}, level)
        decided = approval_decision(model)
    promotion = promote(day, rules.mode, registry_state, model, decided, decide(evaluation, rules.min_users))
    return ExperimentDecision(best.name if best else None, model, data, before, promotion, level)


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


def approval_of(store: ObjectStore, model: ModelRef, day: str) -> ApprovalDecision | None:
    """What people decided about a model by a day: bytes that were ever rejected stay rejected."""
    return "rejected" if rejected_before(store, model.sha256, day) else approval(store, model, day)
