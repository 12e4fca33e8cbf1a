"""Breakdown of the backtest: users without a history, new items, and the recall of the candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Protocol

import narwhals as nw
import numpy as np

from benchmarks.report import table
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters, history_days
from recsys_assets.assets.fit_context import fit_context
from recsys_assets.core.activity import bots
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import intervals
from recsys_assets.core.evaluation.compare import lists_from_candidates
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.gate.rule import CONFIDENCE
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.models.session_model import SessionModel
from recsys_assets.core.retrieval.candidates import retrieval_context, union
from recsys_assets.core.retrieval.cf_ensemble import fit
from recsys_assets.core.retrieval.next_in_session import fit_with_chosen_params
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams, GeneratorQuota
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.partitions import daily
from recsys_assets.settings import Settings

DEEP, K = 500, 10
EVERYBODY, KNOWN, COLD = "everybody with a target", "with a history", "without one"


class Scan(Protocol):
    """Reads stored assets around an as-of day."""

    def __call__(self, asset: str, days: int, after: int = 0) -> Frame:
        """The frame of an asset over so many days up to the as-of day, and after it."""
        ...


@dataclass
class Apart:
    """Sums over the as-of days.

    Attributes:
        lists: per group of users the recall and NDCG of each list.
        recall: per generator, and for their union, targets among the first 500 candidates.
        alone: per generator, targets that no other one has among its first 500.
        without: per generator, NDCG of each list of the fusion without it; as ``fused`` with all of them.
        targets: all targets of users with candidates.
        new: targets that are new items, and those of them that were listed.
        all_targets: of everybody.
    """

    lists: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    recall: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    alone: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    without: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    targets: int = 0
    new: tuple[int, int] = (0, 0)
    all_targets: int = 0


def add_breakdown(
    found: Apart,
    scan: Scan,
    settings: Settings,
    dataset: Dataset,
    day: str,
    targets: Frame,
    weights: Mapping[str, float],
) -> None:
    """Add the results of an as-of day.

    Args:
        found: the sums so far, changed in place.
        scan: of the store.
        settings: of the graph.
        dataset: of the graph.
        day: the as-of day.
        targets: user_id, item_id of the horizon after it, of everybody.
        weights: of the generators in the fusion of the day.
    """
    final, known = scan("recommendations", 1), scan("user_activity", settings.activity_days)
    users = scan("candidates", 1).select("user_id").unique()
    targets = targets.filter(~nw.col("user_id").is_null())
    cold = targets.select("user_id").unique().join(users, on="user_id", how="anti")
    best = scan("top_popular", 1).filter(nw.col("is_fallback") & (nw.col("rank") <= K))
    columns = ("user_id", "item_id", nw.col("rank").cast(nw.Int64))
    fallback = cold.join(best.select("item_id", "rank"), how="cross")
    served = nw.concat([final.select(*columns), fallback.select(*columns)], how="vertical")

    evaluator = Evaluator(targets, popularity(known), None)
    values = per_user(evaluator.read(served, K).hits, evaluator.targets, K)
    at_home = set(users.collect(backend="polars")["user_id"].to_list())
    for user, recall, ndcg in zip(evaluator.users, values["recall"], values["ndcg"], strict=True):
        for group in (EVERYBODY, KNOWN if user in at_home else COLD):
            found.lists[group].append((float(recall), float(ndcg)))
    found.all_targets += int(evaluator.targets.sum())
    seen = scan("item_activity", settings.activity_days).select("item_id").unique()
    unseen = Evaluator(targets.join(seen, on="item_id", how="anti"), popularity(known), None)
    listed = int(unseen.read(served, K).hits.sum()) if unseen.users else 0
    found.new = found.new[0] + int(unseen.targets.sum()), found.new[1] + listed

    graph = GraphBuilder(settings, dataset, daily(settings, dataset), BUILT_IN)
    params = candidate_parameters(graph)
    inside = Evaluator(targets, popularity(known), users)
    found.targets += int(inside.targets.sum())
    deep = _deep(scan, graph, params, day, targets)
    for name, ranked in lists_from_candidates(deep).items():
        if name == "fused" or name in params.quotas:
            found.recall[name] += int(inside.read(ranked, DEEP).hits.sum())
    hits = deep.join(targets.select("user_id", "item_id").unique(), on=["user_id", "item_id"], how="semi")
    said = [~nw.col(f"{name}_rank").is_null() for name in params.quotas]
    by_one = hits.filter(nw.sum_horizontal(*(one.cast(nw.Int64) for one in said)) == 1)
    for name, one in zip(params.quotas, said, strict=True):
        found.alone[name] += len(by_one.filter(one).collect(backend="polars"))
    for name, ranked in _without(scan("candidates", 1), params, weights).items():
        found.without[name] += per_user(inside.read(ranked, K).hits, inside.targets, K)["ndcg"].tolist()


def session_inputs(scan: Scan, settings: Settings) -> tuple[Frame, SessionModel]:
    """The events that sessions look back on, and the model that the product fits on them."""
    events = scan("clean_events", settings.covisit_days)
    return events, fit_with_chosen_params(bots.without(events, scan("bot_users", settings.covisit_days)))[0]


def cf_ensemble_of(scan: Scan, graph: GraphBuilder, params: CandidateParams, day: str) -> CfEnsemble:
    """The models of users and items that the product fits as of a day."""
    history = {"user_activity": scan("user_activity", max(graph.settings.factors_days, graph.settings.active_days))}
    bot_ids = scan("bot_users", graph.settings.factors_days)
    return fit(fit_context(graph, params, PolarsEngine(), day, history, bot_ids, 1).history())


def _without(candidates: Frame, params: CandidateParams, weights: Mapping[str, float]) -> dict[str, Frame]:
    """The fused lists of a day, and those without each generator in turn."""

    def part(name: str) -> nw.Expr:
        return (weights[name] / (params.fusion_constant + nw.col(f"{name}_rank").cast(nw.Float64))).fill_null(0.0)

    lists: dict[str, Frame] = {}
    for left_out in ("fused", *params.quotas):
        score = nw.sum_horizontal(*(part(name) for name in params.quotas if name != left_out))
        scored = candidates.select("user_id", "item_id", score=score).filter(nw.col("score") > 0)
        lists[left_out] = dense_rank(scored, ["user_id"], "score", ["item_id"])
    return lists


def describe_apart(found: Apart) -> str:
    """The tables."""
    rows: list[list[str]] = []
    for group in (EVERYBODY, KNOWN, COLD):
        pairs = np.array(found.lists[group]).reshape(-1, 2)
        cells = [f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in intervals(pairs, level=CONFIDENCE)]
        rows.append([group, f"{len(pairs):,}", *(cells if len(pairs) else ["", ""])])
    names = sorted((name for name in found.recall if name != "fused"), key=lambda name: -found.recall[name])
    whole = float(np.mean(found.without["fused"]))

    def adds(name: str) -> list[str]:
        share, alone = (count[name] / max(found.targets, 1) for count in (found.recall, found.alone))
        less = float(np.mean(found.without[name])) - whole
        return [
            name,
            f"{share:.4f}",
            "" if name == "fused" else f"{alone:.4f}",
            "" if name == "fused" else f"{less:+.4f}",
        ]

    recalls = [adds(name) for name in ["fused", *names]]
    recalls[0][0] = "union, fused"
    new, hit = found.new
    return f"""What was released, for whom (users without a list get the fallback, popular or trending):

{table(["users", "lists", f"recall@{K}", f"NDCG@{K}"], rows)}

New items, without an event in the activity window, are {new:,} of {found.all_targets:,} targets; {hit:,} were listed.

What each generator adds: the share of all targets among the first {DEEP} candidates of a user, when each gives as
many; the share that it alone has there; and by how much the fusion's NDCG@{K} ({whole:.4f}) changes without it:

{table(["generator", f"recall@{DEEP}", "it alone", f"NDCG@{K} without it"], recalls)}"""


def _deep(scan: Scan, graph: GraphBuilder, params: CandidateParams, day: str, targets: Frame) -> Frame:
    """Fused candidates of the users with a target, of lists of 500."""
    engine, settings = PolarsEngine(), graph.settings
    params = replace(params, quotas={name: GeneratorQuota(DEEP, one.weight) for name, one in params.quotas.items()})
    activity = scan("user_activity", history_days(params))
    names = ("item_features", "top_popular", "covisited_items", "item_factors")
    singles: dict[str, Any] = {name: scan(name, 1) for name in names}
    clicks, session_model = session_inputs(scan, settings)
    inputs = CandidateInputs(
        clicks=clicks,
        session_model=session_model,
        user_activity=activity.join(targets.select("user_id").unique(), on="user_id", how="semi"),
        item_activity=scan("item_activity", max(settings.popular_days, settings.trending_days)),
        cf_ensemble=cf_ensemble_of(scan, graph, params, day),
        **singles,
    )
    context = retrieval_context(engine, inputs, date.fromisoformat(day), graph.end(day), params)
    return union(context, graph.registry).collect(backend="polars").lazy()
