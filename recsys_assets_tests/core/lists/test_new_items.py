"""The quota of new items, against lists that are built place by place."""

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


def candidates_and_scores(ids: IdTypes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates, a fifth of them new (none of user 1, all of user 2; some of unknown age), and scores that rank new
    items behind most others.
    """
    table, _ = synthetic.candidates(USERS, ITEMS, ids=ids)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    number = pl.int_range(pl.len()).over("user_id")
    user = pl.col("user_id").rank("dense")
    age = pl.when(number * 7 % 11 < 2).then(DAYS).when(number % 13 == 0).then(None).otherwise(DAYS + 1)
    age = pl.when(user == 1).then(DAYS + 1).when(user == 2).then(1).otherwise(age)
    frame = frame.with_columns(item_days_known=age.cast(pl.Float32))
    late = pl.when(pl.col("item_days_known") <= DAYS).then(30).otherwise(0)
    return frame, frame.select("user_id", "item_id", score=(number * 37 % 59 - late).cast(pl.Float64) - user * 0.01)


def lists(ids: IdTypes, k: int, quota: NewItemQuota | None) -> dict[int | str, pl.DataFrame]:
    frame, scores = candidates_and_scores(ids)
    policy = RerankingPolicy(new=quota) if quota else None
    features = ENGINE.from_arrow(arrow_schema(ITEM_FEATURES, ids).empty_table())
    candidates, scored = (ENGINE.from_arrow(table.to_arrow()) for table in (frame, scores))
    recommended = recommend(candidates, "ranker", scored, k, policy, features)
    rows = recommended.collect().to_native().sort("user_id", "rank")
    rows.with_columns(generator=pl.lit("covisit")).to_arrow().cast(arrow_schema(RECOMMENDATIONS, ids))
    return {user: of_user for (user,), of_user in rows.group_by("user_id", maintain_order=True)}


@pytest.mark.parametrize("ids", [IdTypes(), IdTypes("string", "string")])
@pytest.mark.parametrize(("quota", "k"), [(0.1, 30), (0.3, 20), (0.25, 7), (1.0, 5), (0.05, 10), (0.07, 100)])
def test_lists_equal_those_built_place_by_place(ids: IdTypes, quota: float, k: int):
    frame, _ = candidates_and_scores(ids)
    fresh = set(frame.filter(pl.col("item_days_known") <= DAYS).select("user_id", "item_id").rows())
    plain, whole, with_quota = lists(ids, k, None), lists(ids, 100, None), lists(ids, k, NewItemQuota(quota, DAYS))
    moved_anywhere = 0
    for user, rows in with_quota.items():
        expected, left = [], whole[user]["item_id"].to_list()
        for place in range(1, min(k, len(left)) + 1):
            missing = floor(place * quota + 1e-9) - sum((user, item) in fresh for item in expected)
            new = [item for item in left if (user, item) in fresh]
            expected.append(new[0] if missing > 0 and new else left[0])
            left.remove(expected[-1])
        assert rows["item_id"].to_list() == expected
        assert rows["rank"].to_list() == list(range(1, len(expected) + 1))
        assert rows["score"].is_sorted(descending=True)
        moved_up = set(expected) - set(plain[user]["item_id"])
        assert len(moved_up) <= floor(k * quota + 1e-9)
        moved_anywhere += expected != plain[user]["item_id"].to_list()
    assert moved_anywhere or k * quota < 1
    without_new, all_new = list(with_quota)[:2]
    for user in (without_new, all_new):
        assert with_quota[user].equals(plain[user]), "without new items, and with no others, there is nothing to move"


def test_no_quota_changes_nothing():
    assert all(
        rows.equals(lists(IdTypes(), 30, None)[user]) for user, rows in lists(IdTypes(), 30, NewItemQuota()).items()
    )
