"""The rules of lists against the greedy choice that they stand for, made item by item."""

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

    def lists(self, rules: RerankingPolicy | None, order_by: str = "ranker", k: int = 100) -> Lists:
        found = self.rows(rules, order_by, k)
        return {user: mine["item_id"].to_list() for (user,), mine in found.group_by("user_id", maintain_order=True)}

    def rows(self, rules: RerankingPolicy | None, order_by: str = "ranker", k: int = 100) -> pl.DataFrame:
        got = recommend(self.candidates, order_by, self.scores, k, rules, self.features)
        return got.collect(backend="polars").to_native().sort("user_id", "rank")

    def like(self, one: Any, other: Any) -> float:
        mine, theirs = self.tree.get(one), self.tree.get(other)
        if mine is None or theirs is None:
            return 0.0
        return 1.0 if mine[0] == theirs[0] else 0.5 if mine[1] == theirs[1] else 0.0

    def chosen(self, user: Any, order: list[Any], rules: RerankingPolicy) -> list[Any]:
        """Item by item, as maximal marginal relevance is stated."""
        left = [item for item in order if not (rules.exclude_purchased and (user, item) in self.purchased)]
        place = {item: n + 1 for n, item in enumerate(left)}
        found: list[Any] = []
        while left:
            nearest = {item: max((self.like(item, other) for other in found), default=0.0) for item in left}
            value = {i: 10 / (9 + place[i]) * (1 - rules.diversity) - nearest[i] * rules.diversity for i in left}
            found.append(min(left, key=lambda item: (-value[item], place[item])))
            left.remove(found[-1])
        held: dict[str, int] = {}
        kept = []
        for item in found:
            category = self.tree[item][0] if item in self.tree else None
            if category is not None:
                held[category] = held.get(category, 0) + 1
            if category is None or not rules.category_cap or held[category] <= rules.category_cap:
                kept.append(item)
        return kept


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


ALL = RerankingPolicy(exclude_purchased=True, purchased_from=0.7, category_cap=2, diversity=0.2)
RULES = {
    "bought": RerankingPolicy(exclude_purchased=True, purchased_from=0.7),
    "cap": RerankingPolicy(category_cap=1),
    "vary a little": RerankingPolicy(diversity=0.1),
    "vary": RerankingPolicy(diversity=0.35),
    "nothing but variety": RerankingPolicy(diversity=1.0),
    "all": ALL,
}


@pytest.mark.parametrize("ids", [INTS, STRINGS])
@pytest.mark.parametrize("named", RULES)
def test_lists_are_those_of_the_choice_item_by_item(named: str, ids: IdTypes):
    shop, rules = Shop(ids), RULES[named]
    for order_by in ("ranker", "repeat"):
        plain, ruled = (shop.lists(kept, order_by) for kept in (None, rules))
        assert ruled == {user: shop.chosen(user, order, rules) for user, order in plain.items()}
        assert ruled != plain, "the rules had something to do"


@pytest.mark.parametrize("order_by", ["ranker", "fused", *BUILT_IN.names])
def test_lists_stay_lists(shop: Shop, order_by: str):
    """Dense, full where enough is left, falling in score, and of the winner or the fusion as before."""
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


def test_rules_that_ask_for_nothing_change_nothing(shop: Shop):
    plain = shop.rows(None)
    assert shop.rows(RerankingPolicy(purchased_from=0.7)).equals(plain)
    loose = RerankingPolicy(exclude_purchased=True, purchased_from=2.0, category_cap=EACH)
    assert shop.rows(loose).equals(plain), "nothing was bought, and no category is as large"
    without = Shop(categories=False)
    assert without.rows(replace(ALL, exclude_purchased=False)).equals(without.rows(None)), (
        "unknown categories are alike to none"
    )


def test_variety_grows_with_the_setting(shop: Shop):
    """For each user the number of categories in the first places; over all users, how unlike two items are."""
    settings = [0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
    found = [shop.lists(RerankingPolicy(diversity=value), k=10) for value in settings]
    for user in found[0]:
        many = [len({shop.tree.get(item, (item,))[0] for item in lists[user]}) for lists in found]
        assert many == sorted(many)
    likeness = [
        sum(shop.like(a, b) for items in lists.values() for n, a in enumerate(items) for b in items[:n])
        for lists in found
    ]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[-1] < 0.7 * likeness[0]


def test_no_candidate_is_lost_by_reordering(shop: Shop):
    plain, varied = shop.lists(None), shop.lists(RerankingPolicy(diversity=0.3))
    assert {user: sorted(items) for user, items in plain.items()} == {u: sorted(i) for u, i in varied.items()}


def test_rules_without_features_are_named(shop: Shop):
    with pytest.raises(ValueError, match="policy needs the items' features"):
        recommend(shop.candidates, "fused", policy=ALL)
