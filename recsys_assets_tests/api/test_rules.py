"""Business rules: what always holds of an answer, and what each rule does, by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from recsys_api.expressions import Filters
from recsys_api.rules import PINNED, Candidate, Placed, apply_rules, holds
from recsys_assets.core.placements.rules import BlockRule, BoostRule, BuryRule, CapRule, PinRule, Rule
from recsys_assets.storage.catalogue import KnownItem
from recsys_assets_tests.api.catalogues import AS_OF, catalogue_of, known_items

NOW = int(datetime(2015, 8, 3, 12, tzinfo=UTC).timestamp()) * 1_000_000
RULE: TypeAdapter[Rule] = TypeAdapter(Rule)


def rule(action: str, name: str | None = None, **fields: Any) -> Rule:
    return RULE.validate_python({"name": name or action, "action": action, **fields})


def candidates(*items: int | str) -> list[Candidate]:
    return [Candidate(item, 1.0 / place, "ranker") for place, item in enumerate(items, 1)]


def ids(placed: Sequence[Placed]) -> list[int | str]:
    return [one.candidate.item_id for one in placed]


def shop() -> Filters:
    """Items 1 to 9: 1-3 are shoes, 4-6 hats, 7 and 8 of no category; 9 is not available; prices are the ids."""
    categories = ["shoes"] * 3 + ["hats"] * 3 + [None] * 2 + ["hats"]
    items = [
        KnownItem(n, category, category and "clothes", None, n != 9, float(n), date(2015, 8, n % 3 + 1))
        for n, category in enumerate(categories, 1)
    ]
    return Filters(catalogue_of(items), date(2015, 8, 4))


SHOP = shop()


def applied(rules: Sequence[Rule], *items: int | str, k: int = 10, **options: Any) -> list[int | str]:
    return ids(apply_rules(candidates(*items), rules, SHOP, NOW, k, **options))


def test_a_factor_of_two_takes_an_item_to_half_its_place_and_a_half_to_twice_its_place() -> None:
    assert applied([rule("boost", items=[4], factor=2)], 1, 2, 3, 4, 5) == [1, 2, 4, 3, 5], "2, behind who was there"
    assert applied([rule("boost", items=[4], factor=2.1)], 1, 2, 3, 4, 5) == [1, 4, 2, 3, 5]
    assert applied([rule("bury", items=[2], factor=0.5)], 1, 2, 3, 4, 5) == [1, 3, 2, 4, 5], "4, before who was there"
    both = [rule("boost", "a", filter="price > 3", factor=3), rule("bury", "b", items=[5], factor=0.1)]
    assert applied(both, 1, 2, 3, 4, 5) == [1, 4, 2, 3, 5]


def test_scores_of_sources_play_no_part() -> None:
    odd = [Candidate(1, 1e-9, "als"), Candidate(2, 1e9, "popular"), Candidate(3, -5.0, "fused")]
    placed = apply_rules(odd, [rule("boost", items=[3], factor=10)], SHOP, NOW, 3)
    assert ids(placed) == [3, 1, 2]
    assert placed[0].candidate == odd[2], "score and source stay as they were"


def test_rules_select_by_any_field_and_name_what_they_moved() -> None:
    rules = [
        rule("block", "no hats", filter='category == "hats" and price < 6'),
        rule("boost", "young", filter="age_days < 2", factor=5),
        rule("bury", "dear", filter="price >= 7", factor=0.9),
        rule("pin", "campaign", items=[7], position=2),
    ]
    placed = apply_rules(candidates(*range(1, 9), 77), rules, SHOP, NOW, 10)
    assert {one.candidate.item_id: one.rules for one in placed} == {
        2: ("young",), 7: ("campaign",), 8: ("young", "dear"), 1: (), 3: (), 6: (), 77: (),
    }  # fmt: skip
    assert ids(placed)[1] == 7
    assert ids(placed) == [2, 7, 1, 8, 3, 6, 77]


def test_pins() -> None:
    three = rule("pin", "three", items=[8, 1, 4], position=2)
    assert applied([three], 1, 2, 3, 4) == [2, 8, 1, 4, 3], "in the order of the rule; 8 was no candidate"
    taken = [rule("pin", "first", items=[3], position=1), rule("pin", "second", items=[4], position=1)]
    assert applied(taken, 1, 2, 3, 4) == [3, 4, 1, 2], "the next free place"
    assert applied([*taken, rule("pin", "third", items=[2], position=1)], 1, 2, 3, 4) == [3, 4, 2, 1]
    assert applied([rule("pin", filter="price > 2", position=1)], 1, 2, 3, 4) == [3, 1, 2, 4], "the best that passes"
    assert applied([rule("pin", items=[4], position=4)], 1, 2, 3, 4, k=3) == [1, 2, 3], "beyond the answer"
    assert applied([rule("pin", items=[8], position=9)], 1, 2) == [1, 2, 8], "too few items: it closes up"
    twice = [rule("pin", "a", items=[2, 2], position=1), rule("pin", "b", items=[2], position=3)]
    assert applied(twice, 1, 2, 3) == [2, 1, 3]


def test_a_pin_brings_only_what_can_be_shown() -> None:
    pin = rule("pin", items=[9, 404, 8, 7], position=1)
    assert applied([pin], 1, 2) == [8, 7, 1, 2], "9 is not available, 404 not known"
    assert applied([pin], 1, 2, excluded={8, 2}) == [7, 1]
    assert applied([pin], 1, 2, passing=SHOP.mask("price < 8")) == [7, 1, 2], "8 does not pass the filters"
    placed = apply_rules(candidates(1), [pin], SHOP, NOW, 5)
    assert placed[0] == Placed(Candidate(8, 0.0, PINNED), ("pin",))


def test_block_beats_pin_and_cap_beats_pin() -> None:
    pin = rule("pin", items=[1, 2, 3], position=1)
    assert applied([pin, rule("block", items=[2])], 4, 5, 2) == [1, 3, 4, 5]
    assert applied([pin, rule("cap", at_most=2)], 4, 5, 6, 7) == [1, 2, 4, 5, 7]
    by_filter = [rule("pin", "a", items=[1], position=1), rule("pin", "b", filter="price < 5", position=2)]
    assert applied([*by_filter, rule("cap", at_most=1)], 2, 5, 4) == [1, 4], "the best that a cap admits"


def test_caps_count_per_category_or_root_and_not_what_has_none() -> None:
    items = (1, 2, 3, 4, 5, 7, 8, 77)
    assert applied([rule("cap", at_most=1)], *items) == [1, 4, 7, 8, 77]
    assert applied([rule("cap", per="root", at_most=3)], *items) == [1, 2, 3, 7, 8, 77]
    both = [rule("cap", "a", at_most=2), rule("cap", "b", per="root", at_most=3)]
    assert applied(both, *items) == [1, 2, 4, 7, 8, 77]
    assert applied([*both, rule("cap", "c", at_most=1)], *items, k=3) == [1, 4, 7]


def test_a_rule_holds_from_its_start_on_and_no_longer_from_its_end_on() -> None:
    box: dict[str, Any] = {"from": datetime(2015, 8, 3, tzinfo=UTC), "until": datetime(2015, 8, 4, tzinfo=UTC)}
    boxed = rule("block", items=[1], **box)
    start, end = (int(instant.timestamp()) * 1_000_000 for instant in box.values())
    assert [holds(boxed, now) for now in (start - 1, start, end - 1, end)] == [False, True, True, False]
    assert ids(apply_rules(candidates(1, 2), [boxed], SHOP, end, 5)) == [1, 2]
    assert ids(apply_rules(candidates(1, 2), [boxed], SHOP, start, 5)) == [2]


ITEMS = known_items(st.integers(0, 15))
SELECTIONS = st.one_of(
    st.lists(st.integers(0, 18), min_size=1, max_size=4).map(lambda items: {"items": items}),
    st.sampled_from(["price < 2", 'category == "shoes"', "age_days > 0", "root is null", "not available"]).map(
        lambda text: {"filter": text}
    ),
)


@st.composite
def rules_of(draw: st.DrawFn) -> list[Rule]:
    made: list[Rule] = []
    for number in range(draw(st.integers(0, 6))):
        action = draw(st.sampled_from(["block", "boost", "bury", "pin", "cap"]))
        fields: dict[str, Any] = {} if action == "cap" else draw(SELECTIONS)
        if action in ("boost", "bury"):
            fields["factor"] = draw(st.sampled_from([1.5, 3.0] if action == "boost" else [0.3, 0.9]))
        if action == "pin":
            fields["position"] = draw(st.integers(1, 6))
        if action == "cap":
            fields |= {"at_most": draw(st.integers(1, 3)), "per": draw(st.sampled_from(["category", "root"]))}
        made.append(rule(action, f"{action} {number}", **fields))
    return made


def selected(one: Rule, item: int | str, filters: Filters) -> bool:
    if isinstance(one, CapRule):
        return False
    if one.items is not None:
        return item in one.items
    return bool(filters.passes(one.filter or "", filters.catalogue.positions([item]))[0])


POOLS = st.lists(st.integers(0, 18), max_size=14)


@settings(max_examples=400, deadline=None)
@given(ITEMS, POOLS, rules_of(), st.integers(1, 8), st.sets(st.integers(0, 18), max_size=3))
def test_what_holds_of_every_answer(
    items: list[KnownItem], pool: list[int], rules: list[Rule], k: int, excluded: set[int]
) -> None:
    filters = Filters(catalogue_of(items), AS_OF)
    known = {item.item_id: item for item in items}
    placed = apply_rules(candidates(*pool), rules, filters, NOW, k, excluded=excluded)
    answer = ids(placed)
    assert placed == apply_rules(candidates(*pool), rules, filters, NOW, k, excluded=excluded), "deterministic"
    assert len(set(answer)) == len(answer) <= k
    assert not excluded & set(answer)
    for one in rules:
        if isinstance(one, BlockRule):
            assert not [item for item in answer if selected(one, item, filters)], one
        if isinstance(one, CapRule):
            named = [getattr(known[item], one.per) for item in answer if item in known]
            assert all(count <= one.at_most for name, count in Counter(named).items() if name is not None), one
    by_name = {one.name: one for one in rules}
    for one in placed:
        for name in one.rules:
            assert isinstance(by_name[name], BoostRule | BuryRule | PinRule)
            assert selected(by_name[name], one.candidate.item_id, filters)
        if one.candidate.source == PINNED:
            assert known[one.candidate.item_id].available
            assert isinstance(by_name[one.rules[0]], PinRule)
    blocks = [one for one in rules if isinstance(one, BlockRule)]
    may_be = [i for i in dict.fromkeys(pool) if i not in excluded and not any(selected(b, i, filters) for b in blocks)]
    if not any(isinstance(one, CapRule) for one in rules):
        assert len(answer) >= min(k, len(may_be)), "exactly k where there are enough"
        for place, item in expected_pins(rules, placed):
            assert answer[place] == item


def expected_pins(rules: list[Rule], placed: list[Placed]) -> list[tuple[int, int | str]]:
    """The place of the first pin by ids, if what it pins is shown and others fill the places before it."""
    pins = [one for one in rules if isinstance(one, PinRule)]
    others = sum(not {pin.name for pin in pins} & set(one.rules) for one in placed)
    if not pins or pins[0].items is None or pins[0].position > others + 1:
        return []
    by_it = {one.candidate.item_id for one in placed if pins[0].name in one.rules}
    first = next((item for item in pins[0].items if item in by_it), None)
    return [] if first is None else [(pins[0].position - 1, first)]


@given(POOLS, st.integers(1, 20))
def test_without_rules_the_order_is_unchanged(pool: list[int], k: int) -> None:
    assert applied([], *pool, k=k) == list(dict.fromkeys(pool))[:k]


@settings(deadline=None)
@given(POOLS, st.lists(st.tuples(SELECTIONS, st.sampled_from([0.3, 1.5, 3.0])), max_size=4))
def test_boosts_order_by_place_over_factor(pool: list[int], boosts: list[tuple[dict[str, Any], float]]) -> None:
    rules = [
        rule("boost" if factor > 1 else "bury", str(number), factor=factor, **selection)
        for number, (selection, factor) in enumerate(boosts)
    ]
    places: dict[int, float] = {}
    for place, item in enumerate(dict.fromkeys(pool), 1):
        factor = 1.0
        for one in rules:
            assert isinstance(one, BoostRule | BuryRule)
            factor *= one.factor if selected(one, item, SHOP) else 1.0
        places[item] = place / factor
    assert applied(rules, *pool, k=50) == sorted(places, key=lambda item: places[item])


@pytest.mark.parametrize("pool", [[], [1]])
def test_nothing_to_show_is_an_answer(pool: list[int]) -> None:
    rules = [rule("block", filter="price > 0"), rule("pin", items=[1], position=1), rule("cap", at_most=1)]
    assert applied(rules, *pool) == []
