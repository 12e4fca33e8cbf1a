"""What was shown and not clicked sinks, rests and comes back."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from recsys_api.rotation import rotate

DAY = 86_400_000_000
NOW = 20_000 * DAY
WEEK = timedelta(days=7)
ITEMS = ["a", "b", "c", "d"]


def ago(*days: float) -> list[int]:
    return [NOW - int(n * DAY) for n in days]


def test_an_item_shown_as_often_as_stated_sinks_below_all_others() -> None:
    sunk = ["b", "c", "d", "a"]
    for times, order in ((ago(0, 0), ITEMS), (ago(0, 0.01, 0.02), sunk), (ago(*[0] * 9), sunk)):
        assert rotate(ITEMS, {"a": times}, {}, NOW, 3, WEEK) == order


def test_a_click_makes_impressions_up_to_it_count_no_more() -> None:
    shown, sunk = {"a": ago(0.3, 0.2, 0.1)}, ["b", "c", "d", "a"]
    assert rotate(ITEMS, shown, {}, NOW, 3, WEEK) == sunk
    assert rotate(ITEMS, shown, {"a": ago(0.1)[0]}, NOW, 1, WEEK) == ITEMS
    assert rotate(ITEMS, shown, {"a": ago(0.2)[0]}, NOW, 1, WEEK) == sunk, "shown once more since"
    assert rotate(ITEMS, shown, {"b": NOW}, NOW, 3, WEEK) == sunk, "a click on another item changes nothing"


def test_an_item_that_rested_comes_back() -> None:
    shown = {"a": ago(0, 0, 0, 0)}
    first = [rotate(ITEMS, shown, {}, NOW + days * DAY, 3, WEEK)[0] for days in (0, 4, 7, 30)]
    assert first == ["b", "b", "a", "a"], "4 impressions count 2.7, so 3, after 4 days, and 2 after 7"


def test_of_items_that_all_were_shown_the_least_shown_come_first() -> None:
    shown = {"a": ago(*[0] * 6), "b": ago(*[0] * 4), "c": ago(*[0] * 2), "d": ago(*[0] * 3)}
    assert rotate(ITEMS, shown, {}, NOW, 2, WEEK) == ["c", "d", "b", "a"]


def test_a_clock_that_is_ahead_counts_as_now() -> None:
    assert rotate(ITEMS, {"a": [NOW + 400 * DAY]}, {}, NOW, 2, WEEK) == ITEMS
    assert rotate(ITEMS, {"a": [NOW + 400 * DAY]}, {}, NOW, 1, WEEK) == ["b", "c", "d", "a"]


TIMES = st.lists(st.integers(NOW - 40 * DAY, NOW), max_size=8)
SHOWN = st.dictionaries(st.sampled_from(ITEMS), TIMES)


@given(SHOWN, st.dictionaries(st.sampled_from(ITEMS), st.integers(NOW - 40 * DAY, NOW)), st.integers(1, 4))
def test_items_are_only_reordered_and_by_what_was_shown_since_the_click(
    shown: dict[str, list[int]], clicked: dict[str, int], after: int
) -> None:
    order = rotate(ITEMS, shown, clicked, NOW, after, WEEK)
    assert sorted(order) == ITEMS
    assert order == rotate(ITEMS, {item: times[::-1] for item, times in shown.items()}, clicked, NOW, after, WEEK)
    since = {i: [t for t in shown.get(i, []) if t > clicked.get(i, 0)] for i in ITEMS}
    assert order == rotate(ITEMS, since, {}, NOW, after, WEEK)
    few = [item for item in ITEMS if len(since[item]) < after]
    assert [item for item in order if item in few] == few
    fresh = {item: [NOW] * len(times) for item, times in since.items()}
    assert rotate(ITEMS, fresh, {}, NOW, after, WEEK)[: len(few)] == few
