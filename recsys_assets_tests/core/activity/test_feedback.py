"""Attribution by hand, by brute force, and what must hold whatever happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_assets.core.activity.feedback import AttributionParams, attribute, days_reached
from recsys_assets.core.contracts import CLEAN_EVENTS, IMPRESSIONS
from recsys_assets.core.events.clean import IMPRESSION_KEY, clean_impressions, ingest_counts
from recsys_assets.core.events.parse import REJECTED_EVENTS
from recsys_assets_tests.core.world import Row, frame, rows

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
HOURS = 24
PARAMS = AttributionParams(HOURS, ("buy",))


def shown(row: int, user: int, item: int, minute: float, answer: str | None = "a", **more: Any) -> Row:
    return {
        "user_id": user,
        "item_id": item,
        "event_type": "impression",
        "ts": NOON + timedelta(minutes=minute),
        "recommendation_id": answer,
        "source_file": "served/impressions-1.jsonl.gz",
        "source_row": row,
        **more,
    }


def event(row: int, user: int | None, item: int, minute: float, answer: str | None = None, kind: str = "view") -> Row:
    return {
        "user_id": user,
        "item_id": item,
        "event_type": kind,
        "ts": NOON + timedelta(minutes=minute),
        "answer": answer,
        "source_file": "served/events-1.jsonl.gz",
        "source_row": row,
    }


def attributed(happened: list[Row], impressions: list[Row], hours: int = HOURS) -> list[Row]:
    names = {"source_file": "", "source_row": 0, "recommendation_id": ""}
    answers = [
        {"source_file": row["source_file"], "source_row": row["source_row"], "recommendation_id": row["answer"]}
        for row in happened
        if row["answer"] is not None
    ]
    events = [{name: value for name, value in row.items() if name != "answer"} for row in happened]
    result = attribute(
        frame(events, CLEAN_EVENTS, day=False),
        frame(answers, IMPRESSIONS, day=False).select(*names),
        frame(impressions, IMPRESSIONS, day=False),
        AttributionParams(hours, PARAMS.targets),
    )
    return rows(result, "source_row")


def test_by_hand() -> None:
    impressions = [
        shown(0, 1, 5, 0, "a", placement="home", position=2, source="sessions", release_id="r1"),
        shown(1, 1, 5, 10, "b", placement="cart"),
        shown(2, 1, 6, 10, "b"),
        shown(3, 1, 5, 20, "b", event_type="dislike"),
    ]
    happened = [
        event(0, 1, 5, 30, "a"),  # the answer that it names, though another showed it later
        event(1, 1, 5, 30),  # the last that showed it
        event(2, 1, 5, 30, "gone", "buy"),  # an answer that showed it to nobody: no guess instead
        event(3, 1, 7, 30, kind="buy"),  # never shown, by a user who was shown something
        event(4, 2, 5, 30),  # a user who was shown nothing
        event(5, None, 5, 30),
        event(6, 1, 6, 9),  # before it was shown, but after something else was
        event(7, 1, 6, 10 + HOURS * 60 - 0.5, kind="buy"),
        event(8, 1, 6, 10 + HOURS * 60),  # a window later
        event(9, 1, 5, -1),
        event(10, 1, 5, 10),  # at the same moment
    ]
    found = {row["source_row"]: row for row in attributed(happened, impressions)}
    assert {n: (row["impression_row"], row["attributed_by"], row["target"]) for n, row in found.items()} == {
        0: (0, "recommendation_id", False),
        1: (1, "last_touch", False),
        2: (None, None, True),
        3: (None, None, True),
        6: (None, None, False),
        7: (2, "last_touch", True),
        10: (1, "last_touch", False),
    }
    first = found[0]
    assert (first["placement"], first["position"], first["source"], first["release_id"]) == (
        "home", 2, "sessions", "r1",
    )  # fmt: skip
    assert (first["shown_at"], first["seconds"], first["recommendation_id"]) == (NOON, 1800, "a")
    assert found[1]["placement"] == "cart"
    assert found[3]["placement"] is found[3]["shown_at"] is found[3]["seconds"] is None


ANSWERS = st.sampled_from([None, "a", "b"])
MINUTES = st.integers(0, 180)
SHOWN = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), MINUTES, ANSWERS), max_size=12)
HAPPENED = st.lists(
    st.tuples(st.integers(0, 2) | st.none(), st.integers(0, 2), MINUTES, ANSWERS, st.sampled_from(["view", "buy"])),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(impressions=SHOWN, happened=HAPPENED, later=SHOWN)
def test_an_event_goes_to_the_impression_before_it_that_brute_force_finds_and_to_no_later_one(
    impressions: list[Any], happened: list[Any], later: list[Any]
) -> None:
    seen = [shown(n, *row) for n, row in enumerate(impressions)]
    events = [event(n, *row) for n, row in enumerate(happened)]
    result = attributed(events, seen, hours=1)
    expected = brute_force(events, seen)
    assert {row["source_row"]: row["impression_row"] for row in result} == expected
    assert len(result) == len(expected), "an event is one row"
    for row in result:
        if row["impression_row"] is not None:
            impression, happening = seen[row["impression_row"]], events[row["source_row"]]
            assert timedelta(0) <= happening["ts"] - impression["ts"] < timedelta(hours=1)
            assert (row["attributed_by"] == "last_touch") == (happening["answer"] is None)

    # What is shown after the last event changes nothing.
    afterwards = max((row["ts"] for row in events), default=NOON) + timedelta(microseconds=1)
    more = [{**shown(100 + n, *row), "ts": afterwards + timedelta(minutes=row[2])} for n, row in enumerate(later)]
    assert attributed(events, seen + more, hours=1) == result


def brute_force(events: list[Row], impressions: list[Row]) -> dict[int, int | None]:
    found: dict[int, int | None] = {}
    for happening in events:
        within = [
            row
            for row in impressions
            if row["user_id"] == happening["user_id"]
            and timedelta(0) <= happening["ts"] - row["ts"] < timedelta(hours=1)
        ]
        if within:
            fitting = [
                row
                for row in within
                if row["item_id"] == happening["item_id"] and happening["answer"] in (None, row["recommendation_id"])
            ]
            ranked = sorted(fitting, key=lambda row: (row["ts"], row["source_row"]))
            found[happening["source_row"]] = ranked[-1]["source_row"] if ranked else None
    return found


@pytest.mark.parametrize(("hours", "days"), [(1, 1), (24, 1), (25, 2), (720, 30)])
def test_the_days_before_hold_every_impression_within_the_window(hours: int, days: int) -> None:
    assert days_reached(hours) == AttributionParams(hours, ()).days == days


def test_rows_of_impressions_add_up() -> None:
    read = [shown(0, 1, 5, 0), shown(1, 1, 5, 0), shown(2, 1, 5, 0, "b"), shown(3, 1, 5, 0, event_type="dislike")]
    parsed, rejected = frame(read, IMPRESSIONS, day=False), frame([], REJECTED_EVENTS, day=False)
    clean = clean_impressions(parsed)
    assert [row["source_row"] for row in rows(clean, "source_row")] == [0, 2, 3]
    (counts,) = rows(ingest_counts(parsed, clean, rejected, IMPRESSION_KEY))
    assert (counts["rows"], counts["clean"], counts["duplicates"], counts["rejected"]) == (4, 3, 1, 0)
