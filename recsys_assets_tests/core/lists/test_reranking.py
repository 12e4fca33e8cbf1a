"""The re-ranking policy against the greedy choice that defines it, item by item."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from recsys_assets.core.contracts import ITEM_FEATURES, IdTypes
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.lists.recommend import recommend
from recsys_assets.core.lists.reranking import RerankingPolicy
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets_tests.core.ranking import synthetic
from recsys_assets_tests.core.world import INTS, STRINGS, frame

ENGINE = PolarsEngine()
USERS, EACH = 25, 30
Category = tuple[str, str]
Lists = dict[Any, list[Any]]


class Shop:
    """Users with candidates, three in ten of them bought; items of a tree, of an orphan, of no category, unknown."""

    def __init__(self, ids: IdTypes = INTS, categories: bool = True) -> None:
        table, _ = synthetic.candidates(USERS, EACH, seed=3, ids=ids)
        self.candidates = ENGINE.from_arrow(table)
        rows = pl.DataFrame(table)
        self.scores = ENGINE.from_arrow(
            rows.select("user_id", "item_id", score=pl.col("item_price").round(1)).to_arrow()
        )
        self.purchased = set(rows.filter(pl.col("ui_top_weight") >= 0.7).select("user_id", "item_id").rows())
        rng = random.Random(4)
        self.tree: dict[Any, Category] = {}
        features = []
        for item in sorted(set(rows["item_id"])):
            number = rng.choice([0, 1, 2, 3, 4, 5, 5, 5, 6, None])
            if rng.random() < 0.1:
                continue
            category = None if number is None or not categories else f"c{number}"
            root = None if category is None or number == 6 else f"r{(number or 0) % 3}"
            if category is not None:
                self.tree[item] = (category, root or category)
            features.append({"item_id": item, "category_id": category, "root_id": root})
        self.features = frame(features, ITEM_FEATURES, ids, day=False)

    def lists(self, policy: RerankingPolicy | None, order_by: str = "ranker", k: int = 100) -> Lists:
        rows = self.rows(policy, order_by, k)
        return {user: mine["item_id"].to_list() for (user,), mine in rows.group_by("user_id", maintain_order=True)}

    def rows(self, policy: RerankingPolicy | None, order_by: str = "ranker", k: int = 100) -> pl.DataFrame:
        recommended = recommend(self.candidates, order_by, self.scores, k, policy, self.features)
        return recommended.collect(backend="polars").to_native().sort("user_id", "rank")

    def like(self, one: Any, other: Any) -> float:
        mine, theirs = self.tree.get(one), self.tree.get(other)
        if mine is None or theirs is None:
            return 0.0
        return 1.0 if mine[0] == theirs[0] else 0.5 if mine[1] == theirs[1] else 0.0

    def chosen(self, user: Any, order: list[Any], policy: RerankingPolicy) -> list[Any]:
        """The list by the definition of maximal marginal relevance, item by item."""
        left = [item for item in order if not (policy.exclude_purchased and (user, item) in self.purchased)]
        place = {item: n + 1 for n, item in enumerate(left)}
        ordered: list[Any] = []
        while left:
            nearest = {item: max((self.like(item, other) for other in ordered), default=0.0) for item in left}
            value = {i: 10 / (9 + place[i]) * (1 - policy.diversity) - nearest[i] * policy.diversity for i in left}
            ordered.append(min(left, key=lambda item: (-value[item], place[item])))
            left.remove(ordered[-1])
        per_category: dict[str, int] = {}
        capped = []
        for item in ordered:
            category = self.tree[item][0] if item in self.tree else None
            if category is not None:
                per_category[category] = per_category.get(category, 0) + 1
            if category is None or not policy.category_cap or per_category[category] <= policy.category_cap:
                capped.append(item)
        return capped


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


ALL = RerankingPolicy(exclude_purchased=True, purchased_from=0.7, category_cap=2, diversity=0.2)
POLICIES = {
    "bought": RerankingPolicy(exclude_purchased=True, purchased_from=0.7),
    "cap": RerankingPolicy(category_cap=1),
    "vary a little": RerankingPolicy(diversity=0.1),
    "vary": RerankingPolicy(diversity=0.35),
    "nothing but variety": RerankingPolicy(diversity=1.0),
    "all": ALL,
}


@pytest.mark.parametrize("ids", [INTS, STRINGS])
@pytest.mark.parametrize("named", POLICIES)
def test_lists_equal_the_greedy_choice(named: str, ids: IdTypes):
    shop, policy = Shop(ids), POLICIES[named]
    for order_by in ("ranker", "repeat"):
        plain, reranked = (shop.lists(applied, order_by) for applied in (None, policy))
        assert reranked == {user: shop.chosen(user, order, policy) for user, order in plain.items()}
        assert reranked != plain, "the policy had an effect"


@pytest.mark.parametrize("order_by", ["ranker", "fused", *BUILT_IN.names])
def test_lists_stay_valid(shop: Shop, order_by: str):
    """Dense ranks, full where enough items are left, scores non-increasing, sources unchanged."""
    rows, plain = shop.rows(ALL, order_by, k=8), shop.lists(None, order_by)
    pairs = shop.rows(None, order_by).select("user_id", "item_id", "source").rows()
    sources = {(user, item): source for user, item, source in pairs}
    for (user,), mine in rows.group_by("user_id"):
        allowed = shop.chosen(user, plain[user], ALL)
        assert mine["rank"].to_list() == list(range(1, min(8, len(allowed)) + 1))
        assert mine["score"].is_sorted(descending=True)
        assert [sources[user, item] for item in mine["item_id"]] == mine["source"].to_list()
        assert not {(user, item) for item in mine["item_id"]} & shop.purchased
        categories = [shop.tree[item][0] for item in mine["item_id"] if item in shop.tree]
        assert max(map(categories.count, categories)) <= ALL.category_cap
    assert shop.rows(ALL, order_by, k=8).equals(rows)


def test_a_policy_without_effect_changes_nothing(shop: Shop):
    plain = shop.rows(None)
    assert shop.rows(RerankingPolicy(purchased_from=0.7)).equals(plain)
    loose = RerankingPolicy(exclude_purchased=True, purchased_from=2.0, category_cap=EACH)
    assert shop.rows(loose).equals(plain), "nothing was purchased, and no category is as large"
    without = Shop(categories=False)
    assert without.rows(replace(ALL, exclude_purchased=False)).equals(without.rows(None)), (
        "items without a category are similar to none"
    )


def test_diversity_grows_with_the_setting(shop: Shop):
    """Per user the number of categories in the first places; over all users the dissimilarity of two items."""
    settings = [0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
    results = [shop.lists(RerankingPolicy(diversity=value), k=10) for value in settings]
    for user in results[0]:
        categories = [len({shop.tree.get(item, (item,))[0] for item in lists[user]}) for lists in results]
        assert categories == sorted(categories)
    similarity = [
        sum(shop.like(a, b) for items in lists.values() for n, a in enumerate(items) for b in items[:n])
        for lists in results
    ]
    assert similarity == sorted(similarity, reverse=True)
    assert similarity[-1] < 0.7 * similarity[0]


def test_no_candidate_is_lost_by_reordering(shop: Shop):
    plain, varied = shop.lists(None), shop.lists(RerankingPolicy(diversity=0.3))
    assert {user: sorted(items) for user, items in plain.items()} == {u: sorted(i) for u, i in varied.items()}


def test_a_policy_without_features_is_an_error(shop: Shop):
    with pytest.raises(ValueError, match="policy needs the items' features"):
        recommend(shop.candidates, "fused", policy=ALL)
