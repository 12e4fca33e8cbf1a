"""Parameters of matrix factorization, on tastes that change: only what is fresh says what comes next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets.core.models.als import AlsFitParams
from recsys_assets.core.retrieval.params import RetrievalParams, SearchResult, als_values, with_values
from recsys_assets.core.retrieval.protocol import FitContext
from recsys_assets.core.retrieval.tune_als import recall, tune_als
from recsys_assets.core.tuning.study import Budget, Search
from recsys_assets_tests.core.world import ENGINE, fit_context_at

AFTER = date(2020, 3, 1)
END = date(2020, 3, 8)
BASE = AlsFitParams(factors=4, iterations=3, half_life=400.0, num_threads=1)


def activity(seed: int = 0) -> pl.DataFrame:
    """Users who liked one group of items for long, another one lately, and stay with that after ``AFTER``."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(120):
        old, new = user % 4, (user // 4) % 4
        for group, days, times in ((old, range(60, 30, -2), 1), (new, range(6, 0, -1), 1), (new, range(0, -6, -1), 1)):
            for back in days:
                items = {int(rng.integers(12)) * 4 + group for _ in range(times)}
                rows += [(user, item, AFTER - timedelta(days=back)) for item in sorted(items)]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "dt"], orient="row").unique(maintain_order=True)
    last = pl.col("dt").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=1)
    weight, targets = pl.lit(1.0), (pl.col("dt") > AFTER).cast(pl.Int64)
    return frame.with_columns(
        weight=weight, top_weight=weight, events=pl.lit(1), targets=targets, days=pl.lit(1), last_ts=last
    )


def known(frame: pl.DataFrame) -> FitContext:
    frames = {"user_activity": ENGINE.from_arrow(frame.to_arrow())}
    return fit_context_at(END, frames, active_days=14, horizon_days=7, half_life=BASE.half_life, k=8)


def search(content: str, trials: int = 6) -> Search:
    return Search(f"als {content}", Budget(trials), seed=1)


def tuned(frame: pl.DataFrame, running: Callable[[str], Search] = search, min_users: int = 20) -> SearchResult:
    return tune_als(known(frame), AFTER, BASE, "2020-03-15", running, min_users)


def test_a_short_half_life_is_found_for_changing_tastes() -> None:
    frame = activity()
    found = tuned(frame)
    assert found.trials[0].params == als_values(BASE)
    assert found.facts["recall_after"] > found.facts["recall_before"] + 0.05
    assert found.values["half_life"] < BASE.half_life
    assert (found.facts["users"], found.tuned_on) == (120, "2020-03-15")
    assert als_values(with_values(BASE, found.values)) == found.values
    both = RetrievalParams(found, SearchResult({"popular": 1.0}), SearchResult({"ials": 1.0}))
    assert RetrievalParams.from_json(both.to_json()) == both
    with pytest.raises(ValueError, match="retrieval_params: not the JSON"):
        RetrievalParams.from_json('{"als": {}}')


def test_the_same_activity_gives_the_same_parameters_and_another_one_another_study() -> None:
    frame = activity()
    names: list[str] = []

    def noted(content: str) -> Search:
        names.append(content)
        return search(content, 2)

    assert tuned(frame, noted) == tuned(frame.sample(fraction=1, shuffle=True, seed=1), noted)
    tuned(frame.filter(pl.col("item_id") != 3), noted)
    assert names[0] == names[1] != names[2]
    few = tuned(frame.filter(pl.col("user_id") < 10))
    assert (few.values, few.trials) == (als_values(BASE), ())


def test_recall_is_the_share_of_a_users_targets_in_the_users_list() -> None:
    targets = pa.table({"user_id": [1, 1, 2, 3], "item_id": [10, 11, 10, 12]})
    lists = pa.table({"user_id": [1, 1, 2, 9], "item_id": [10, 99, 11, 12]})
    assert recall(lists, targets, pa.array([1, 2, 3])) == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert recall(lists.slice(0, 0), targets, pa.array([1, 2, 3])) == 0
    text = pa.schema([("user_id", "string"), ("item_id", "string")])
    assert recall(lists.cast(text), targets.cast(text), pa.array(["1", "2", "3"])) == pytest.approx(1 / 6)
