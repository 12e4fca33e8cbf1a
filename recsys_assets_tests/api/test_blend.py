"""The blend and shares: places, no repeats, exactly k, and pages that are slices."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st

from recsys_api.blend import blend, by_shares

LIST = st.lists(st.integers(0, 30), unique=True, max_size=15)
ANY_LIST = st.lists(st.integers(0, 12), max_size=15)


def test_by_hand() -> None:
    assert blend(["a", "b"], ["v", "w", "x", "y"], 10) == ["a", "v", "b", "w", "x", "y"]
    assert blend(["a", "b", "c", "d"], ["v"], 10) == ["a", "v", "b", "c", "d"]
    assert blend(["a", "b", "c"], ["a", "c", "x"], 10) == ["a", "c", "b", "x"], "an item of both comes once"
    assert blend(["a", "b"], ["v", "w"], 2, offset=1) == ["v", "b"]
    assert blend([], ["v", "w"], 1) == ["v"]
    assert blend([(1, "online")], [(1, "offline"), (2, "offline")], 2, key=lambda item: item[0]) == [
        (1, "online"),
        (2, "offline"),
    ]


@given(st.lists(st.integers(0, 99), unique=True), st.lists(st.integers(100, 199), unique=True), st.integers(0, 200))
def test_online_items_at_odd_places_offline_ones_at_even_places(online: list[int], offline: list[int], k: int) -> None:
    answer = blend(online, offline, k)
    pairs = min(len(online), len(offline))
    assert answer[: 2 * pairs : 2] == online[:pairs][: (k + 1) // 2]
    assert answer[1 : 2 * pairs : 2] == offline[:pairs][: k // 2]
    leftovers = [*online[pairs:], *offline[pairs:]]
    assert answer[2 * pairs :] == leftovers[: max(0, k - 2 * pairs)]


@given(ANY_LIST, ANY_LIST, st.integers(0, 30))
def test_no_repeats_and_exactly_k_where_there_are_enough(online: list[int], offline: list[int], k: int) -> None:
    answer = blend(online, offline, k)
    assert len(answer) == len(set(answer)) == min(k, len({*online, *offline}))
    assert set(answer) <= {*online, *offline}
    for items in (online, offline):
        kept = [item for item in dict.fromkeys(items) if item in answer]
        of_it_alone = [item for item in kept if item not in (offline if items is online else online)]
        assert [item for item in answer if item in of_it_alone] == of_it_alone, "each list keeps its order"


SHARES = st.dictionaries(st.sampled_from("abcde"), st.sampled_from([0.1, 0.25, 0.3, 1.0, 2.0, 7.0]), min_size=1)


@given(ANY_LIST, ANY_LIST, st.integers(0, 12), st.integers(0, 12), SHARES)
def test_a_page_is_the_slice_of_the_longer_answer(
    one: list[int], two: list[int], k: int, offset: int, shares: dict[str, float]
) -> None:
    assert blend(one, two, k, offset) == blend(one, two, 100)[offset : offset + k]
    lists = {"a": one, "b": two, "c": [*two, *one, 13]}
    assert by_shares(lists, shares, k, offset) == by_shares(lists, shares, 100)[offset : offset + k]


@given(SHARES, st.integers(1, 40))
def test_every_beginning_holds_the_shares_rounded_down_or_up(shares: dict[str, float], k: int) -> None:
    lists = {source: [(source, n) for n in range(k)] for source in "abcde"}
    answer = by_shares(lists, shares, k)
    whole = sum(map(Fraction, shares.values()))
    assert len(answer) == k
    for places in range(1, k + 1):
        for source, weight in shares.items():
            quota = Fraction(weight) / whole * places
            assert floor(quota) <= sum(item[0] == source for item in answer[:places]) <= ceil(quota)
    for source in shares:
        own = [item for item in answer if item[0] == source]
        assert own == lists[source][: len(own)], "each source keeps its order"


@given(st.dictionaries(st.sampled_from("abcd"), ANY_LIST), SHARES, st.integers(0, 40))
def test_shares_give_k_items_where_there_are_enough(
    lists: dict[str, list[int]], shares: dict[str, float], k: int
) -> None:
    answer = by_shares(lists, shares, k)
    there = {item for source in shares for item in lists.get(source, ())}
    assert len(answer) == len(set(answer)) == min(k, len(there))
    assert set(answer) <= there


def test_the_places_of_a_source_without_more_go_to_the_others_by_their_shares() -> None:
    lists = {"a": ["a1"], "b": [f"b{n}" for n in range(1, 9)], "c": [f"c{n}" for n in range(1, 9)]}
    shares = {"a": 2, "b": 1, "c": 3}
    assert by_shares(lists, shares, 9) == ["c1", "a1", "c2", "c3", "c4", "b1", "c5", "c6", "c7"]
    assert by_shares(lists, {"b": 1, "c": 3}, 4) == ["c1", "c2", "b1", "c3"]
    assert by_shares(lists, {"c": 1, "b": 1}, 4) == ["c1", "b1", "c2", "b2"], "ties: the one stated first"
    assert by_shares({}, {"a": 1}, 4) == []
