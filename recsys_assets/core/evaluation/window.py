"""Judge what was known at the end of one day by what happened after it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.evaluation.compare import evaluate, lists_from_candidates
from recsys_assets.core.evaluation.judge import popularity
from recsys_assets.core.frames import dense_rank
from recsys_assets.engines.base import Frame

_PAIR = ["user_id", "item_id"]


def evaluate_window(
    candidates: Frame, activity: Frame, cut: date, scores: Mapping[str, Frame], seed: int = 0, level: float = 0.95
) -> pa.Table:
    """Every contender on the target events after a cut (``RANKER_EVALUATION``).

    Args:
        candidates: frame with the columns of contract CANDIDATES as of day ``cut``; at least of users with a target.
        activity: USER_ACTIVITY with ``dt``: days up to ``cut`` say what was known, later days hold the targets.
        cut: the last day that the contenders know.
        scores: user_id, item_id, score of the candidates by each model that there is.
        seed: of the bootstrap.
        level: of the intervals.
    """
    known = activity.filter(nw.col("dt") <= cut)
    lists = lists_from_candidates(candidates)
    for model, scored in scores.items():
        lists[model] = dense_rank(scored, ["user_id"], "score", ["item_id"])
    catalogue = known.select(nw.col("item_id").n_unique().fill_null(0).alias("items")).collect(backend="polars")
    return evaluate(
        lists,
        targets_after(activity, cut),
        candidates.select("user_id").unique(),
        popularity(known.select(*_PAIR)),
        int(catalogue.item()),
        seed=seed,
        level=level,
    )


def targets_after(activity: Frame, cut: date) -> Frame:
    """Who had a target event with what after a day: distinct user_id, item_id."""
    return activity.filter((nw.col("dt") > cut) & (nw.col("targets") > 0)).select(*_PAIR).unique()
