"""Regimes: does the platform find out by itself which kind of demand it has?

    python -m benchmarks.regimes [--regimes news,films] [--seed N] [--work FOLDER]

Each regime of ``recsys_assets/sample/regimes`` is written as files with a ``dataset.toml`` in which nothing is tuned,
and the whole graph runs up to a few as-of days. What was released is judged by the events of the horizon after each
day, beside every fixed choice that there was: one list for all days. The best of these in hindsight is the oracle; what
the released lists lose to it is the regret. A run of all regimes writes its section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import narwhals as nw
import numpy as np

from benchmarks.home import make_home
from benchmarks.quality_apart import Scan
from benchmarks.quality_backtests import METRICS, Backtest, K, Sums, ranker_lists, scan_of, window_of
from benchmarks.report import table, write_section
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import candidate_parameters
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import Interval
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.partitions import daily
from recsys_assets.sample.regimes.write import NAMES, write_regime
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store

CUTS = 3
GOAL = 0.03
SEGMENTS = {"popular": "all", "trending": "trending"}
"""The generators that are not personal, and their segments."""
WINDOWS = {"2 hours": 2, "1 day": 24, "1 week": 168, "4 weeks": 672, "all time": 100_000}
"""One-line baselines: the items with the most events of so many hours, by name."""
DEPTH = 300
"""Items of a one-line baseline, from which those are left out that a user may not get again."""
RELEASED, UNTUNED = "released", "fused, default weights"
_COLUMNS = ("user_id", "item_id", nw.col("rank").cast(nw.Int64))


@dataclass
class Found:
    """What the as-of days of a regime say.

    Attributes:
        lists: metrics by list, of everybody with a target.
        ordered_by: who ordered the released lists, by day.
        fallback: the segment that unknown users got, by day.
        known: user days with a list of their own.
    """

    lists: Backtest
    ordered_by: list[str] = field(default_factory=list[str])
    fallback: list[str] = field(default_factory=list[str])
    known: int = 0


@dataclass(frozen=True)
class Verdict:
    """The released lists against the best fixed choice, and against the best list that is not personal.

    Attributes:
        oracle: name of the best fixed choice.
        shared: name of the best list that is not personal.
        ndcg: NDCG@10 with its interval by list.
        behind: the released lists' gain over the oracle, paired.
        ahead: their gain over the best list that is not personal, paired.
    """

    oracle: str
    shared: str
    ndcg: Mapping[str, Interval]
    behind: Interval
    ahead: Interval

    @property
    def regret(self) -> float:
        """What the released lists lose, as a share of the oracle's NDCG@10."""
        best = self.ndcg[self.oracle].mean
        return (best - self.ndcg[RELEASED].mean) / best if best else 0.0

    @property
    def holds(self) -> bool:
        """Whether the goal is reached: little regret, and no list for all is better."""
        return self.regret <= GOAL and self.ahead.mean >= 0


def run(name: str, seed: int, work: Path, progress: Progress) -> Found:
    """Generate a regime, run the graph up to its as-of days, and judge every list."""
    write_regime(name, work / "landing", seed)
    os.environ["DAGSTER_HOME"] = str(work)
    make_home(work)
    settings, dataset = load_settings(
        dataset=str(work / "landing" / "dataset.toml"),
        landing_uri=str(work / "landing"),
        storage_uri=str(work / "store"),
        mlflow_tracking_uri="off",
    )
    with Materializer(settings, dataset, progress, dg.DagsterInstance.get()) as materializer:
        last = date.fromisoformat(materializer.catch_up_history()) - timedelta(days=settings.horizon_days)
        cuts = [(last - timedelta(days=cut * settings.horizon_days)).isoformat() for cut in reversed(range(CUTS))]
        done = PartitionStore(open_store(settings.storage_uri)).days("recommendations")
        for day in cuts:
            if day not in done:
                materializer.build_training_windows(day)
                materializer.refresh([day])
    params = candidate_parameters(GraphBuilder(settings, dataset, daily(settings, dataset), BUILT_IN))
    generators = _giving(scan_of(settings, dataset, cuts[-1]), params)
    names = (RELEASED, "ranker", "fused", UNTUNED, *generators, *WINDOWS)
    found = Found(Backtest(sums={one: Sums() for one in names}))
    for day in cuts:
        _add_day(found, scan_of(settings, dataset, day), settings, dataset, params, day)
    return found


def _giving(scan: Scan, params: CandidateParams) -> list[str]:
    """The generators that give candidates: without repeats or categories, some have none."""
    counts = scan("candidates", 1).select(nw.col(f"{name}_rank").count().alias(name) for name in params.quotas)
    return [name for name in params.quotas if counts.collect(backend="polars")[name].item()]


def _add_day(found: Found, scan: Scan, settings: Settings, dataset: Dataset, params: CandidateParams, day: str) -> None:
    """Judge each list as of a day by the targets of the horizon after it, of everybody who has one."""
    activity, targets = window_of(scan, settings, dataset, day)
    candidates, released = scan("candidates", 1), scan("recommendations", 1)
    ranked = ranker_lists(scan, settings, dataset, day, targets)
    personal = {
        RELEASED: released,
        "ranker": recommend(candidates, "fused") if ranked is None else ranked,
        "fused": recommend(candidates, "fused"),
        UNTUNED: _untuned(candidates, params),
        **{name: recommend(candidates, name) for name in params.quotas if name in found.lists.sums},
    }
    popular, users = scan("top_popular", 1), targets.select("user_id").unique()
    fallback = popular.filter(nw.col("is_fallback"))
    unknown = users.join(candidates.select("user_id"), on="user_id", how="anti")
    lists = _baselines(scan, settings, dataset, day, users, activity)
    for name, known in personal.items():
        shared = popular.filter(nw.col("segment") == SEGMENTS[name]) if name in SEGMENTS else fallback
        others = unknown.join(shared.select("item_id", "rank"), how="cross")
        lists[name] = nw.concat([known.select(*_COLUMNS), others.select(*_COLUMNS)], how="vertical")
    evaluator = Evaluator(targets, popularity(activity))
    for user in evaluator.users:
        found.lists.days_of[user] += 1
    for name, whole in lists.items():
        metrics = per_user(evaluator.read(whole, K).hits, evaluator.targets, K)
        found.lists.add(name, evaluator.users, np.stack([metrics[metric] for metric in METRICS], axis=1))
    found.known += len(evaluator.users) - len(unknown.collect(backend="polars"))
    found.ordered_by.append(_first(released, "source"))
    found.fallback.append(_first(fallback, "segment"))


def _untuned(candidates: Frame, params: CandidateParams) -> Frame:
    """The fused lists with the weights that apply without a search."""
    score = nw.lit(0.0)
    for name, quota in params.quotas.items():
        rank = nw.col(f"{name}_rank").cast(nw.Float64)
        score = score + (quota.weight / (params.fusion_constant + rank)).fill_null(0.0)
    return dense_rank(candidates.select("user_id", "item_id", score=score), ["user_id"], "score", ["item_id"])


def _baselines(
    scan: Scan, settings: Settings, dataset: Dataset, day: str, users: Frame, activity: Frame
) -> dict[str, Frame]:
    """The one-line baselines for each user, without what a user may not get again."""
    end = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1, hours=dataset.boundary_hours)
    events = scan("clean_events", (end.date() - settings.first_day).days + 1)
    lists: dict[str, Frame] = {}
    for name, hours in WINDOWS.items():
        begin = end - timedelta(hours=hours)
        counts = (
            events.filter((nw.col("ts") >= begin) & (nw.col("ts") < end))
            .group_by("item_id")
            .agg(n=nw.len().cast(nw.Int64))
        )
        best = counts.sort("n", "item_id", descending=[True, False]).head(DEPTH)
        pairs = users.join(best, how="cross")
        if not dataset.repeats:
            pairs = pairs.join(activity.select("user_id", "item_id").unique(), on=["user_id", "item_id"], how="anti")
        lists[name] = dense_rank(pairs, ["user_id"], "n", ["item_id"]).select(*_COLUMNS)
    return lists


def _first(frame: Frame, column: str) -> str:
    return frame.filter(nw.col("rank") == 1).select(column).head(1).collect(backend="polars")[column].item()


def judge(found: Found) -> Verdict:
    """The verdict of a regime, over all users and as-of days."""
    names = list(found.lists.sums)
    ndcg = {name: both[METRICS.index("ndcg")] for name, both in found.lists.results(names).items()}
    shared = max((*SEGMENTS, *WINDOWS), key=lambda name: ndcg[name].mean)
    choices = [name for name in names if name != RELEASED and name not in WINDOWS]
    oracle = max(choices, key=lambda name: ndcg[name].mean)
    return Verdict(oracle, shared, ndcg, found.lists.gain(RELEASED, oracle), found.lists.gain(RELEASED, shared))


def describe(found: Mapping[str, Found], seed: int) -> str:
    """The verdicts as a table, and the NDCG of every list as another."""
    verdicts = {name: judge(one) for name, one in found.items()}

    def paired(gain: Interval) -> str:
        return f"{gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"

    rows = [
        [
            name,
            f"{', '.join(found[name].ordered_by)}; {', '.join(found[name].fallback)}",
            f"{len(found[name].lists.days_of):,}; {found[name].known / sum(found[name].lists.days_of.values()):.0%}",
            f"{one.ndcg[RELEASED].mean:.4f}",
            f"{one.oracle}: {one.ndcg[one.oracle].mean:.4f}",
            f"{one.regret:.1%}",
            paired(one.behind),
            f"{one.shared}: {one.ndcg[one.shared].mean:.4f}",
            paired(one.ahead),
            "yes" if one.holds else "**no**",
        ]
        for name, one in verdicts.items()
    ]
    head = ["regime", "order of the lists; fallback", "users; known", "released", "best fixed choice", "regret"]
    head += ["released over it", "best list for all", "released over it", "holds"]
    names = list(dict.fromkeys(list_name for one in verdicts.values() for list_name in one.ndcg))
    every = [
        [list_name, *(f"{one.ndcg[list_name].mean:.4f}" if list_name in one.ndcg else "" for one in verdicts.values())]
        for list_name in names
    ]
    return f"""\
Seed {seed}; {CUTS} as-of days a horizon apart, each judged by the targets of the horizon after it, of everybody
who has one; users without a list of their own get the fallback. NDCG@{K}; brackets: paired, 95 % bootstrap over users.
The best fixed choice is that of the lists by the ranker, the fusion and each generator which is best in hindsight.
Lists for all are the popular and the trending ones, and those of the most events in a fixed window. The goal holds
where the regret is at most {GOAL:.0%} and no list for all is better.

{table(head, rows)}

NDCG@{K} of every list:

{table(["list", *verdicts], every)}"""


def main() -> None:
    """Run the selected regimes; all of them write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regimes", description=__doc__)
    parser.add_argument("--regimes", default=",".join(NAMES), help="comma-separated: " + ", ".join(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="keep the built assets here, so that a second call only evaluates")
    arguments = parser.parse_args()
    names = arguments.regimes.split(",")
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"--regimes: unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    progress, found = Progress(), dict[str, Found]()
    with tempfile.TemporaryDirectory(prefix="regimes-") as scratch:
        for name in names:
            found[name] = run(name, arguments.seed, (arguments.work or Path(scratch)) / name, progress)
            progress.note(f"{name}: {found[name].ordered_by}")
    text = describe(found, arguments.seed)
    if set(names) == set(NAMES):
        command = f"python -m benchmarks.regimes --seed {arguments.seed}"
        write_section("regimes", "Regimes with planted truth", command, ("polars", "catboost", "dagster"), text)
    else:
        sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
