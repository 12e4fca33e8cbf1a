"""Rankers of earlier windows, each trained on the others: one window alone shows little of a ranker.

A ranker that learned from the windows before an earlier one alone had a fraction of the examples that the newest one
has, and says little of it: on generated ratings with seven earlier windows, such rankers were level with the best
generator (-.0004 on average of three days). The rankers that served were ahead by .0057, of which those that leave one
window out showed .0038. Windows share no label, and features name no user or item, so later windows tell a ranker
nothing of an earlier one's labels. What changes with time, the newest window shows: no ranker learns from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import narwhals as nw

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.evaluation.window import Contest, collect_window, disjoint_windows
from recsys_assets.core.ranking.examples import collect_training_rows
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.core.ranking.split import NotEnoughExamples

ENOUGH_USERS, LEAST_WINDOWS = 500, 2
"""Earlier windows are taken from the newest back until they have so many users together, and at least so many windows:
each takes a training, which is cheap where a window has few users."""


def earlier_contests(
    engine: Engine,
    days: Sequence[str],
    scan: Callable[[Sequence[str]], Frame],
    activity: Frame,
    horizon: int,
    params: RankerParams,
    ids: IdTypes,
    fused: Callable[[Frame, str], Frame],
) -> list[Contest]:
    """Contests on the windows before the newest one; the ranker of each learned from the others, without the newest.

    The parameters are those of the newest ranker, which were chosen on these windows too: a small advantage over the
    parameters that would have been chosen then. So the newest window, which nothing was chosen on, has to agree.

    Args:
        engine: where the frames run.
        days: of the examples that there are, the newest last; day E has the labels of (E-h, E].
        scan: gives the examples of some days, with ``dt``.
        activity: USER_ACTIVITY with ``dt``, up to the newest day.
        horizon: h.
        params: of the rankers.
        ids: the data set's id types.
        fused: gives the candidates of a window, named by its day, with the fused ranks of the weights in force, but for
            what the window told of them. The stored ranks are by weights of then, which are gone. Rankers score the
            stored candidates.

    Returns:
        The oldest window first; none where there is a single one. A window beside which there are too few examples has
        no ranker.
    """
    windows = disjoint_windows(days, horizon)[:-1]
    contests: list[Contest] = []
    users = 0
    if len(windows) < 2:
        return contests
    for at in reversed(range(len(windows))):
        if users >= ENOUGH_USERS and len(contests) >= LEAST_WINDOWS:
            break
        end = date.fromisoformat(windows[at])
        candidates = scan([windows[at]]).drop("dt")
        known = activity.filter(nw.col("dt") <= end)
        window = collect_window(candidates, known, end - timedelta(days=horizon))
        try:
            model = train(collect_training_rows(scan([*windows[:at], *windows[at + 1 :]])), params).model
            scores = {"ranker": score_candidates(engine, candidates, model, ids)}
        except NotEnoughExamples:
            scores = {}
        contests.append(Contest(window, fused(candidates, windows[at]), scores))
        users += len(window.evaluator.targets)
    return contests[::-1]
