"""Leaves generators out of stored candidates and examples, and measures what that costs, user by user."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from benchmarks.quality_apart import Scan
from benchmarks.quality_backtests import example_days, features_of, scan_examples, scan_of, window_of
from recsys_assets.cli.progress import Progress
from recsys_assets.core.clock import last_days
from recsys_assets.core.contracts import feature_columns
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import Interval, intervals
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.evaluation.metrics import per_user
from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.frames import dense_rank
from recsys_assets.core.gate.rule import CONFIDENCE
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.examples import collect_training_rows
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.core.ranking.split import NotEnoughExamples
from recsys_assets.core.retrieval.candidates import fuse
from recsys_assets.core.retrieval.protocol import CandidateParams, GeneratorQuota
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.settings import Settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store

SUSPECTS = ("content", "nearest")
"""Generators that are also left out all at once: two that propose the same items hide each other's gain."""
FEATURES_OF: Mapping[str, tuple[str, ...]] = {"cf_ensemble": tuple(f"ui_{name}" for name in MODEL_NAMES)}
"""Features that the ranker has only where a generator is on, beside its score and rank."""

ALL, TOGETHER = "all", "suspects"
K = 10
PAIR = ["user_id", "item_id"]
Built = tuple[Settings, Dataset, list[str], int]
"""Of a graph whose candidates are there: settings, data set, as-of days, and windows that rankers learn from."""


@dataclass
class Measures:
    """Sums per user, variant (what was left out) and metric, over the as-of days.

    Attributes:
        parts: frames of user, variant, metric, value and divisor; the mean of a metric is sum of values / sum of
            divisors.
        active: generators that proposed something on some day.
        ranked_days: days with a ranker.
    """

    parts: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])
    active: set[str] = field(default_factory=set[str])
    ranked_days: int = 0

    def add(
        self, variant: str, metric: str, users: Sequence[object], values: np.ndarray, divisors: np.ndarray | None = None
    ) -> None:
        """Add the values [users] of one day."""
        divisor = np.ones(len(values)) if divisors is None else divisors.astype(np.float64)
        columns = {"user": [str(user) for user in users], "value": values.astype(np.float64), "divisor": divisor}
        self.parts.append(pl.DataFrame(columns).with_columns(variant=pl.lit(variant), metric=pl.lit(metric)))

    def results(self) -> dict[tuple[str, str], tuple[Interval, float]]:
        """By variant and metric: of ``ALL`` the level, of others what all gain over it, paired; and the divisors."""
        sums = pl.concat(self.parts).group_by("variant", "metric", "user").agg(pl.col("value", "divisor").sum())
        by_key = {key: part.sort("user") for key, part in sums.partition_by("variant", "metric", as_dict=True).items()}
        found: dict[tuple[str, str], tuple[Interval, float]] = {}
        for (variant, metric), part in by_key.items():
            level = by_key[ALL, metric]
            values = level["value"].to_numpy() - (0.0 if variant == ALL else part["value"].to_numpy())
            divisors = level["divisor"].to_numpy()
            found[str(variant), str(metric)] = (
                intervals(values[:, None], divisors[:, None], level=CONFIDENCE)[0],
                float(divisors.sum()),
            )
        return found


def params_of(settings: Settings, day: str) -> CandidateParams:
    """Sizes and weights with which the candidates of a day were found."""
    lineage = PartitionStore(open_store(settings.storage_uri)).read_lineage("candidates", day)
    if lineage is None:
        raise ValueError(f"there are no candidates of {day}")
    stored: dict[str, Any] = dict(lineage.params)
    quotas = {name: GeneratorQuota(**one) for name, one in stored.pop("quotas").items()}
    return CandidateParams(quotas=quotas, **stored)


def proposed_by(name: str, rows: Frame) -> Frame:
    """What a generator proposed: user_id, item_id, score and rank."""
    its_own = rows.filter(~nw.col(f"{name}_rank").is_null())
    return its_own.select(*PAIR, score=nw.col(f"{name}_score"), rank=nw.col(f"{name}_rank"))


def leave_out(rows: Frame, names: Collection[str], params: CandidateParams) -> Frame:
    """Candidates or examples of a day as they would be without some generators."""
    quotas = {name: one for name, one in params.quotas.items() if name not in names}
    fused = fuse({name: proposed_by(name, rows) for name in quotas}, replace(params, quotas=quotas), BUILT_IN.names)
    replaced = set(fused.collect_schema().names()) - set(PAIR)
    return fused.join(rows.drop(*replaced), on=PAIR, how="inner")


def columns_without(names: Collection[str]) -> list[str]:
    """What a ranker may learn from where some generators are off."""
    gone = {f"{name}_{what}" for name in names for what in ("score", "rank")}
    gone |= {column for name in names for column in FEATURES_OF.get(name, ())}
    return [name for name in feature_columns(BUILT_IN.names) if name not in gone]


def measure(name: str, built: Built, progress: Progress) -> Measures:
    """Leave out each generator on each as-of day."""
    settings, dataset, days, windows = built
    measures = Measures()
    for day in days:
        measure_day(measures, settings, dataset, day, windows)
        progress.note(f"{name}: measured {day}")
    return measures


def measure_day(measures: Measures, settings: Settings, dataset: Dataset, day: str, windows: int) -> None:
    """Add what an as-of day says."""
    scan, params = scan_of(settings, dataset, day), params_of(settings, day)
    known, targets = window_of(scan, settings, dataset, day)
    targets, known = memory(targets), memory(known)
    acted = targets.select("user_id").unique()
    pairs = memory(scan("candidates", 1).join(acted, on="user_id", how="semi"))
    candidates = memory(features_of(scan, settings, dataset, day, pairs))
    users = candidates.select("user_id").unique()
    judges = {part: Evaluator(some, popularity(known), users) for part, some in _parts(scan, params, targets).items()}
    short = _short(known, judges["all"].users)
    judges = {part: evaluator for part, evaluator in judges.items() if evaluator.users}

    learned = example_days(settings, day)
    learned = learned[max(0, len(learned) - windows) :]
    examples = {one: memory(scan_examples(settings, dataset, [one])) for one in learned}

    active = {one for one in params.quotas if _proposes(one, [candidates, *examples.values()])}
    measures.active |= active
    begin = len(measures.parts)
    _judge_without(measures, ALL, (), params, settings, dataset, candidates, examples, judges, short)
    whole = measures.parts[begin:]
    for variant, names in {**{one: (one,) for one in params.quotas}, TOGETHER: SUSPECTS}.items():
        if active.isdisjoint(names):  # it had nothing to propose, and so nothing is lost
            measures.parts += [part.with_columns(variant=pl.lit(variant)) for part in whole]
        else:
            _judge_without(measures, variant, names, params, settings, dataset, candidates, examples, judges, short)
    measures.ranked_days += any("ranker ndcg" in part["metric"].head(1) for part in whole)


def _judge_without(
    measures: Measures,
    variant: str,
    names: Collection[str],
    params: CandidateParams,
    settings: Settings,
    dataset: Dataset,
    candidates: Frame,
    examples: Mapping[str, Frame],
    judges: Mapping[str, Evaluator],
    short: np.ndarray,
) -> None:
    """Add the metrics of the lists of a day without some generators: the fused ones, and a ranker's if there is one."""
    rows = memory(leave_out(candidates, names, params))
    if variant == ALL:
        _expect_equal(rows, candidates)
    _evaluator(measures, variant, "fused", rows.select(*PAIR, rank=nw.col("fused_rank")), judges, short)
    past = [
        leave_out(frame, names, params_of(settings, _before(one, settings)))
        for one, frame in examples.items()
        if not _is_empty(frame)
    ]
    lists = _ranked(settings, dataset, rows, past, names)
    if lists is not None:
        _evaluator(measures, variant, "ranker", lists, judges, short)


def _ranked(
    settings: Settings, dataset: Dataset, rows: Frame, past: Sequence[Frame], names: Collection[str]
) -> Frame | None:
    """The lists of a ranker that learned without some generators; None where there is too little to learn from."""
    if not past:
        return None
    examples = collect_training_rows(memory(nw.concat(past, how="vertical")))
    try:
        model = train(examples, RankerParams(seed=settings.seed), columns_without(names)).model
    except NotEnoughExamples:
        return None
    scores = score_candidates(PolarsEngine(), rows, model, dataset.ids)
    return memory(dense_rank(scores, ["user_id"], "score", ["item_id"]))


def _evaluator(
    measures: Measures, variant: str, who: str, ranked: Frame, judges: Mapping[str, Evaluator], short: np.ndarray
) -> None:
    """Add the metrics of one kind of list."""
    for part, evaluator in judges.items():
        read = evaluator.read(ranked, K)
        values = per_user(read.hits, evaluator.targets, K)
        if who == "fused":
            measures.add(variant, f"{part} candidates", evaluator.users, read.recalled, evaluator.targets)
        measures.add(variant, f"{part} {who} listed", evaluator.users, read.hits.sum(axis=1), evaluator.targets)
        if part == "all":
            for metric in ("ndcg", "recall"):
                measures.add(variant, f"{who} {metric}", evaluator.users, values[metric])
            measures.add(variant, f"short {who} ndcg", evaluator.users, values["ndcg"] * short, short)


def _parts(scan: Scan, params: CandidateParams, targets: Frame) -> dict[str, Frame]:
    """All targets; those whose item nobody touched in the activity window; and those that few touched lately."""
    activity = memory(scan("item_activity", params.activity_days))
    day = activity.select(nw.col("dt").max()).collect(backend="polars").item()
    recent = last_days(activity, day, params.popular_days).group_by("item_id").agg(days=nw.col("users").sum())
    popular = recent.filter(nw.col("days") > params.new_item_users)
    interacted = activity.select("item_id").unique()
    return {
        "all": targets,
        "new": targets.join(interacted, on="item_id", how="anti"),
        "rare": targets.join(interacted, on="item_id", how="semi").join(popular, on="item_id", how="anti"),
    }


def _short(known: Frame, users: Sequence[object]) -> np.ndarray:
    """[users] whether a user is in the third with the fewest items."""
    items = known.group_by("user_id").agg(items=nw.col("item_id").n_unique()).collect(backend="polars")
    count = dict(zip(items["user_id"].to_list(), items["items"].to_list(), strict=True))
    counts = np.array([count.get(user, 0) for user in users])
    return counts <= np.quantile(counts, 1 / 3) if len(counts) else np.zeros(0, np.bool_)


def _proposes(name: str, frames: Sequence[Frame]) -> bool:
    """Whether a generator proposed anything."""
    return any(frame.select(nw.col(f"{name}_rank").count()).collect(backend="polars").item() for frame in frames)


def _is_empty(frame: Frame) -> bool:
    return not len(frame.head(1).collect(backend="polars"))


def _before(day: str, settings: Settings) -> str:
    """The day whose candidates the examples of a day are."""
    return (date.fromisoformat(day) - timedelta(days=settings.horizon_days)).isoformat()


def memory(frame: Frame) -> Frame:
    """The frame, computed."""
    return frame.collect(backend="polars").lazy()


def _expect_equal(ours: Frame, stored: Frame) -> None:
    """Leaving nothing out gives the stored order."""
    both = stored.select(*PAIR, stored="fused_rank").join(ours.select(*PAIR, "fused_rank"), on=PAIR, how="full")
    other = both.filter(~(nw.col("stored") == nw.col("fused_rank")).fill_null(False))
    if count := len(other.collect(backend="polars")):
        raise AssertionError(f"{count} candidates have another fused rank than the stored ones")
