"""Judge every contender on the same users, and decide who orders the recommendations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.contracts import RANKER_EVALUATION, IdTypes, arrow_schema, generators_in
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import Interval, intervals, paired_difference
from recsys_assets.core.evaluation.evaluator import Evaluator, Lists
from recsys_assets.core.evaluation.metrics import Floats, Ints, novelty, per_user
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K, Gain, gain_of, together

LEARNED = ("ranker", "champion")
"""The contenders that are models: the one trained as of the day, and the one that stood before it."""

FINAL_LISTS = "final"
"""The final lists of the window, with the rules of lists kept: no contender, but what people would have been shown."""

OVER_CHAMPION = "ndcg_gain_over_champion"

_DECIMALS = 12
"""Figures are rounded here, so that the order in which a linear algebra library adds does not show in the file."""


def lists_from_candidates(candidates: Frame) -> dict[str, Frame]:
    """The lists of the contenders that need no model: ``fused`` and each generator by its own rank.

    Args:
        candidates: frame of contract CANDIDATES.

    Returns:
        Per contender a frame of user_id, item_id, rank; a generator's lists hold only what it proposed.
    """
    generators = generators_in(candidates.collect_schema().names())
    return {
        name: candidates.filter(~nw.col(f"{name}_rank").is_null()).select(
            "user_id", "item_id", rank=nw.col(f"{name}_rank")
        )
        for name in ("fused", *generators)
    }


def evaluate(
    lists: Mapping[str, Frame],
    targets: Frame,
    users: Frame | None,
    popularity: Frame,
    catalogue_size: int,
    ks: tuple[int, ...] = (10, 20),
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pa.Table:
    """Metrics of all contenders on the same users, with intervals on the same resamples.

    Args:
        lists: contender to user_id, item_id, rank, all on one engine; see :func:`lists_from_candidates`.
        targets: user_id, item_id of the target events of the window that is judged.
        users: user_id of those who had candidates; None judges every user with a target.
        popularity: what :func:`recsys_assets.core.evaluation.evaluator.popularity` gives.
        catalogue_size: items that could have been recommended, for coverage.
        ks: lengths of the lists.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        level: of the intervals; higher where the model was picked among several on this very window.

    Returns:
        Table of contract RANKER_EVALUATION, sorted by its key. Beside the metrics at each k:
        ``candidate_recall`` of each generator and, as ``fused``, of their union: the share of all targets that is
        among the candidates, with k the longest list; ``ndcg_gain``, paired, of the best single generator over
        ``fused``, and of each model over its rival (see :func:`choose`); ``ndcg_gain_over_champion`` of the ranker.
    """
    return evaluate_lists(Evaluator(targets, popularity, users), lists, catalogue_size, ks, resamples, seed, level)


def evaluate_lists(
    evaluator: Evaluator,
    lists: Mapping[str, Frame],
    catalogue_size: int,
    ks: tuple[int, ...] = (10, 20),
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pa.Table:
    """What :func:`evaluate` does, with a judge who is there already."""
    rows: list[tuple[str, str, int]] = []
    values: list[Floats] = []
    per: list[Floats] = []
    plain: list[tuple[str, str, int, float]] = []
    decisive: dict[str, Floats] = {}
    ones = np.ones(len(evaluator.targets))

    def add(model: str, metric: str, k: int, column: Floats, divisor: Floats = ones) -> None:
        rows.append((model, metric, k))
        values.append(column)
        per.append(divisor)

    for model in sorted(lists):
        read = evaluator.read(lists[model], max(*ks, DECISIVE_K))
        for k in ks:
            for metric, column in measured(read, evaluator.targets, k).items():
                add(model, metric, k, column)
            plain.append((model, "coverage", k, read.coverage(k, catalogue_size)))
        if model not in (*LEARNED, FINAL_LISTS):
            longest = max(1, read.longest)
            add(model, "candidate_recall", longest, read.found.astype(np.float64), evaluator.targets.astype(np.float64))
        decisive[model] = per_user(read.hits, evaluator.targets, DECISIVE_K)["ndcg"]
    best = best_generator({model: float(column.mean()) if len(column) else 0.0 for model, column in decisive.items()})
    baseline = best or "fused"
    if best and "fused" in decisive:
        gain = decisive[best] - decisive["fused"]
        add(best, "ndcg_gain", DECISIVE_K, gain)
        over_fused = paired_difference(decisive[best], decisive["fused"], resamples, seed, level)
        baseline = best if over_fused.low > 0 else "fused"
    for model in LEARNED:
        if model in decisive and baseline in decisive:
            add(model, "ndcg_gain", DECISIVE_K, decisive[model] - decisive[baseline])
    if decisive.keys() >= set(LEARNED):
        add("ranker", OVER_CHAMPION, DECISIVE_K, decisive["ranker"] - decisive["champion"])
    bounds = intervals(np.stack(values, axis=1), np.stack(per, axis=1), resamples, seed, level) if values else []
    return evaluation_table(
        [(*key, bound) for key, bound in zip(rows, bounds, strict=True)], plain, len(evaluator.targets)
    )


def best_generator(ndcg: Mapping[str, float]) -> str | None:
    """The single generator with the best mean NDCG; of equals, the first by name."""
    singles = [model for model in ndcg if model not in (*LEARNED, FINAL_LISTS, "fused")]
    return min(singles, key=lambda model: (-round(ndcg[model], _DECIMALS), model), default=None)


@dataclass(frozen=True)
class Decision:
    """Who orders the recommendations, and why.

    Attributes:
        order_by: 'ranker', 'fused' or a generator.
        baseline: what the model had to beat; None where nothing was judged.
        gain: mean paired difference of NDCG@10, model minus rival; None without a judged model. Of this window, or of
            this one and earlier ones where that decided.
        low: lower bound of its 95 % interval.
        high: upper bound of its 95 % interval.
        users: users judged, on the windows that the gain is of.
        why: one sentence for people.
    """

    order_by: str
    baseline: str | None
    gain: float | None
    low: float | None
    high: float | None
    users: int
    why: str


def choose(
    evaluation: pa.Table | None, min_users: int = 30, model: str = "ranker", earlier: Sequence[Gain] = ()
) -> Decision:
    """Decide who orders the recommendations.

    The fused generators do, unless something beat them: the best single generator, and then the model against
    whichever of the two stands. To beat is to have the whole 95 % interval of the paired difference of NDCG@10 above
    zero: on this window; or, where that leaves it open, on this and earlier windows together, as long as the model is
    ahead on this one. A mean alone would change its mind with every handful of users, and the fusion is the safest of
    all to keep.

    Args:
        evaluation: table of contract RANKER_EVALUATION with k = 10; None or empty if there was none.
        min_users: with fewer users judged, figures say too little and the fused generators are used.
        model: which model could order them: the ``ranker`` of the day or the ``champion`` before it.
        earlier: what rankers gained on earlier windows, which share no target with this one or each other.
    """
    found = evaluation.to_pylist() if evaluation is not None else []
    at = [row for row in found if row["k"] == DECISIVE_K]
    ndcg = {row["model"]: row["value"] for row in at if row["metric"] == "ndcg" and row["value"] is not None}
    users = max((row["users"] for row in found), default=0)
    best = best_generator(ndcg)
    if evaluation is None or not set(ndcg) - set(LEARNED):
        return Decision("fused", None, None, None, None, users, "nothing was judged yet, so the fused generators order")
    over_fused = gain_of(evaluation, best) if best else None
    baseline = best if best and ("fused" not in ndcg or (over_fused and over_fused.low > 0)) else "fused"
    today = gain_of(evaluation, model)
    if today is None and users >= min_users:
        why = f"there is no {model}, and {baseline} stands with NDCG@10 {ndcg[baseline]:.4f} over {users} users"
        return Decision(baseline, baseline, None, None, None, users, why)
    alone = today is not None and users >= min_users and today.low > 0
    gain = today if today is None or alone or not earlier else together([today, *earlier])
    evaluated = gain.users if gain else users
    figures = (gain.value, gain.low, gain.high) if gain else (None, None, None)
    if today is None or gain is None or evaluated < min_users:
        why = f"only {evaluated} users could be judged and {min_users} are needed, so the fused generators order"
        return Decision("fused", baseline, *figures, evaluated, why)
    won = today.value > 0 and gain.low > 0
    windows = "" if gain is today else f", on {1 + len(earlier)} windows"
    why = (
        f"the {model} {'beat' if won else 'did not beat'} {baseline} in NDCG@10: {ndcg[model]:.4f} against "
        f"{ndcg[baseline]:.4f}, difference{windows} {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] "
        f"over {gain.users} users"
    )
    return Decision(
        "ranker" if won else baseline if users >= min_users else "fused", baseline, *figures, evaluated, why
    )


def measured(read: Lists, targets: Ints, k: int) -> dict[str, Floats]:
    """Every metric at k that each user has a value of, [users] each; NaN where it is not defined."""
    return {**per_user(read.hits, targets, k), "novelty": novelty(read.self_information, k)}


def evaluation_table(
    bounded: list[tuple[str, str, int, Interval]], plain: list[tuple[str, str, int, float]], users: int
) -> pa.Table:
    """Rows of contract RANKER_EVALUATION, sorted by its key; NaN becomes null.

    Args:
        bounded: model, metric, k and figure with its interval.
        plain: model, metric, k and a figure without one.
        users: users judged.
    """

    def figure(value: float) -> float | None:
        return None if math.isnan(value) else round(value, _DECIMALS)

    rows = [(*key, figure(bound.mean), figure(bound.low), figure(bound.high), users) for *key, bound in bounded]
    rows += [(*key, figure(value), None, None, users) for *key, value in plain]
    schema = arrow_schema(RANKER_EVALUATION, IdTypes())
    ordered = sorted(rows, key=lambda row: row[:3])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in ordered], schema=schema)
