"""The feedback report: figures by hand, intervals, and a page whose bytes follow from the figures alone."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from recsys_assets.core.contracts import ATTRIBUTION, IMPRESSIONS
from recsys_assets.core.insight.drawing import data_uri
from recsys_assets.core.insight.feedback import FeedbackParams, click_interval, feedback
from recsys_assets.core.insight.feedback_page import HEAD, feedback_charts, feedback_page, group_rows
from recsys_assets.core.insight.figures import Figures
from recsys_assets_tests.core.world import Row, frame

DAY = date(2024, 2, 29)
PARAMS = FeedbackParams(days=3, hours=24, reach=1, k=2)


def shown(row: int, user: int, day: date, position: int | None = 1, **more: Any) -> Row:
    ts = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    fixed = {"item_id": 5, "event_type": "impression", "placement": "home", "source": "sessions", "release_id": "r1"}
    keys = {"source_file": "served/impressions-1.jsonl.gz", "source_row": row}
    return {"user_id": user, "ts": ts, "position": position, "dt": day, **fixed, **keys, **more}


def followed(row: int, impression: Row | None, target: bool = False, day: date | None = None, user: int = 1) -> Row:
    """A row of `attribution`: an event and its impression."""
    seen = impression or {}
    names = ("placement", "source", "release_id", "position", "recommendation_id")
    return {
        "user_id": user,
        "item_id": 5,
        "event_type": "buy" if target else "view",
        "ts": datetime(2024, 2, 28, 13, tzinfo=UTC),
        "target": target,
        "attributed_by": "last_touch" if impression else None,
        **{name: seen.get(name) for name in names},
        "impression_file": seen.get("source_file"),
        "impression_row": seen.get("source_row"),
        "source_file": "served/events-1.jsonl.gz",
        "source_row": row,
        "dt": day or seen.get("dt"),
    }


def report(impressions: list[Row], events: list[Row]) -> Figures:
    return feedback(frame(impressions, IMPRESSIONS), frame(events, ATTRIBUTION), DAY, PARAMS)


def test_figures_by_hand() -> None:
    yesterday, today = DAY - timedelta(days=1), DAY
    impressions = [
        shown(0, 1, yesterday),
        shown(1, 1, yesterday, 2),
        shown(2, 1, yesterday, 3, source="popular"),
        shown(3, 2, yesterday, None, placement=None, source=None, release_id=None),
        shown(4, 1, DAY - timedelta(days=4)),  # before the days of the report
        shown(5, 1, today),  # something may follow yet
        shown(6, 1, yesterday, event_type="dislike"),
    ]
    events = [
        followed(0, impressions[0]),
        followed(1, impressions[0], target=True, day=today),  # after midnight
        followed(2, impressions[2], target=True),
        followed(3, None, target=True, day=yesterday),  # bought what was not shown
        followed(4, None, day=yesterday),
        followed(5, impressions[3], day=today),
    ]
    found = report(impressions, events)
    every = found["all"]
    assert {name: every[name] for name in ("users", "impressions", "clicked", "reached")} == {
        "users": 2, "impressions": 4, "clicked": 3, "reached": 2,
    }  # fmt: skip
    assert (every["precision"], every["click_through_rate"]) == (1 / 2, 3 / 4)
    assert (found["targets"], every["targets"], every["recall"]) == (2, 1, 1 / 2)
    assert (found["not_final"], found["dislikes"]) == (1, 1)
    assert found["days"] == ["2024-02-26", "2024-02-28"]
    groups = {(row["placement"], row["source"], row["release_id"]): row for row in found["groups"]}
    assert {group: (row["impressions"], row["clicked"], row["recall"]) for group, row in groups.items()} == {
        ("home", "sessions", "r1"): (2, 1, 0.0),
        ("home", "popular", "r1"): (1, 1, 0.5),
        ("none", "none", "none"): (1, 1, 0.0),
    }
    assert groups["none", "none", "none"]["precision"] is None, "it names no position"
    assert [(row["position"], row["impressions"], row["clicked"]) for row in found["positions"]] == [
        (1, 1, 1), (2, 1, 0), (3, 1, 1),
    ]  # fmt: skip
    assert found["attributed_by"] == {"last_touch": 2, "none": 2}


def test_nothing_shown_is_told_and_draws_nothing() -> None:
    found = report([], [])
    assert (found["all"], found["groups"], group_rows(found), feedback_charts(found)) == (None, [], [], [])
    assert b"not final yet" in feedback_page(found, "shop", [])


def sums(of_users: list[tuple[int, int]]) -> dict[str, int]:
    return {
        "users": len(of_users),
        "impressions": sum(n for n, _ in of_users),
        "clicked": sum(c for _, c in of_users),
        "nn": sum(n * n for n, _ in of_users),
        "cc": sum(c * c for _, c in of_users),
        "nc": sum(n * c for n, c in of_users),
    }


@pytest.mark.parametrize("alike", [False, True])
def test_the_interval_covers_the_rate_also_where_impressions_of_a_user_are_alike(alike: bool) -> None:
    rng, rate, covered = random.Random(4), 0.2, 0
    for _ in range(300):
        # Either each impression is clicked by itself, or a user clicks all of them or none.
        users = [
            (8, 8 * (rng.random() < rate)) if alike else (8, sum(rng.random() < rate for _ in range(8)))
            for _ in range(60)
        ]
        low, high = click_interval(sums(users))
        covered += low <= rate <= high
    assert 0.9 <= covered / 300 <= 0.99


def test_an_interval_without_clicks_is_wider_for_fewer_impressions() -> None:
    few, many = click_interval(sums([(1, 0)] * 10)), click_interval(sums([(1, 0)] * 1000))
    assert few[0] == pytest.approx(0) == many[0]
    assert 0.25 < few[1] < 0.35
    assert many[1] < 0.01


def test_equal_figures_give_equal_pages_and_charts_small_enough_to_be_shown_in_place() -> None:
    rng = random.Random(1)
    impressions = [
        shown(n, n % 40, DAY - timedelta(days=1), 1 + n % 12, placement=f"place<{n % 5}>", source=f"source {n % 9}")
        for n in range(400)
    ]
    events = [followed(n, impression) for n, impression in enumerate(impressions) if rng.random() < 0.2]
    found = report(impressions, events)
    page = feedback_page(found, "shop", feedback_charts(found))
    again = report(impressions[::-1], events[::-1])
    assert page == feedback_page(again, "shop", feedback_charts(again))
    assert b"place<1>" not in page
    charts = feedback_charts(found)
    assert [chart.name for chart in charts] == ["click_through", "clicks_by_position"]
    for chart in charts:
        assert len(data_uri(chart.sparkline)) < 950
    assert {len(row) for row in group_rows(found)} == {len(HEAD)}
