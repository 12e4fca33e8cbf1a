"""Live precision and recall equal a brute-force computation over the newest events, in whatever batches they arrive."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_api.events.event import Event
from recsys_api.feedback import LiveFeedback, LiveFigures
from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, FACTS
from recsys_assets_tests.api.test_metrics import DAY, by, measured

WINDOW = 60
TARGETS = frozenset({"buy"})


def label(placement: str | None) -> str:
    return placement or "none"


EVENTS = st.lists(
    st.builds(
        Event,
        event_id=st.just(""),
        user_id=st.integers(0, 1),
        item_id=st.integers(0, 2),
        event_type=st.sampled_from(["impression", "impression", "view", "buy", "dislike"]),
        ts=st.integers(0, 150),
        recommendation_id=st.sampled_from([None, "a", "b"]),
        placement=st.sampled_from([None, "home", "cart"]),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(events=EVENTS, cuts=st.lists(st.integers(0, 150), max_size=4))
def test_figures_are_those_of_the_events_within_the_window_however_they_arrive(
    events: list[Event], cuts: list[int]
) -> None:
    ordered = sorted(events, key=lambda event: (event.ts, event.event_type != "impression"))
    feedback, found = LiveFeedback(WINDOW), dict[str, LiveFigures]()
    for start, end in zip([-1, *sorted(cuts)], [*sorted(cuts), 150], strict=True):
        news = [event for event in events if start < event.ts <= end]
        found = feedback.refresh(news, end, label, TARGETS)
    expected, wanted = brute_force(ordered, 150)
    assert feedback.targets == wanted
    places = {place for place, figures in found.items() if figures.impressions or figures.recall > 0}
    assert places == expected.keys()
    for place, (shown, clicked, targets) in expected.items():
        figures = found[place]
        assert figures.impressions == shown
        assert same(figures.precision, clicked, shown)
        assert same(figures.recall, targets, wanted)


def same(ratio: float, part: int, whole: int) -> bool:
    return ratio == part / whole if whole else math.isnan(ratio)


def brute_force(events: list[Event], now: int) -> tuple[dict[str, tuple[int, int, int]], int]:
    """Impressions, clicked ones and targets by placement; all targets."""
    shown = [event for event in events if event.event_type == "impression"]
    clicked, targets, wanted = set[int](), dict[str, int](), 0
    for event in events:
        if event.event_type in ("impression", "dislike"):
            continue
        within = [one for one in shown if one.user_id == event.user_id and 0 <= event.ts - one.ts < WINDOW]
        fitting = [
            one
            for one in within
            if one.item_id == event.item_id and event.recommendation_id in (None, one.recommendation_id)
        ]
        if fitting:
            clicked.add(id(fitting[-1]))
        if within and event.event_type in TARGETS and event.ts > now - WINDOW:
            wanted += 1
            if fitting:
                place = label(fitting[-1].placement)
                targets[place] = targets.get(place, 0) + 1
    fresh = [one for one in shown if one.ts > now - WINDOW]
    places = {label(one.placement) for one in fresh} | targets.keys()
    figures = {
        place: (
            sum(label(one.placement) == place for one in fresh),
            sum(label(one.placement) == place and id(one) in clicked for one in fresh),
            targets.get(place, 0),
        )
        for place in places
    }
    return figures, wanted


def test_memory_is_bounded_and_all_of_it_is_given_back() -> None:
    def impressions(start: int, count: int) -> list[Event]:
        return [
            Event("", n % 5000, n % 700, "impression", start + n, f"answer {n // 10}", placement="home")
            for n in range(count)
        ]

    feedback = LiveFeedback(window=10**9, most=2_000)
    tracemalloc.start()
    feedback.refresh(impressions(0, 4_000), 4_000, label, TARGETS)
    first = tracemalloc.get_traced_memory()[0]
    for start in range(4_000, 40_000, 4_000):
        found = feedback.refresh(impressions(start, 4_000), start + 4_000, label, TARGETS)
        assert found["home"].impressions == 2_000
    assert tracemalloc.get_traced_memory()[0] < 1.5 * first
    found = feedback.refresh([], 3 * 10**9, label, TARGETS)
    assert found["home"].impressions == 0
    assert math.isnan(found["home"].precision)
    assert tracemalloc.get_traced_memory()[0] < 0.5 * first, "containers stay, what they held goes"
    tracemalloc.stop()


def test_posted_events_become_live_precision_and_recall(make_settings: Callable[..., Settings], store_uri: str) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings(api_open_writes=True)) as client:
        answer = client.get("/recommendations/1?k=4").json()
        named = {"user_id": 1, "recommendation_id": answer["recommendation_id"]}
        items = [item["item_id"] for item in answer["items"]]
        events: list[dict[str, Any]] = [
            *({**named, "item_id": item, "event_type": "impression", "placement": "cart"} for item in items[:3]),
            {**named, "item_id": items[3], "event_type": "impression", "placement": "made up"},
        ]
        assert client.post("/events", json=events).status_code == 200
        follow = [
            {**named, "item_id": items[0], "event_type": "view"},
            {"user_id": 1, "item_id": items[1], "event_type": "buy"},
            {"user_id": 1, "item_id": 50, "event_type": "buy"},  # not shown
            {"user_id": 2, "item_id": items[1], "event_type": "buy"},  # to nobody
        ]
        assert client.post("/events", json=follow).status_code == 200
        eventually(lambda: by(measured(client), "recsys_live_targets") == {(): 2})
        metrics = measured(client)
        assert by(metrics, "recsys_live_impressions", "placement") == {("cart",): 3, ("other",): 1}
        assert by(metrics, "recsys_live_precision", "placement") == {("cart",): 2 / 3}
        assert by(metrics, "recsys_live_recall", "placement") == {("cart",): 1 / 2}
