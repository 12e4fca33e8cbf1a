"""The search for parameters of matrix factorization, by the recall of its own lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa

from recsys_assets.core.ids import lookup
from recsys_assets.core.models.als import AlsFitParams, fit_factors
from recsys_assets.core.ranking.split import held_out
from recsys_assets.core.retrieval.params import SearchResult, als_values, with_values
from recsys_assets.core.retrieval.protocol import FitContext
from recsys_assets.core.tuning.study import Outcome, Search, Tpe, Trial, best_of, content_of

MOST_USERS = 10_000
"""Most users in an evaluation."""


def tune_als(
    context: FitContext,
    after: date,
    base: AlsFitParams,
    day: str,
    search: Callable[[str], Search],
    min_users: int,
) -> SearchResult:
    """Search the parameters with the highest recall on the next horizon.

    Each trial fits on what was known at the end of ``after``. Its value is the mean share of a user's targets after
    that day which are among the ``context.k`` best items; items that the user has interacted with are in the lists if
    repeats are allowed. A fit is one call of the engine, so trials are not pruned.

    Args:
        context: as of the end of the validation window.
        after: the day before the validation window.
        base: the first trial, and all that is not varied.
        day: of the search.
        search: makes the search, given the hash of the data.
        min_users: with fewer users to evaluate, the base stays.
    """
    from recsys_assets.core.retrieval.by_factors import recommend  # SciPy: loading the graph must not take it

    evaluated, targets = _evaluated(context, after)
    if len(evaluated) < max(1, min_users):
        return SearchResult(als_values(base))

    def objective(trial: Trial) -> Outcome:
        params = _suggest(trial, base)
        history = replace(context, half_life=params.half_life).history(after)
        items = fit_factors(context.engine, context.engine.from_arrow(history), params)
        mine = history.filter(pa.array(lookup(history["user_id"], evaluated) >= 0))
        lists = recommend(items, mine, params, context.k, repeats=context.repeats)
        return Outcome(recall(lists, targets, evaluated))

    running = search(content_of(context.history(after)) + content_of(targets))
    records = running.run(objective, Tpe((als_values(base),), startup=max(2, running.budget.trials // 2)))
    best = best_of(records)
    return SearchResult(
        values=dict(best.params),
        trials=tuple(records),
        tuned_on=day,
        study=running.study,
        facts={"users": float(len(evaluated)), "recall_before": records[0].value, "recall_after": best.value},
    )


def recall(lists: pa.Table, targets: pa.Table, users: pa.Array) -> float:
    """Mean over the users of the share of a user's targets that is in the user's list; 0 without a list.

    Args:
        lists: user_id, item_id, each pair once.
        targets: user_id, item_id, each pair once; of each user at least one.
        users: distinct user_id.
    """
    items = targets["item_id"].unique()

    def pairs(table: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        user, item = lookup(table["user_id"], users), lookup(table["item_id"], items)
        code = user * max(1, len(items)) + item
        code[(user < 0) | (item < 0)] = -1
        return code

    target_pairs = pairs(targets)
    hit = np.isin(target_pairs, pairs(lists))
    owner = target_pairs // max(1, len(items))
    hits, sizes = (np.bincount(owner, weights=w, minlength=len(users)) for w in (hit, np.ones(len(hit))))
    return float((hits / sizes).mean())


def _evaluated(context: FitContext, after: date) -> tuple[pa.Array, pa.Table]:
    """The users who were active up to a day and had a target after it, and these targets."""
    targets = context.targets(after)
    acted = targets["user_id"].unique()
    users = acted.filter(pa.array(lookup(acted, context.users(after).combine_chunks()) >= 0))
    if len(users) > MOST_USERS:
        users = users.filter(pa.array(held_out(users.to_pylist(), MOST_USERS / len(users), context.seed)))
    return users, targets.filter(pa.array(lookup(targets["user_id"], users) >= 0))


def _suggest(trial: Trial, base: AlsFitParams) -> AlsFitParams:
    values: dict[str, float] = {
        "factors": trial.suggest_int("factors", max(1, base.factors // 4), 2 * base.factors, log=True),
        "regularization": trial.suggest_float("regularization", 0.01, 100.0, log=True),
        "alpha": trial.suggest_float("alpha", 0.3, 30.0, log=True),
        "half_life": trial.suggest_float("half_life", base.half_life / 4, 4 * base.half_life, log=True),
    }
    return with_values(base, values)
