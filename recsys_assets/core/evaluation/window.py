"""Evaluate what was recommended as of one day on what happened after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.compare import PickBaseline, evaluate_lists, lists_from_candidates
from recsys_assets.core.evaluation.evaluator import Evaluator, popularity
from recsys_assets.core.frames import dense_rank

_PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class Window:
    """The users and targets after a day, and how many items could have been recommended by then."""

    evaluator: Evaluator
    catalogue_size: int


def collect_window(users: Frame, activity: Frame, cut: date) -> Window:
    """Collect once what every evaluation on one window needs.

    Args:
        users: user_id of those who had candidates as of day ``cut``.
        activity: USER_ACTIVITY with ``dt``: days up to ``cut`` give popularity and catalogue, later days the targets.
        cut: the last day whose events the contenders may use.
    """
    past = activity.filter(nw.col("dt") <= cut)
    catalogue = past.select(nw.col("item_id").n_unique().fill_null(0).alias("items")).collect(backend="polars")
    evaluator = Evaluator(
        targets_after(activity, cut), popularity(past.select(*_PAIR)), users.select("user_id").unique()
    )
    return Window(evaluator, int(catalogue.item()))


@dataclass(frozen=True)
class Contest:
    """Who contends on a window: the generators and their fusion by their candidates, models by their scores.

    Attributes:
        window: of the users of these candidates.
        candidates: frame with the columns of contract CANDIDATES as of the cut; at least of users with a target.
        scores: user_id, item_id, score of the candidates by each model that there is.
    """

    window: Window
    candidates: Frame
    scores: Mapping[str, Frame]

    def evaluate(self, seed: int, level: float, pick_baseline: PickBaseline) -> pa.Table:
        """See :func:`evaluate_window`."""
        return evaluate_window(
            self.window, self.candidates, self.scores, seed, level=level, pick_baseline=pick_baseline
        )


def evaluate_window(
    window: Window,
    candidates: Frame,
    scores: Mapping[str, Frame],
    seed: int = 0,
    *,
    level: float,
    pick_baseline: PickBaseline,
) -> pa.Table:
    """Every contender on the target events after a cut (``RANKER_EVALUATION``).

    Args:
        window: of the users of these candidates.
        candidates: frame with the columns of contract CANDIDATES as of the cut; at least of users with a target.
        scores: user_id, item_id, score of the candidates by each model that there is.
        seed: of the bootstrap.
        level: of the intervals.
        pick_baseline: the rule that picks what models are compared with (``core.gate``).
    """
    lists = lists_from_candidates(candidates)
    for model, scored in scores.items():
        lists[model] = dense_rank(scored, ["user_id"], "score", ["item_id"])
    return evaluate_lists(
        window.evaluator, lists, window.catalogue_size, seed=seed, level=level, pick_baseline=pick_baseline
    )


def targets_after(activity: Frame, cut: date) -> Frame:
    """The target events after a day: distinct user_id, item_id."""
    return activity.filter((nw.col("dt") > cut) & (nw.col("targets") > 0)).select(*_PAIR).unique()


def disjoint_windows(days: Sequence[str], horizon: int) -> list[str]:
    """The days whose windows (day - horizon, day] share no label: the newest, then each at least a horizon older.

    Args:
        days: ``YYYY-MM-DD``, in any order.
        horizon: days.

    Returns:
        Those days, ascending.
    """
    picked: list[str] = []
    for day in sorted(days, reverse=True):
        if not picked or date.fromisoformat(day) <= date.fromisoformat(picked[-1]) - timedelta(days=horizon):
            picked.append(day)
    return picked[::-1]
