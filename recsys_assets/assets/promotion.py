"""Group ranking, its end: evaluation of the ranker of a day, whether it becomes champion, who orders the lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder, Output
from recsys_assets.assets.candidates import candidate_parameters
from recsys_assets.assets.charts import evaluation_metadata
from recsys_assets.assets.ranking import stored_ranker_params
from recsys_assets.assets.reranking import policy_cost, reranking_policy
from recsys_assets.assets.retrieval_params import stored_params
from recsys_assets.checks.partition import beats_generators
from recsys_assets.core.contracts import Contract
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.pooled_gain import Gain, gain_of
from recsys_assets.core.evaluation.window import Contest, Window, collect_window
from recsys_assets.core.gate.promotion import Mode, ModelRef, Promotion, promote
from recsys_assets.core.gate.rule import CONFIDENCE, Decision, baseline_of, decide, pick_baseline
from recsys_assets.core.lists.evaluation import with_final_lists
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.lists.reranking import RerankingPolicy
from recsys_assets.core.ranking import model
from recsys_assets.core.ranking.cross_validation import earlier_contests
from recsys_assets.core.retrieval.candidates import fuse_again
from recsys_assets.core.retrieval.params import weights_without
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.state import StoredState, approval, registry_state_before
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lineage import Input
from recsys_assets.storage.objects import ObjectStore, sha256_bytes

Result = dg.MaterializeResult[Staged]

GATE = "gate"
"""The step; also the pool that it shares with those who decide by hand."""

_OUTPUTS = {
    "ranker_evaluation": Output(
        "How good ranker, champion, fusion and every generator are, on the targets of the last horizon. None of them "
        "was built on those. Also the lists that their winner would have given, after re-ranking.",
        code_version="5",
        checks=("contract",),
        advisory=("ranker_beats_generators",),
    ),
    "champion": Output(
        "The model that may order the lists: the ranker of the day if it passed the gate, else the champion of the day "
        "before. An empty file as long as there is none.",
        kinds=("catboost",),
        code_version="3",
        file="model.cbm",
    ),
    "promotion": Output(
        "What the gate decided: figures and interval, both models, who waits, and who orders the lists.",
        kinds=("json",),
        code_version="3",
        file="promotion.json",
    ),
}


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Evaluation and gate of a day: one step, since all three outputs are about the same two models."""
    settings = graph.settings
    horizon = settings.horizon_days
    policy = reranking_policy(graph)
    retrieval = candidate_parameters(graph)

    def evaluated_and_promoted(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        user_activity: Partitions,
        ranker: Partitions,
        ranker_params: Partitions,
        item_features: Partitions,
        retrieval_params: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> tuple[Result, Result, Result]:
        day, opened = context.partition_key, store.open()
        before = registry_state_before(opened, day)
        state = without_unusable_champion(before, graph.contracts["ranking_examples"], context.log.warning)
        models = {"ranker": partition_bytes(ranker, day), "champion": state.champion}
        candidates, activity = ranking_examples.frame(day).drop("dt"), user_activity.frame()
        scores = model.scores_by_model(frames.run, candidates, models, graph.ids)
        window = collect_window(candidates, activity, graph.day(day) - timedelta(days=horizon))
        params, fused = stored_ranker_params(ranker_params, day), fused_without(retrieval, retrieval_params, day)
        contests = earlier_contests(
            frames.run, ranking_examples.days, ranking_examples.scan, activity, horizon, params, graph.ids, fused
        )
        candidates = fused(candidates, day)
        judged = judge([*contests, Contest(window, candidates, scores)], settings.seed)
        decision = decide(judged.newest, settings.min_evaluated_users, judged.gains, judged.baseline)
        promotion = promoted(opened, day, settings.mode, state, models["ranker"], decision)
        context.log.info(f"{_name(promotion.model)}: {promotion.verdict}; {promotion.gate.why}")
        features = item_features.frame().drop("dt")
        evaluation = evaluate_final_lists(
            judged.newest, window, candidates, promotion, scores, policy, features, settings.seed
        )
        return (
            evaluation_result(context, frames, evaluation, promotion, decision, policy, settings.seed, state.inputs),
            *gate_results(context, frames, promotion, models["ranker"], state),
        )

    gated = graph.multi_asset(
        GATE,
        "ranking",
        _OUTPUTS,
        reads={
            "ranking_examples": window(horizon * settings.training_windows + 1),
            "user_activity": window(settings.activity_days + horizon * (settings.training_windows + 1)),
            "ranker": None,
            "ranker_params": None,
            "retrieval_params": None,
            # Of the day that the candidates are of.
            "item_features": window(1, lag=horizon),
        },
    )(evaluated_and_promoted)
    return [gated]


@dataclass(frozen=True)
class Judged:
    """The evaluations of the windows of a day.

    Attributes:
        newest: of the window that ends with the day.
        gains: of the rankers over the baseline on the earlier ones.
        baseline: what they had to beat on all of them.
    """

    newest: pa.Table
    gains: list[Gain]
    baseline: str


def judge(contests: Sequence[Contest], seed: int) -> Judged:
    """Evaluate contests, the newest last, against one baseline: that of all windows together."""
    tables = [contest.evaluate(seed, CONFIDENCE, pick_baseline) for contest in contests]
    baseline = baseline_of(tables)
    *earlier, newest = [
        table if baseline_of([table]) == baseline else contest.evaluate(seed, CONFIDENCE, lambda *_: baseline)
        for contest, table in zip(contests, tables, strict=True)
    ]
    gains = [gain_of(table, "ranker") for table in earlier]
    return Judged(newest, [gain for gain in gains if gain and gain.users], baseline)


def fused_without(params: CandidateParams, retrieval_params: Partitions, day: str) -> Callable[[Frame, str], Frame]:
    """Fuses the candidates of a window by the weights of a day, but for what the window told of them."""
    stored = stored_params(retrieval_params, day)

    def fused(candidates: Frame, window: str) -> Frame:
        return fuse_again(candidates, weights_without(stored, window, params), params.fusion_constant)

    return fused


def partition_bytes(partitions: Partitions, day: str) -> bytes:
    """The bytes of a model as of a day; empty where there is none."""
    path = partitions.file(day)
    return path.read_bytes() if path else b""


def promoted(
    store: ObjectStore, day: str, mode: Mode, state: StoredState, ranker: bytes, decision: Decision
) -> Promotion:
    """What becomes of the ranker of a day, with the approval decision about it if that counts for the day."""
    ref = ModelRef(day, sha256_bytes(ranker)) if ranker else None
    return promote(day, mode, state.registry_state, ref, approval(store, ref, day) if ref else None, decision)


def evaluate_final_lists(
    evaluation: pa.Table,
    window: Window,
    candidates: Frame,
    promotion: Promotion,
    scores: Mapping[str, Frame],
    policy: RerankingPolicy,
    item_features: Frame,
    seed: int,
) -> pa.Table:
    """The evaluation with the final lists: those of the winner after the re-ranking policy."""
    winner_scores = scores.get(promotion.winner)
    ranked = recommend(candidates, promotion.order_by, winner_scores)
    final = ranked
    if policy.any:
        final = recommend(candidates, promotion.order_by, winner_scores, policy=policy, item_features=item_features)
    return with_final_lists(evaluation, window, promotion.winner, ranked, final, item_features, seed)


def evaluation_result(
    context: dg.AssetExecutionContext,
    frames: FrameWriter,
    evaluation: pa.Table,
    promotion: Promotion,
    decision: Decision,
    policy: RerankingPolicy,
    seed: int,
    inputs: Sequence[Input],
) -> Result:
    """The evaluation as an output of the step: metrics of every contender, and whether the ranker won."""
    ranker = decision.with_ranker
    return frames.write(
        context,
        lambda _: evaluation,
        asset="ranker_evaluation",
        params=asdict(policy),
        seed=seed,
        metadata={
            "decision": ranker.why,
            "served_by": promotion.order_by,
            "users": ranker.users,
            **evaluation_metadata(evaluation),
            **policy_cost(evaluation, promotion.winner, policy),
        },
        checks=[beats_generators(ranker)],
        inputs=inputs,
    )


def gate_results(
    context: dg.AssetExecutionContext,
    frames: FrameWriter,
    promotion: Promotion,
    ranker: bytes,
    state: StoredState,
) -> tuple[Result, Result]:
    """The champion and the promotion as outputs of the step.

    Args:
        context: of the step.
        frames: stages them.
        promotion: what was decided.
        ranker: the ranker of the day.
        state: the registry state before the gate.
    """
    inputs, mode = state.inputs, {"mode": promotion.mode}
    champion = frames.write_bytes(
        context,
        ranker if promotion.verdict == "promoted" else state.champion,
        asset="champion",
        params=mode,
        metadata={"champion": _name(promotion.after.champion)},
        inputs=inputs,
    )
    decision = frames.write_bytes(
        context,
        promotion.to_json().encode(),
        asset="promotion",
        params=mode,
        metadata=described(promotion, state),
        inputs=inputs,
    )
    return champion, decision


def without_unusable_champion(state: StoredState, candidates: Contract, warn: Callable[[str], None]) -> StoredState:
    """The registry state without a champion that needs features which candidates no longer have."""
    if state.champion:
        try:
            model.Scorer(state.champion, candidates.columns)
        except ValueError as reason:
            warn(f"champion {_name(state.registry_state.champion)} stands down: {reason}")
            return state.without_champion()
    return state


def described(promotion: Promotion, state: StoredState) -> dict[str, object]:
    """The metadata of a decision in the UI."""
    gate = promotion.gate
    return {
        "verdict": promotion.verdict,
        "model": _name(promotion.model),
        "gate": gate.why,
        "against": gate.against or "nobody",
        **({"gain": gate.gain, "low": gate.low, "high": gate.high} if gate.gain is not None else {}),
        "champion_before": _name(promotion.before.champion),
        "champion": _name(promotion.after.champion),
        "challenger": _name(promotion.after.challenger),
        "follows": state.since or "no earlier day",
        "order_by": promotion.order_by,
        "why": promotion.why,
        "mode": promotion.mode,
    }


def headline(evaluation: pa.Table, metric: str) -> dict[str, float]:
    """A metric at 10 by contender, where it is defined."""
    rows = evaluation.to_pylist()
    return {r["model"]: r["value"] for r in rows if r["metric"] == metric and r["k"] == 10 and r["value"] is not None}


def stored_promotion(promotion: Partitions, day: str) -> Promotion:
    """The decision of the gate of a day.

    Raises:
        dagster.Failure: the day has no gate yet.
    """
    path = promotion.file(day)
    if path is None:
        raise dg.Failure(f"promotion has no partition {day}: materialize it first", allow_retries=False)
    return Promotion.from_json(path.read_text())


def _name(model: ModelRef | None) -> str:
    return model.id if model else "none"
