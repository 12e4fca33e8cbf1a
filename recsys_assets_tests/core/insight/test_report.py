"""The report's figures against brute force over the events, and the page and pictures that are made of them."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from recsys_assets.assets.pictures import report
from recsys_assets.core.activity.bots import BotRule, bot_users
from recsys_assets.core.activity.marts import EventWeights, user_activity
from recsys_assets.core.contracts import BOT_USERS, CLEAN_EVENTS, EVENT_COUNTS, REJECTED_EVENTS, USER_ACTIVITY
from recsys_assets.core.insight.charts import pictures
from recsys_assets.core.insight.counts import event_counts
from recsys_assets.core.insight.figures import Figures, ReportInputs, ReportParams, figures
from recsys_assets.core.insight.page import page
from recsys_assets_tests.core.world import Row, frame, rows

FIRST, DAYS = date(2024, 2, 20), 10
LAST = FIRST + timedelta(days=DAYS - 1)
WEIGHTS = {"view": 1.0, "cart": 5.0, "buy": 10.0}
PARAMS = ReportParams("a <shop> & more", WEIGHTS, days=8)
CRAWLER = 0


def happened(seed: int = 0, types: tuple[str, ...] = tuple(WEIGHTS)) -> list[Row]:
    """Events of ten days: people, somebody unknown, and a crawler on the third and the last day."""
    rng = random.Random(seed)
    found: list[Row] = []
    for day in range(DAYS):
        midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=day)
        given = [
            (
                rng.choice([None, *range(1, 30)]),
                int(rng.paretovariate(0.9)) % 50,
                rng.choices(types, [9, 3, 1][: len(types)])[0],
            )
            for _ in range(120 + 10 * day)
        ]
        times = [rng.randrange(86_400) for _ in given]
        if day in (2, DAYS - 1):
            given += [(CRAWLER, n % 50, types[0]) for n in range(200)]
            times += list(range(3600, 4000, 2))
        found += [
            {
                "user_id": user,
                "item_id": item,
                "event_type": kind,
                "ts": midnight + timedelta(seconds=at),
                "source_file": f"{day % 3}.csv",
                "source_row": n,
                "session_id": 0,
                "dt": midnight.date(),
            }
            for n, ((user, item, kind), at) in enumerate(zip(given, times, strict=True))
        ]
    return found


def marts(events: list[Row], rejected: dict[date, list[Row]] | None = None, copies: int = 3) -> ReportInputs:
    """What the daily assets hold for these events; of each day, the first rows were read ``copies`` times too often."""
    weights = EventWeights(WEIGHTS, frozenset({"buy"}))
    days = sorted({row["dt"] for row in events} | set(rejected or {}))
    counts, activity, bots = [], [], []
    for day in days:
        of_day = [row for row in events if row["dt"] == day]
        clean = frame(of_day, CLEAN_EVENTS, day=False)
        parsed = frame([*of_day, *of_day[:copies]], CLEAN_EVENTS, day=False)
        bad = frame((rejected or {}).get(day, []), REJECTED_EVENTS, day=False)
        for store, mart in (
            (counts, event_counts(parsed, clean, bad)),
            (activity, user_activity(clean, weights)),
            (bots, bot_users(clean, BotRule(times_typical=2))),
        ):
            store += [{**row, "dt": day} for row in rows(mart)]
    return ReportInputs(frame(counts, EVENT_COUNTS), frame(activity, USER_ACTIVITY), frame(bots, BOT_USERS))


REJECTED = {
    LAST: [{"source_file": "0.csv", "source_row": n, "reason": "null item_id", "raw": "{}"} for n in range(5)],
    LAST - timedelta(days=9): [{"source_file": "9.csv", "source_row": 0, "reason": "too old to count", "raw": "{}"}],
}


@pytest.fixture(scope="module")
def found() -> Figures:
    return figures(marts(happened(), REJECTED), LAST, PARAMS)


def test_figures_against_every_event(found: Figures):
    window = [row for row in happened() if row["dt"] > LAST - timedelta(days=8)]
    people = [row for row in window if row["user_id"] not in (None, CRAWLER)]
    days = [LAST - timedelta(days=n) for n in reversed(range(8))]
    assert found["days"] == [day.isoformat() for day in days]
    for one in found["volumes"]["types"]:
        by_day = Counter(row["dt"] for row in window if row["event_type"] == one["type"])
        assert one["events"] == [by_day[day] for day in days]
    assert found["volumes"]["items"][-1] == len(
        {r["item_id"] for r in window if r["dt"] == LAST and r["user_id"] is not None}
    )

    deepest: dict[tuple[int, int], float] = {}
    for row in people:
        pair = (row["user_id"], row["item_id"])
        deepest[pair] = max(deepest.get(pair, 0), WEIGHTS[row["event_type"]])
    for step in found["funnel"]:
        reached = [pair for pair, weight in deepest.items() if weight >= WEIGHTS[step["step"]]]
        assert (step["pairs"], step["users"]) == (len(reached), len({user for user, _ in reached}))
    assert [step["step"] for step in found["funnel"]] == ["view", "cart", "buy"]

    for of, name in (("user_id", "users"), ("item_id", "items")):
        each = Counter(row[of] for row in people)
        assert (found[name]["count"], found[name]["events"], found[name]["most"]) == (
            *(len(each), len(people), max(each.values())),
        )
        today = {row[of] for row in people if row["dt"] == LAST}
        before = {row[of] for row in people if row["dt"] < LAST}
        assert found["new"][name] == {"day": len(today), "new": len(today - before)}

    assert found["rows"]["day"] == {"clean": sum(r["dt"] == LAST for r in window), "duplicate": 3, "rejected": 5}
    assert found["rows"]["window"] == {"clean": len(window), "duplicate": 24, "rejected": 5}
    assert found["rows"]["reasons"] == [{"reason": "null item_id", "rows": 5}]
    assert found["rows"]["files"][0] == {
        "file": "0.csv",
        "clean": sum(row["source_file"] == "0.csv" for row in window),
        "duplicate": 3 * len({r["dt"] for r in window if r["source_file"] == "0.csv"}),
        "rejected": 5,
    }

    assert (found["bots"]["users"], found["bots"]["by_day"]) == (1, [1, 0, 0, 0, 0, 0, 0, 1])
    assert found["bots"]["events"] == sum(row["user_id"] == CRAWLER for row in window)
    hours = Counter(row["ts"].hour for row in window if row["dt"] == LAST)
    assert found["drift"]["hour"]["day"] == [hours[hour] for hour in range(24)]
    assert found["drift"]["hour"]["verdict"] == "major"  # the crawler came between one and two o'clock


def test_later_days_and_days_before_the_window_change_nothing(found: Figures):
    events = happened()
    early, late = LAST - timedelta(days=5), LAST - timedelta(days=2)
    params = replace(PARAMS, days=4)
    inputs = marts([row for row in events if early <= row["dt"] <= late])
    assert figures(marts(events, REJECTED), late, params) == figures(inputs, late, params)
    assert found["as_of"] == LAST.isoformat()


class Page(HTMLParser):
    """Checks that tags nest, and keeps what stands in the script and in the cards."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "rect", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect",):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)


def test_page_holds_the_figures_and_needs_nothing_else(found: Figures):
    html = page(found)
    assert html == page(figures(marts(happened()[::-1], REJECTED), LAST, PARAMS))
    read = Page(html.decode())
    assert (read.open, read.links) == ([], [])
    assert "url(" not in html.decode()
    assert json.loads("".join(read.text["script"])) == found
    assert read.text["h1"] == [f"{PARAMS.dataset}: data of {LAST}"]
    shown = read.text["dd"]
    for count in (sum(one["events"][-1] for one in found["volumes"]["types"]), found["volumes"]["users"][-1], 5, 3, 1):
        assert f"{count:,}" in shown


@pytest.fixture(scope="module")
def cases(found: Figures) -> dict[str, Figures]:
    """What other data sets give."""
    one_type = [row for row in happened(types=("buy",)) if row["user_id"] != CRAWLER]
    nobody = [{**row, "user_id": None} for row in one_type]
    only_buy = ReportParams("gifts", {"buy": 1.0})
    many = ReportParams("many", {f"type {n} <with> a long name & more": float(n) for n in range(30)})
    return {
        "full": found,
        "one type": figures(marts(one_type), LAST, only_buy),
        "one day": figures(marts([row for row in one_type if row["dt"] == FIRST]), FIRST, only_buy),
        "nothing yet": figures(marts([]), FIRST, PARAMS),
        "an empty day": figures(marts([row for row in one_type if row["dt"] < LAST]), LAST, only_buy),
        "nobody known": figures(marts(nobody), LAST, only_buy),
        "unweighed": figures(marts(one_type), LAST, ReportParams("free", {"buy": 0.0})),
        "many types": figures(marts(happened()), LAST, many),
    }


CASES = ["full", "one type", "one day", "nothing yet", "an empty day", "nobody known", "unweighed", "many types"]


@pytest.mark.parametrize("case", CASES)
def test_pictures_are_well_formed_and_small_ones_show_in_place(case: str, cases: dict[str, Figures]):
    """The UI shows markdown of fewer than 1,000 characters in place."""
    given = cases[case]
    Page(page(given).decode())
    drawn = pictures(given)
    assert {"events_per_day", "events_per_user", "item_concentration"} <= {one.name for one in drawn}
    for one in drawn:
        for svg in (one.canvas.alone(one.height), one.canvas.inline(one.height), one.sparkline):
            root = ElementTree.fromstring(svg)
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            assert "nan" not in svg
        texts = " ".join(part.text or "" for part in ElementTree.fromstring(one.sparkline))
        assert one.canvas.title in texts
    entries: dict[str, Any] = {name: entry.value for name, entry in report(drawn).items()}
    assert {name for name, text in entries.items() if len(text) >= 1000} == {"report"}
    assert entries["report"].count("data:image/svg+xml,") == len(drawn)
