"""What one mean over users hides: users without a history, items without a past, and what no candidate list held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date

import narwhals as nw
import numpy as np

from benchmarks.report import table
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters
from recsys_assets.core.activity import bots
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.evaluation.bootstrap import intervals
from recsys_assets.core.evaluation.judge import Judge, popularity
from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.retrieval.candidates import asked, union
from recsys_assets.core.retrieval.popular import ALL
from recsys_assets.core.retrieval.protocol import CandidateInputs, Known, Voice, fitted
from recsys_assets.core.retrieval.table import PROPOSERS
from recsys_assets.engines.base import Frame
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.partitions import daily
from recsys_assets.settings import Settings

DEEP, K = 500, 10
EVERYBODY, KNOWN, COLD = "everybody with a target", "with a history", "without one"
Scan = Callable[[str, int], Frame]
"""Asset and number of days up to the as-of day, to the frame."""


@dataclass
class Apart:
    """Sums over the as-of days.

    Attributes:
        lists: per group of users the recall and NDCG of each list.
        recall: per generator, and for their union, targets among the first 500 candidates.
        targets: all targets of users with candidates.
        new: targets that are new items, and those of them that were listed.
        all_targets: of everybody.
    """

    lists: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    recall: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    targets: int = 0
    new: tuple[int, int] = (0, 0)
    all_targets: int = 0


def judge_apart(found: Apart, scan: Scan, settings: Settings, dataset: Dataset, day: str, targets: Frame) -> None:
    """Add what an as-of day says.

    Args:
        found: is added to.
        scan: of the store.
        settings: of the graph.
        dataset: of the graph.
        day: the as-of day.
        targets: user_id, item_id of the horizon after it, of everybody.
    """
    final, known = scan("recommendations", 1), scan("user_activity", settings.activity_days)
    users = scan("candidates", 1).select("user_id").unique()
    targets = targets.filter(~nw.col("user_id").is_null())
    cold = targets.select("user_id").unique().join(users, on="user_id", how="anti")
    best = scan("top_popular", 1).filter((nw.col("segment") == ALL) & (nw.col("rank") <= K))
    columns = ("user_id", "item_id", nw.col("rank").cast(nw.Int64))
    fallback = cold.join(best.select("item_id", "rank"), how="cross")
    served = nw.concat([final.select(*columns), fallback.select(*columns)], how="vertical")

    judge = Judge(targets, popularity(known), None)
    values = per_user(judge.read(served, K).hits, judge.targets, K)
    at_home = set(users.collect(backend="polars")["user_id"].to_list())
    for user, recall, ndcg in zip(judge.users, values["recall"], values["ndcg"], strict=True):
        for group in (EVERYBODY, KNOWN if user in at_home else COLD):
            found.lists[group].append((float(recall), float(ndcg)))
    found.all_targets += int(judge.targets.sum())
    seen = scan("item_activity", settings.activity_days).select("item_id").unique()
    unseen = Judge(targets.join(seen, on="item_id", how="anti"), popularity(known), None)
    listed = int(unseen.read(served, K).hits.sum()) if unseen.users else 0
    found.new = found.new[0] + int(unseen.targets.sum()), found.new[1] + listed

    deep = _deep(scan, settings, dataset, day, targets)
    inside = Judge(targets, popularity(known), users)
    found.targets += int(inside.targets.sum())
    for name in [column.removesuffix("_rank") for column in deep.collect_schema().names() if column.endswith("_rank")]:
        ranked = deep.filter(~nw.col(f"{name}_rank").is_null()).select(
            "user_id", "item_id", rank=nw.col(f"{name}_rank")
        )
        found.recall[name] += int(inside.read(ranked, DEEP).hits.sum())


def describe_apart(found: Apart) -> str:
    """The tables."""
    rows: list[list[str]] = []
    for group in (EVERYBODY, KNOWN, COLD):
        pairs = np.array(found.lists[group]).reshape(-1, 2)
        cells = [f"{one.mean:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in intervals(pairs, np.ones_like(pairs))]
        rows.append([group, f"{len(pairs):,}", *(cells if len(pairs) else ["", ""])])
    names = sorted((name for name in found.recall if name != "fused"), key=lambda name: -found.recall[name])
    recalls = [[name, f"{found.recall[name] / max(found.targets, 1):.4f}"] for name in ["fused", *names]]
    recalls[0][0] = "union, fused"
    new, hit = found.new
    return f"""What was released, for whom (whoever has no list gets the most popular items):

{table(["users", "lists", f"recall@{K}", f"NDCG@{K}"], rows)}

New items, without an event in the activity window, are {new:,} of {found.all_targets:,} targets; {hit:,} were listed.

Share of all targets that is among the first {DEEP} candidates of a user, when each generator gives as many:

{table(["generator", f"recall@{DEEP}"], recalls)}"""


def _deep(scan: Scan, settings: Settings, dataset: Dataset, day: str, targets: Frame) -> Frame:
    """Fused candidates of the users with a target, of lists of 500."""
    engine, graph = PolarsEngine(), GraphBuilder(settings, dataset, daily(settings, dataset))
    as_of, end = date.fromisoformat(day), graph.end(day)
    params = candidate_parameters(graph)
    params = replace(params, voices={name: Voice(DEEP, one.weight) for name, one in params.voices.items()})
    robots = scan("bot_users", settings.factors_days)
    activity = scan("user_activity", max(settings.activity_days, settings.active_days))
    proposed: dict[str, Frame] = {}
    for name in [name for name in PROPOSERS if name in params.voices]:
        one = fitted(name)
        fit_on = scan("user_activity", max(settings.factors_days, settings.active_days))
        frames = {"user_activity": bots.without(fit_on, robots), "item_features": scan("item_features", 1)}
        frames |= {read: bots.without(scan(read, settings.covisit_days), robots) for read in one.reads}
        known = Known(
            engine=engine,
            frames=frames,
            as_of=as_of,
            end=end,
            active_days=settings.active_days,
            horizon_days=settings.horizon_days,
            half_life=settings.factors_half_life,
            repeats=params.repeats,
            exclude_unavailable=params.exclude_unavailable,
            k=DEEP,
            seed=settings.seed,
        )
        proposed[name] = engine.from_arrow(one.fit(known))
    singles = ("item_features", "top_popular", "covisited_items", "user_factors", "item_factors")
    inputs = CandidateInputs(
        user_activity=activity.join(targets.select("user_id").unique(), on="user_id", how="semi"),
        item_activity=scan("item_activity", max(settings.popular_days, settings.trending_days)),
        proposed=proposed,
        **{name: scan(name, 1) for name in singles},
    )
    found = union(asked(engine, inputs, as_of, end, params)).collect(backend="polars")
    return found.lazy()
