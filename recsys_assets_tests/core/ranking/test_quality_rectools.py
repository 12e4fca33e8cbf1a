"""RecTools' two-stage model, beside which the benchmark judges released lists: lists for everybody, by the rules."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from benchmarks.quality_rectools import two_stage

CUT, DAYS = date(2011, 9, 1), 28


def purchases(users: int = 40, items: int = 120) -> pl.DataFrame:
    """Everybody buys within their third of the shop, half of the time what they bought before."""
    rng = np.random.default_rng(0)
    rows: list[tuple[int, str, datetime]] = []
    for user in range(users):
        mine = rng.choice(np.arange(user % 3, items, 3), 6, replace=False)
        for age in range(1, 200, 7):
            item = rng.choice(mine) if rng.random() < 0.5 else rng.choice(np.arange(user % 3, items, 3))
            rows.append((user, f"i{item}", datetime(2011, 9, 1) - timedelta(days=age)))
    return pl.DataFrame(rows, schema=["user_id", "item_id", "ts"], orient="row")


@pytest.mark.parametrize("repeats", [True, False])
def test_everybody_has_a_list_and_only_where_repeats_count_does_it_hold_what_was_bought(repeats: bool) -> None:
    known = purchases()

    lists = two_stage(known, CUT, DAYS, repeats)

    assert set(lists["user_id"]) == set(known["user_id"])
    ranks = lists.group_by("user_id").agg(rank=pl.col("rank").sort())["rank"].to_list()
    assert all(one == list(range(1, len(one) + 1)) for one in ranks)
    assert lists.unique(["user_id", "item_id"]).height == lists.height
    bought = lists.join(known, on=["user_id", "item_id"], how="semi")
    assert (bought.height > 0) == repeats
    first = lists.filter(pl.col("rank") <= 5)
    own = first["item_id"].str.slice(1).cast(pl.Int64) % 3 == first["user_id"] % 3
    assert own.sum() > 0.9 * len(own)  # from their third of the shop
