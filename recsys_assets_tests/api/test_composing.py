"""Whatever is known and asked for: an answer shows nothing twice, nothing forbidden, and is as long as it can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_api.composing import Wanted, compose
from recsys_api.copies import Copies
from recsys_api.events.event import DISLIKE, IMPRESSION, Event
from recsys_api.live import Now
from recsys_api.rules import Candidate
from recsys_api.snapshot import Snapshot, load_snapshot
from recsys_api.visitor import EventRules, Quiet, Visitor
from recsys_assets.core.placements.config import Placement, Placements
from recsys_assets.core.placements.rules import Boost, BuryRule
from recsys_assets.storage.lists import Key, RankedItem
from recsys_assets_tests.api.publishing import publish, releases_at
from recsys_assets_tests.api.test_answers import CONTENT, DAY, FACTS, ITEMS

NOW = 1_438_600_000_000_000
UNAVAILABLE, BLOCKED = 39, 25
USERS = [None, 1, 2, 3, 77]
TYPES = ["view", "buy", "unheard_of", IMPRESSION, DISLIKE]

ITEM = st.integers(0, 70)
EVENTS = st.lists(st.tuples(ITEM, st.sampled_from(TYPES), st.integers(0, 10**12)), max_size=12)
WANTED = st.builds(
    Wanted,
    k=st.integers(1, 30),
    offset=st.integers(0, 20),
    mode=st.sampled_from([None, "blend", "offline", "online"]),
    placement=st.sampled_from([Placement(), Placement(rotate_after=1), Placement(filter="price < 30")]),
    category=st.sampled_from([None, "hats", "clothes", "nothing"]),
    filter=st.sampled_from([None, "price < 20", 'category == "shoes"']),
    exclude=st.frozensets(ITEM, max_size=5),
    exclude_seen=st.booleans(),
    current=st.none() | ITEM,
)
TRENDING = [Candidate(item, 1.0, "trending") for item in (5, 31, 33, BLOCKED, 45, 8, 50)]
LIVE = st.sampled_from([Now(), Now(TRENDING), Now(TRENDING, for_known=True)])
BURIED = BuryRule(name="later", action="bury", items=(6,), factor=0.1)
CHANGES: list[tuple[str, Any]] = [
    ("k", 30),
    ("offset", 2),
    ("mode", "offline"),
    ("mode", "online"),
    ("mode", "blend"),
    ("placement", Placement(mode="online")),
    ("placement", Placement(sources={"popular": 1.0})),
    ("placement", Placement(filter="price < 7")),
    ("placement", Placement(rules=(BURIED,))),
    ("placement", Placement(rotate_after=1)),
    ("boosts", (Boost(filter="price < 7", factor=0.1),)),
    ("category", "shoes"),
    ("filter", "price < 7"),
    ("exclude", frozenset({7})),
    ("exclude_seen", True),
    ("current", 7),
]
"""What changes a request, one at a time."""


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    root: Path = tmp_path_factory.mktemp("composing")
    publish(root.as_uri(), DAY, CONTENT, **FACTS)
    releases = releases_at(root.as_uri())
    pointer = releases.current()
    assert pointer is not None
    return load_snapshot(releases.store, pointer, Copies(root / "cache" / "store"))


def visitor_of(snapshot: Snapshot, user: int | None, acted: list[tuple[int, str, int]], seen: list[int]) -> Visitor:
    events = [Event(str(n), 0, item, kind, NOW - age) for n, (item, kind, age) in enumerate(acted)]
    events.sort(key=lambda event: -event.ts)
    released = [] if user is None else snapshot.user_histories.get(user, 200)
    return Visitor.of(released, events, snapshot.rules, seen)


@settings(max_examples=300, deadline=None)
@given(user=st.sampled_from(USERS), acted=EVENTS, seen=st.lists(ITEM, max_size=4), wanted=WANTED, live=LIVE)
def test_an_answer_is_whole(
    snapshot: Snapshot, user: int | None, acted: list[tuple[int, str, int]], seen: list[int], wanted: Wanted, live: Now
) -> None:
    visitor = visitor_of(snapshot, user, acted, seen)
    found = compose(snapshot, user, visitor, wanted, NOW, live)
    items = [placed.candidate.item_id for placed in found.items]
    personal = len(items) - sum(found.fallbacks.values())
    assert {"offline": personal, "blend": found.offline, "online": 0, "fallback": 0}[found.mode] == found.offline
    assert 0 <= found.offline <= personal
    assert len(items) <= wanted.k
    assert len(set(items)) == len(items), "an item twice"
    forbidden = {*wanted.exclude, *visitor.disliked, *visitor.purchased, UNAVAILABLE, BLOCKED, wanted.current}
    if wanted.exclude_seen:
        forbidden |= set(visitor.clicks)
    assert not forbidden & set(items)
    known = {item.item_id: item for item in ITEMS}
    for item in items:
        if wanted.filter == "price < 20":
            assert known[int(item)].price < 20  # type: ignore[operator]
        if wanted.category:
            assert wanted.category in (known[int(item)].category, known[int(item)].root)
    if wanted.filter or wanted.placement.filter or wanted.category:
        return
    # 30 popular items, less what must not be shown: so many there are in any case.
    free = set(range(30, 60)) - forbidden
    assert len(items) >= min(wanted.k, max(0, len(free) - wanted.offset))
    assert sum(found.fallbacks.values()) <= len(items)


@settings(max_examples=150, deadline=None)
@given(user=st.sampled_from(USERS), acted=EVENTS, wanted=WANTED, cut=st.integers(1, 29), live=LIVE)
def test_pages_are_parts_of_the_longer_answer(
    snapshot: Snapshot, user: int | None, acted: list[tuple[int, str, int]], wanted: Wanted, cut: int, live: Now
) -> None:
    visitor = visitor_of(snapshot, user, acted, [])

    def page(k: int, offset: int) -> list[object]:
        found = compose(snapshot, user, visitor, replace(wanted, k=k, offset=offset), NOW, live)
        return [placed.candidate for placed in found.items]

    whole = page(30, 0)
    assert page(cut, 0) + page(30 - cut, cut) == whole


@pytest.mark.parametrize(
    "of_release",
    ["", "repeats", "exclude_purchased", "placements", "withdrawn"],
)
def test_a_list_that_is_shown_as_it_is_is_what_all_steps_make_of_it(snapshot: Snapshot, of_release: str) -> None:
    plain = replace(snapshot.rules, repeats=True, exclude_purchased=False)
    changed = {"repeats": False, "exclude_purchased": True}
    release = replace(
        snapshot,
        rules=replace(plain, **{of_release: changed[of_release]}) if of_release in changed else plain,
        placements=Placements(rules=(BURIED,)) if of_release == "placements" else Placements(),
        withdrawn=frozenset[Key]({8}) if of_release == "withdrawn" else frozenset[Key](),
    )
    history = [RankedItem(5, 2.0, "purchase"), RankedItem(6, 1.0, "interaction")]
    known, quiet = Visitor.of(history, [], release.rules), Quiet(lambda: history, release.rules)
    for user in USERS:
        for wanted in (Wanted(k=4), *(replace(Wanted(k=4), **{field: value}) for field, value in CHANGES)):
            assert compose(release, user, quiet, wanted, NOW) == compose(release, user, known, wanted, NOW), wanted


def test_a_history_is_continued_and_not_counted_twice() -> None:
    rules = EventRules(weights={"view": 1.0, "buy": 3.0}, purchase=frozenset({"buy"}), end=1000)
    released = [RankedItem(7, 2.0, "interaction"), RankedItem(8, 1.0, "purchase")]
    events = [Event("b", 1, 9, "buy", 2000), Event("a", 1, 7, "view", 500)]
    visitor = Visitor.of(released, events, rules)
    assert visitor.clicks == (8, 7, 9)
    assert visitor.weights == {7: 2.0, 8: 1.0, 9: 2.0}, "the view of 7 is part of the history already"
    assert (visitor.purchased, visitor.just_purchased, visitor.fresh) == ({8, 9}, {9}, (9,))
    late = Visitor.of(released, [Event("c", 1, 5, "view", 500)], rules)
    assert late.fresh == (5,), "what the release does not have counts, however old"
    assert Visitor.of(released, [], rules).fresh == ()
