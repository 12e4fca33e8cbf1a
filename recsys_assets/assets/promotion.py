"""Group ranking, its end: what the ranker of a day is worth, whether it becomes champion, who orders the lists."""

from dataclasses import asdict
from datetime import timedelta

import dagster as dg
import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder, Output
from recsys_assets.assets.charts import bar_chart_metadata
from recsys_assets.assets.rules import cost, rules_of
from recsys_assets.checks.gates import beats_generators
from recsys_assets.core.contracts import Contract
from recsys_assets.core.evaluation.compare import Decision, choose
from recsys_assets.core.evaluation.window import collect_window, evaluate_window
from recsys_assets.core.gate.promotion import Model, Promotion, promote
from recsys_assets.core.lists.evaluation import with_listed
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.ranking import model
from recsys_assets.io_managers.frame_writer import FrameWriter
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.model_registry.past_gains import gains_before
from recsys_assets.model_registry.state import Found, approval, registry_state_before
from recsys_assets.partitions import window
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.objects import sha256_bytes

Result = dg.MaterializeResult[Staged]

GATE = "gate"
"""The step; also the pool that it shares with those who decide by hand."""

_OUTPUTS = {
    "ranker_evaluation": Output(
        "Ranker, champion, fusion and every generator on the targets of the last horizon, which none of them was built "
        "on; and the lists that their winner would have given, with the rules of lists kept.",
        code_version="2",
        checks=("contract",),
        advisory=("ranker_beats_generators",),
    ),
    "champion": Output(
        "The model that may order the lists: the ranker of the day if it passed the gate, else the champion of the day "
        "before. An empty file as long as there is none.",
        kinds=("catboost",),
        code_version="2",
        file="model.cbm",
    ),
    "promotion": Output(
        "What the gate decided: figures and interval, both models, who waits, and who orders the lists.",
        kinds=("json",),
        code_version="2",
        file="promotion.json",
    ),
}


def build(graph: GraphBuilder) -> list[dg.AssetsDefinition]:
    """Evaluation and gate of a day: one step, since all three speak of the same two models."""
    settings = graph.settings
    horizon, least = settings.horizon_days, settings.min_evaluated_users
    rules = rules_of(graph)

    def evaluated_and_promoted(
        context: dg.AssetExecutionContext,
        ranking_examples: Partitions,
        user_activity: Partitions,
        ranker: Partitions,
        item_features: Partitions,
        frames: FrameWriter,
        store: StoreResource,
    ) -> tuple[Result, Result, Result]:
        day = context.partition_key
        found = usable(registry_state_before(store.open(), day), graph.contracts["candidates"], context)
        earlier, seen = gains_before(store.open(), day, horizon)
        read = (*found.inputs, *seen)
        path = ranker.file(day)
        trained = path.read_bytes() if path else b""
        mine = Model(day, sha256_bytes(trained)) if trained else None

        pool = ranking_examples.frame().drop("dt")
        contenders = {"ranker": trained, "champion": found.champion}
        scores = {
            name: model.score_candidates(frames.run, pool, one, graph.ids) for name, one in contenders.items() if one
        }
        cut = graph.day(day) - timedelta(days=horizon)
        judging = collect_window(pool, user_activity.frame(), cut)
        evaluation = evaluate_window(judging, pool, scores, settings.seed)
        decided = promote(
            day,
            settings.mode,
            found.registry_state,
            mine,
            approval(store.open(), mine, day) if mine else None,
            evaluation,
            least,
            earlier,
        )
        context.log.info(f"{decided.model.id if decided.model else 'no model'}: {decided.verdict}; {decided.gate.why}")
        made_of, known = winner(decided), item_features.frame().drop("dt")
        before = recommend(pool, decided.order_by, scores.get(made_of))
        listed = recommend(pool, decided.order_by, scores.get(made_of), rules=rules, item_features=known)
        whole = with_listed(evaluation, judging, made_of, before, listed if rules.any else before, known, settings.seed)
        return (
            _evaluation(context, whole, decided, choose(whole, least, earlier=earlier), found, frames),
            frames.write_bytes(
                context,
                trained if decided.verdict == "promoted" else found.champion,
                asset="champion",
                params={"mode": settings.mode},
                metadata={"champion": _name(decided.after.champion)},
                inputs=read,
            ),
            frames.write_bytes(
                context,
                decided.to_json().encode(),
                asset="promotion",
                params={"mode": settings.mode},
                metadata=described(decided, found),
                inputs=read,
            ),
        )

    def _evaluation(
        context: dg.AssetExecutionContext,
        evaluation: pa.Table,
        decided: Promotion,
        alone: Decision,
        found: Found,
        frames: FrameWriter,
    ) -> Result:
        ndcg = headline(evaluation, "ndcg")
        return frames.write(
            context,
            lambda _: evaluation,
            asset="ranker_evaluation",
            params=asdict(rules),
            seed=settings.seed,
            metadata={
                "decision": alone.why,
                "served_by": decided.order_by,
                "users": alone.users,
                **{f"ndcg_at_10_{name}": value for name, value in ndcg.items()},
                **{f"recall_at_10_{name}": value for name, value in headline(evaluation, "recall").items()},
                "ndcg_at_10": bar_chart_metadata("NDCG@10", ndcg),
                **cost(evaluation, winner(decided), rules),
            },
            checks=[beats_generators(alone)],
            inputs=found.inputs,
        )

    gated = graph.multi_asset(
        GATE,
        "ranking",
        _OUTPUTS,
        reads={
            "ranking_examples": None,
            "user_activity": window(settings.activity_days + horizon),
            "ranker": None,
            # Of the day that the candidates are of.
            "item_features": window(1, lag=horizon),
        },
    )(evaluated_and_promoted)
    return [gated]


def usable(found: Found, candidates: Contract, context: dg.AssetExecutionContext) -> Found:
    """What stood before, without a champion that knows other features than candidates have now."""
    if found.champion:
        try:
            model.Scorer(found.champion, candidates.columns)
        except ValueError as reason:
            context.log.warning(f"champion {_name(found.registry_state.champion)} stands down: {reason}")
            return found.without_champion()
    return found


def described(decided: Promotion, found: Found) -> dict[str, object]:
    """What the UI shows of a decision."""
    gate = decided.gate
    return {
        "verdict": decided.verdict,
        "model": _name(decided.model),
        "gate": gate.why,
        "against": gate.against or "nobody",
        **({"gain": gate.gain, "low": gate.low, "high": gate.high} if gate.gain is not None else {}),
        "champion_before": _name(decided.before.champion),
        "champion": _name(decided.after.champion),
        "challenger": _name(decided.after.challenger),
        "follows": found.since or "no earlier day",
        "order_by": decided.order_by,
        "why": decided.why,
        "mode": decided.mode,
    }


def headline(evaluation: pa.Table, metric: str) -> dict[str, float]:
    """A metric at 10 of every model."""
    rows = evaluation.to_pylist()
    return {r["model"]: r["value"] for r in rows if r["metric"] == metric and r["k"] == 10 and r["value"] is not None}


def winner(decided: Promotion) -> str:
    """Who orders the lists, as the evaluation of the day calls it: the ranker until it is champion."""
    if decided.order_by != "ranker":
        return decided.order_by
    return "ranker" if decided.verdict == "promoted" else "champion"


def stored_promotion(promotion: Partitions, day: str) -> Promotion:
    """What the gate of a day decided."""
    path = promotion.file(day)
    if path is None:
        raise dg.Failure(f"promotion has no partition {day}: materialize it first", allow_retries=False)
    return Promotion.from_json(path.read_text())


def _name(one: Model | None) -> str:
    return one.id if one else "none"
