"""Backtest: backfill weekly as-of days and evaluate each on the days after it.

Partition D of every asset uses only what was known at the end of D, so a backfill is a backtest: candidates, ranker and
recommendations of D are evaluated on the target events of (D, D+h], which none of them has seen.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import narwhals as nw
import numpy as np

from benchmarks.home import make_home
from benchmarks.quality_apart import Apart, Scan, add_breakdown, cf_ensemble_of, describe_apart
from benchmarks.report import Line, table, write_section
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters, history_days
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.contracts import arrow_schema, contracts_of
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import Interval, intervals
from recsys_assets.core.evaluation.compare import lists_from_candidates
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.evaluation.window import disjoint_windows, targets_after
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.gate.rule import CONFIDENCE, beats
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.examples import collect_training_rows
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.core.retrieval.features import with_features
from recsys_assets.core.retrieval.protocol import FeatureInputs
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.partitions import daily
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store

ABOUT = {
    "sample": "the generator's data (200,000 events, 60 days, seed 0)",
    "online_retail": "UCI Online Retail I and II (purchases of gifts, repeats count)",
    "movielens": "MovieLens 100K (ratings as events, only new films count)",
}
WEEKS: Mapping[str, int] = {"sample": 8, "online_retail": 8, "movielens": 12}
"""As-of days, a week apart: as many as leave windows to learn from before them."""
STATED: Mapping[str, Mapping[str, int]] = {"movielens": {"horizon_days": 7}}
"""Settings beside the preset's: films of the next week, not of the next two."""
MODELS = ("final", "ranker", "fused", *BUILT_IN.names)
CONTRACTS = contracts_of(BUILT_IN.names)
K = 10
METRICS = ("recall", "ndcg")


@dataclass
class Sums:
    """Metrics of one model, summed per user over the days on which the user was evaluated."""

    totals: dict[object, np.ndarray] = field(default_factory=lambda: defaultdict(lambda: np.zeros(len(METRICS))))


@dataclass
class Backtest:
    """What all days together say."""

    sums: Mapping[str, Sums] = field(default_factory=lambda: {model: Sums() for model in MODELS})
    days_of: dict[object, int] = field(default_factory=lambda: defaultdict(int))
    served_by: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    untrained: int = 0

    def add(self, model: str, users: Sequence[object], values: np.ndarray) -> None:
        """Count the metrics [users, metrics] of one model on one day."""
        for user, row in zip(users, values, strict=True):
            self.sums[model].totals[user] += row

    def results(self, models: list[str]) -> dict[str, list[Interval]]:
        """Mean over (user, day) of each metric, and its interval when users are drawn again."""
        users = sorted(self.days_of, key=str)
        days = np.array([self.days_of[user] for user in users], dtype=float)
        values = np.stack([[self.sums[model].totals[user] for user in users] for model in models], axis=1)
        flat = values.reshape(len(users), -1)
        found = intervals(flat, np.repeat(days[:, None], flat.shape[1], axis=1), level=CONFIDENCE)
        return {model: found[i * len(METRICS) : (i + 1) * len(METRICS)] for i, model in enumerate(models)}

    def gain(self, ours: str, theirs: str, metric: str = "ndcg") -> Interval:
        """Paired difference of a metric."""
        users = sorted(self.days_of, key=str)
        days = np.array([self.days_of[user] for user in users], dtype=float)
        at = METRICS.index(metric)
        one = np.array([self.sums[ours].totals[user][at] - self.sums[theirs].totals[user][at] for user in users])
        return intervals(one[:, None], days[:, None], level=CONFIDENCE)[0]


def graph_of(name: str, landing: Path | None, work: Path) -> tuple[Settings, Dataset]:
    """Settings and data set of a backtest's graph; without a landing zone, the generator makes one."""
    work.mkdir(parents=True, exist_ok=True)
    if landing is None:
        landing = work / "landing"
        if not landing.exists():
            generate(SampleConfig(), landing)
    os.environ["DAGSTER_HOME"] = str(work)
    make_home(work)
    preset = "retailrocket" if name == "sample" else name
    stated = STATED.get(name, {})
    return load_settings(dataset=preset, landing_uri=str(landing), storage_uri=str(work / "store"), **stated)


def days_of(name: str, settings: Settings, newest: str) -> list[str]:
    """The as-of days of a backtest whose newest day with events is given."""
    last = date.fromisoformat(newest) - timedelta(days=settings.horizon_days)
    return [(last - timedelta(weeks=week)).isoformat() for week in reversed(range(WEEKS[name]))]


def run(name: str, landing: Path | None, work: Path, progress: Progress) -> list[Line]:
    """Backfill one data set, judge it and write its section; without a landing zone, the generator makes one."""
    settings, dataset = graph_of(name, landing, work)
    with Materializer(settings, dataset, progress, dg.DagsterInstance.get()) as materializer:
        days = days_of(name, settings, materializer.catch_up_history())
        done = set(PartitionStore(open_store(settings.storage_uri)).days("recommendations"))
        for day in days:
            if day not in done:
                materializer.build_training_windows(day)
                materializer.refresh([day])
    found, apart = Backtest(), Apart()
    for day in days:
        scan = scan_of(settings, dataset, day)
        targets = evaluate_day(found, scan, settings, dataset, day)
        add_breakdown(apart, scan, settings, dataset, day, targets, weights_of(settings, day))
        progress.note(f"{name}: evaluated {day}")
    write_section(
        f"quality-{name}",
        f"Quality: {ABOUT[name]}",
        f"python -m benchmarks.quality --only {name}",
        ("polars", "implicit", "catboost", "optuna", "dagster"),
        f"{describe(found, settings, days)}\n\n{describe_apart(apart)}",
    )
    results = found.results(list(MODELS))
    return [
        Line(name, model, {f"{metric}@{K}": one.mean for metric, one in zip(METRICS, results[model], strict=True)})
        for model in MODELS
    ]


def scan_of(settings: Settings, dataset: Dataset, day: str) -> Scan:
    """Reads the days of an asset of the store around an as-of day; of that day alone, without it as a column."""
    store, engine = PartitionStore(open_store(settings.storage_uri)), PolarsEngine()

    def scan(asset: str, days: int, after: int = 0) -> Frame:
        window = [(date.fromisoformat(day) + timedelta(days=n)).isoformat() for n in range(1 - days, after + 1)]
        uris = [uri for _, uri in store.uris(asset, window)]
        frame = engine.scan(uris, arrow_schema(CONTRACTS[asset], dataset.ids))
        return frame if len(window) > 1 else frame.drop("dt")

    return scan


def weights_of(settings: Settings, day: str) -> dict[str, float]:
    """What the generators weighed in the fusion of a day."""
    lineage = PartitionStore(open_store(settings.storage_uri)).read_lineage("candidates", day)
    quotas: Any = lineage.params["quotas"] if lineage else {}
    return {name: quota["weight"] for name, quota in quotas.items()}


def window_of(scan: Scan, settings: Settings, dataset: Dataset, day: str) -> tuple[Frame, Frame]:
    """What was known at the end of a day, ``USER_ACTIVITY``, and the targets of the horizon after it."""
    cut = date.fromisoformat(day)
    activity = scan("user_activity", settings.activity_days + 1, settings.horizon_days)
    known = activity.filter(nw.col("dt") <= cut)
    targets = targets_after(activity, cut)
    if not dataset.repeats:
        targets = targets.join(known.select("user_id", "item_id").unique(), on=["user_id", "item_id"], how="anti")
    return known, targets


def evaluate_day(found: Backtest, scan: Scan, settings: Settings, dataset: Dataset, day: str) -> Frame:
    """Judge what was known at the end of a day by the horizon after it, whose targets are returned."""
    activity, targets = window_of(scan, settings, dataset, day)
    candidates = scan("candidates", 1)
    lists = {**lists_from_candidates(candidates), "final": scan("recommendations", 1)}
    ranked = ranker_lists(scan, settings, dataset, day, targets)
    lists["ranker"] = lists["fused"] if ranked is None else ranked
    found.untrained += ranked is None
    order = lists["final"].filter(nw.col("rank") == 1).select("source").head(1).collect(backend="polars")
    found.served_by[order.item()] += 1
    evaluator = Evaluator(targets, popularity(activity), candidates.select("user_id").unique())
    for user in evaluator.users:
        found.days_of[user] += 1
    for name in MODELS:
        metrics = per_user(evaluator.read(lists[name], K).hits, evaluator.targets, K)
        found.add(name, evaluator.users, np.stack([metrics[metric] for metric in METRICS], axis=1))
    return targets


def ranker_lists(scan: Scan, settings: Settings, dataset: Dataset, day: str, targets: Frame) -> Frame | None:
    """The lists of the users with a target by the ranker of a day as it would serve; None without one."""
    model = _relearned(settings, dataset, day)
    if not model:
        return None
    acted = scan("candidates", 1).join(targets.select("user_id").unique(), on="user_id", how="semi")
    features = features_of(scan, settings, dataset, day, acted)
    scores = score_candidates(PolarsEngine(), features, model, dataset.ids)
    return dense_rank(scores, ["user_id"], "score", ["item_id"])


def features_of(scan: Scan, settings: Settings, dataset: Dataset, day: str, candidates: Frame) -> Frame:
    """Candidates of an as-of day with the features that the product would score them by."""
    graph = GraphBuilder(settings, dataset, daily(settings, dataset), BUILT_IN)
    params = candidate_parameters(graph)
    inputs = FeatureInputs(
        user_activity=scan("user_activity", history_days(params)),
        item_activity=scan("item_activity", max(params.popular_days, params.trending_days)),
        item_features=scan("item_features", 1),
        cf_ensemble=cf_ensemble_of(scan, graph, params, day),
    )
    return with_features(PolarsEngine(), candidates, inputs, graph.day(day), graph.end(day), params)


def _relearned(settings: Settings, dataset: Dataset, day: str) -> bytes:
    """The ranker of a day as it would serve, learned once more from all windows up to that day; empty without one."""
    lineage = PartitionStore(open_store(settings.storage_uri)).read_lineage("ranker", day)
    if lineage is None or not lineage.params:
        return b""
    rows = collect_training_rows(scan_examples(settings, dataset, example_days(settings, day)))
    params: Any = lineage.params
    return train(rows, RankerParams(**params)).model


def example_days(settings: Settings, day: str) -> list[str]:
    """The windows of examples that a ranker of a day learns from as it would serve: none of them shares a label."""
    reach = timedelta(days=settings.horizon_days * (settings.training_windows - 1))
    first = (date.fromisoformat(day) - reach).isoformat()
    stored = PartitionStore(open_store(settings.storage_uri)).days("ranking_examples")
    return disjoint_windows([one for one in stored if first <= one <= day], settings.horizon_days)


def scan_examples(settings: Settings, dataset: Dataset, days: list[str]) -> Frame:
    """The ranking examples of some windows, with the window's day as ``dt``."""
    uris = [uri for _, uri in PartitionStore(open_store(settings.storage_uri)).uris("ranking_examples", days)]
    return PolarsEngine().scan(uris, arrow_schema(CONTRACTS["ranking_examples"], dataset.ids))


def describe(found: Backtest, settings: Settings, days: list[str]) -> str:
    """The table, and what it says in words."""
    results = found.results(list(MODELS))

    def cell(interval: Interval) -> str:
        return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"

    popular = results["popular"][1].mean
    rows = [
        [name, *(cell(interval) for interval in results[name]), f"{results[name][1].mean / popular:.2f}"]
        for name in MODELS
    ]
    best = max(BUILT_IN.names, key=lambda name: results[name][1].mean)
    baseline = max(("fused", *BUILT_IN.names), key=lambda name: results[name][1].mean)
    gain = found.gain("ranker", baseline)
    verdict = "beats" if beats(gain) else "loses to" if gain.high < 0 else "is level with"
    served = ", ".join(f"{name} on {n}" for name, n in sorted(found.served_by.items()))
    early = f" On {found.untrained} early days without enough to learn from, the ranker's row is the fused list."

    def paired(interval: Interval) -> str:
        return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"

    recall, ndcg = (paired(found.gain("final", "popular", metric)) for metric in METRICS)
    return f"""{len(days)} weekly as-of days, {days[0]} to {days[-1]}; horizon {settings.horizon_days} days;
{sum(found.days_of.values()):,} lists of {len(found.days_of):,} users who had candidates and a target after it.
The ranker is the one of the day, learned once more from all windows up to that day, as it would serve.
`final` is what was released: {served} of the days.{early if found.untrained else ""}
Brackets: 95 % bootstrap over users.

{table(["model", f"recall@{K}", f"NDCG@{K}", "NDCG against popular"], rows)}

`final` against popular, paired: recall {recall}, NDCG {ndcg}.
The ranker {verdict} its best rival, {baseline}: NDCG {paired(gain)}, paired.
Over the best single generator, {best}: NDCG {paired(found.gain("ranker", best))}, paired."""
