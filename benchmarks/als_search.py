"""What the search of ALS parameters gains: vectors by what Optuna finds, against vectors by the default parameters.

    python -m benchmarks.als_search [--only NAME] [--data FOLDER] [--work FOLDER]

The backtests are those of benchmarks.generators, and so are the folders: the graph is built once, without the search,
which is off by default. On each as-of day the product's search then runs on what the product would search on, vectors
are fitted with what it found, and their lists take the place of the stored ones in the product's fusion. Candidates
that only the new lists hold have no features, so that no ranker is trained.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import date, timedelta

import narwhals as nw
import numpy as np
import pyarrow as pa

from benchmarks.generators import backtests
from benchmarks.generators_left_out import ALL, PAIR, Built, K, Measures, memory, params_of, proposed_by
from benchmarks.quality_backtests import scan_of, window_of
from benchmarks.report import table, write_section
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.retrieval_params import factors_parameters
from recsys_assets.cli.progress import Progress
from recsys_assets.core.activity import bots
from recsys_assets.core.clock import last_days
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.models.als import AlsFitParams, fit_factors
from recsys_assets.core.retrieval import generators
from recsys_assets.core.retrieval.by_factors import recommend
from recsys_assets.core.retrieval.candidates import fuse
from recsys_assets.core.retrieval.protocol import CandidateParams, FitContext, weighted_pairs
from recsys_assets.core.retrieval.tune_als import tune_als, with_values
from recsys_assets.core.tuning.study import Budget, Search
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.partitions import daily
from recsys_assets.settings import Settings

ALS = "als"
"""The generator whose vectors are fitted by ALS."""
TRIALS = 12
DEFAULT = "default"


def measure(name: str, built: Built, progress: Progress) -> tuple[Measures, list[AlsFitParams], list[float]]:
    """Search and judge on each as-of day; also what was found there, and the CPU seconds of the searches."""
    settings, dataset, days, _ = built
    measures, found, seconds = Measures(), list[AlsFitParams](), list[float]()
    for day in days:
        graph = GraphBuilder(settings, dataset, daily(settings, dataset), BUILT_IN)
        began = time.process_time()
        found.append(search(graph, settings, dataset, day))
        seconds.append(time.process_time() - began)
        evaluate_day(measures, graph, settings, dataset, day, found[-1])
        progress.note(f"{name}: searched and judged {day}")
    return measures, found, seconds


def search(graph: GraphBuilder, settings: Settings, dataset: Dataset, day: str) -> AlsFitParams:
    """What the product's search finds as of a day; its asset is ``retrieval_params``."""
    base = factors_parameters(graph)
    validated = date.fromisoformat(day) - timedelta(days=settings.horizon_days)
    scan = scan_of(settings, dataset, validated.isoformat())
    window = max(settings.factors_days, settings.active_days) + settings.horizon_days
    known = FitContext(
        engine=PolarsEngine(),
        frames={"user_activity": bots.without(scan("user_activity", window), scan("bot_users", window))},
        as_of=validated,
        end=graph.end(validated.isoformat()),
        active_days=settings.active_days,
        horizon_days=settings.horizon_days,
        half_life=base.half_life,
        repeats=dataset.repeats,
        k=settings.candidates_k,
        seed=settings.seed,
    )
    after = validated - timedelta(days=settings.horizon_days)
    budget = Budget(TRIALS)
    found = tune_als(
        known, after, base, day, lambda content: Search(content, budget, settings.seed), settings.min_evaluated_users
    )
    return with_values(base, found.values)


def evaluate_day(
    measures: Measures, graph: GraphBuilder, settings: Settings, dataset: Dataset, day: str, found: AlsFitParams
) -> None:
    """Judge the stored lists, and those of vectors fitted with other parameters, alone and fused."""
    scan, params = scan_of(settings, dataset, day), params_of(settings, day)
    known, targets = window_of(scan, settings, dataset, day)
    candidates = memory(scan("candidates", 1).join(targets.select("user_id").unique(), on="user_id", how="semi"))
    users = candidates.select("user_id").unique()
    evaluator = Evaluator(targets, popularity(known), users)
    proposed = {name: proposed_by(name, candidates) for name in params.quotas}
    stated = factors_parameters(graph)
    other = proposed[ALS] if found == stated else memory(_lists(graph, settings, dataset, day, found, params, users))
    for variant, lists in ((ALL, other), (DEFAULT, proposed[ALS])):
        _add(
            measures,
            variant,
            evaluator,
            {"alone": lists, "fused": fuse({**proposed, ALS: lists}, params, BUILT_IN.names)},
        )


def _lists(
    graph: GraphBuilder,
    settings: Settings,
    dataset: Dataset,
    day: str,
    found: AlsFitParams,
    params: CandidateParams,
    users: Frame,
) -> Frame:
    """The best items of some users by vectors that are fitted as the product fits them."""
    scan, engine = scan_of(settings, dataset, day), PolarsEngine()
    activity = scan("user_activity", max(settings.factors_days, settings.activity_days, settings.active_days))
    windowed = last_days(activity, graph.day(day), settings.factors_days)
    history = generators.user_history(
        bots.without(windowed, scan("bot_users", settings.factors_days)),
        graph.day(day),
        graph.end(day),
        settings.factors_days,
        found.half_life,
    )
    items = fit_factors(engine, history.with_columns(weight=nw.col("fresh_weight")), found)
    gone = scan("item_features", 1).filter(~nw.col("available")).select("item_id")
    exclude = _table(gone)["item_id"].combine_chunks() if params.exclude_unavailable else None
    mine = _table(weighted_pairs(history.join(users, on="user_id", how="semi")).sort(*PAIR))
    best = recommend(items, mine, found, params.quotas[ALS].k, exclude, repeats=params.repeats)
    return dense_rank(engine.from_arrow(best), ["user_id"], "score", ["item_id"])


def _table(frame: Frame) -> pa.Table:
    return frame.collect(backend="polars").to_arrow()


def _add(measures: Measures, variant: str, evaluator: Evaluator, lists: Mapping[str, Frame]) -> None:
    for who, frame in lists.items():
        ranked = frame.select(*PAIR, rank=nw.col("fused_rank" if who == "fused" else "rank"))
        read = evaluator.read(ranked, K)
        values = per_user(read.hits, evaluator.targets, K)
        measures.add(variant, f"{who} ndcg", evaluator.users, values["ndcg"])
        measures.add(variant, f"{who} recall", evaluator.users, values["recall"])
        measures.add(variant, f"{who} candidates", evaluator.users, read.recalled, evaluator.targets)


def describe(found: Mapping[str, tuple[Measures, list[AlsFitParams], list[float]]]) -> str:
    """The table, and what was found."""
    metrics = ("alone ndcg", "alone recall", "alone candidates", "fused ndcg", "fused recall", "fused candidates")
    rows: list[list[str]] = []
    said: list[str] = []
    for name, (measures, searched, seconds) in found.items():
        results = measures.results()
        gains = [results[DEFAULT, metric][0] for metric in metrics]
        rows.append([name, *(f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" for one in gains)])
        values = sorted(
            {(p.factors, round(p.regularization, 2), round(p.alpha, 2), round(p.half_life)) for p in searched}
        )
        shown = "; ".join(f"{a}, {b:g}, {c:g}, {d}" for a, b, c, d in values)
        said.append(
            f"`{name}`: {len(searched)} as-of days, {np.mean(seconds):.1f} CPU s a search; factors, regularization, "
            f"alpha and half-life found: {shown}."
        )
    head = [f"{who} {what}" for who in ("its lists:", "fused:") for what in (f"NDCG@{K}", f"recall@{K}", "recall")]
    return f"""{TRIALS} parameter sets a search. Gain of the searched parameters over the default ones, paired by user,
with the 95 % bootstrap interval over users; `recall` without a number is that of whole lists, as long as candidates
are.

{table(["data set", *head], rows)}

{chr(10).join(said)}"""


def main() -> None:
    """Search on the backtests asked for, and write the section."""
    every = dict[str, tuple[Measures, list[AlsFitParams], list[float]]]()
    for name, built, progress in backtests("python -m benchmarks.als_search", __doc__):
        every[name] = measure(name, built, progress)
    write_section(
        "als-search",
        "The search of ALS parameters, against the default ones",
        "python -m benchmarks.als_search",
        ("polars", "implicit", "optuna"),
        describe(every),
    )


if __name__ == "__main__":
    main()
