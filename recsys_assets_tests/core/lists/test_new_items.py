"""The share of lists that is for new items, against a list that is made place by place."""

from __future__ import annotations

from math import floor

import polars as pl
import pytest

from recsys_assets.core.contracts import ITEM_FEATURES, RECOMMENDATIONS, IdTypes, arrow_schema
from recsys_assets.core.lists.new_items import NewItemQuota
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.lists.reranking import RerankingPolicy
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic

ENGINE = PolarsEngine()
USERS, ITEMS, DAYS = 8, 60, 9


def given(ids: IdTypes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates, a fifth of them new (of one user: none; of another: all; of some the age is not known) and scores,
    by which new items stand behind most others.
    """
    table, _ = synthetic.candidates(USERS, ITEMS, ids=ids)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    number = pl.int_range(pl.len()).over("user_id")
    user = pl.col("user_id").rank("dense")
    known = pl.when(number * 7 % 11 < 2).then(DAYS).when(number % 13 == 0).then(None).otherwise(DAYS + 1)
    known = pl.when(user == 1).then(DAYS + 1).when(user == 2).then(1).otherwise(known)
    frame = frame.with_columns(item_days_known=known.cast(pl.Float32))
    late = pl.when(pl.col("item_days_known") <= DAYS).then(30).otherwise(0)
    return frame, frame.select("user_id", "item_id", score=(number * 37 % 59 - late).cast(pl.Float64) - user * 0.01)


def lists(ids: IdTypes, k: int, new: NewItemQuota | None) -> dict[int | str, pl.DataFrame]:
    frame, scores = given(ids)
    rules = RerankingPolicy(new=new) if new else None
    features = ENGINE.from_arrow(arrow_schema(ITEM_FEATURES, ids).empty_table())
    candidates, scored = (ENGINE.from_arrow(one.to_arrow()) for one in (frame, scores))
    found = recommend(candidates, "ranker", scored, k, rules, features)
    rows = found.collect().to_native().sort("user_id", "rank")
    rows.to_arrow().cast(arrow_schema(RECOMMENDATIONS, ids))
    return {user[0]: mine for user, mine in rows.group_by("user_id", maintain_order=True)}


@pytest.mark.parametrize("ids", [IdTypes(), IdTypes("string", "string")])
@pytest.mark.parametrize(("quota", "k"), [(0.1, 30), (0.3, 20), (0.25, 7), (1.0, 5), (0.05, 10), (0.07, 100)])
def test_lists_are_those_made_place_by_place(ids: IdTypes, quota: float, k: int):
    frame, _ = given(ids)
    fresh = set(frame.filter(pl.col("item_days_known") <= DAYS).select("user_id", "item_id").rows())
    plain, whole, explored = lists(ids, k, None), lists(ids, 100, None), lists(ids, k, NewItemQuota(quota, DAYS))
    moved_anywhere = 0
    for user, mine in explored.items():
        wanted, left = [], whole[user]["item_id"].to_list()
        for place in range(1, min(k, len(left)) + 1):
            retry_queue = floor(place * quota + 1e-9) - sum((user, item) in fresh for item in wanted)
            new = [item for item in left if (user, item) in fresh]
            wanted.append(new[0] if retry_queue > 0 and new else left[0])
            left.remove(wanted[-1])
        assert mine["item_id"].to_list() == wanted
        assert mine["rank"].to_list() == list(range(1, len(wanted) + 1))
        assert mine["score"].is_sorted(descending=True)
        come = set(wanted) - set(plain[user]["item_id"])
        assert len(come) <= floor(k * quota + 1e-9)
        moved_anywhere += wanted != plain[user]["item_id"].to_list()
    assert moved_anywhere or k * quota < 1
    none, every = (list(explored)[at] for at in (0, 1))
    for user in (none, every):
        assert explored[user].equals(plain[user]), "without new items, and with no others, there is nothing to move"


def test_no_quota_changes_nothing():
    assert all(
        one.equals(lists(IdTypes(), 30, None)[user]) for user, one in lists(IdTypes(), 30, NewItemQuota()).items()
    )
