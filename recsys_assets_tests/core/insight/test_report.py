"""The report's figures against brute force over the events, and the page and charts that show them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib
import pytest

from recsys_assets.assets.charts import chart_metadata
from recsys_assets.core.activity.bots import BotRule, bot_users
from recsys_assets.core.activity.marts import EventWeights, user_activity
from recsys_assets.core.contracts import BOT_USERS, CLEAN_EVENTS, EVENT_COUNTS, REJECTED_EVENTS, USER_ACTIVITY
from recsys_assets.core.insight.counts import event_counts
from recsys_assets.core.insight.data_charts import data_charts
from recsys_assets.core.insight.data_page import data_page
from recsys_assets.core.insight.drawing import Chart
from recsys_assets.core.insight.figures import Figures, ReportInputs, ReportParams, change, figures
from recsys_assets_tests.core.world import Row, frame, rows

FIRST, DAYS = date(2024, 2, 20), 10
LAST = FIRST + timedelta(days=DAYS - 1)
WEIGHTS = {"view": 1.0, "cart": 5.0, "buy": 10.0}
PARAMS = ReportParams("a <shop> & more", WEIGHTS, days=8)
CRAWLER = 0


def sample_events(seed: int = 0, types: tuple[str, ...] = tuple(WEIGHTS)) -> list[Row]:
    """Events of ten days: known and unknown users, and a crawler on the third and the last day."""
    rng = random.Random(seed)
    events: list[Row] = []
    for day in range(DAYS):
        midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=day)
        drawn = [
            (
                rng.choice([None, *range(1, 30)]),
                int(rng.paretovariate(0.9)) % 50,
                rng.choices(types, [9, 3, 1][: len(types)])[0],
            )
            for _ in range(120 + 10 * day)
        ]
        times = [rng.randrange(86_400) for _ in drawn]
        if day in (2, DAYS - 1):
            drawn += [(CRAWLER, n % 50, types[0]) for n in range(200)]
            times += list(range(3600, 4000, 2))
        events += [
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
            for n, ((user, item, kind), at) in enumerate(zip(drawn, times, strict=True))
        ]
    return events


def marts(events: list[Row], rejected: dict[date, list[Row]] | None = None, copies: int = 3) -> ReportInputs:
    """The daily assets of these events; of each day, the first ``copies`` rows were read twice."""
    weights = EventWeights(WEIGHTS, frozenset({"buy"}))
    days = sorted({row["dt"] for row in events} | set(rejected or {}))
    counts, activity, bots = [], [], []
    for day in days:
        day_events = [row for row in events if row["dt"] == day]
        clean = frame(day_events, CLEAN_EVENTS, day=False)
        parsed = frame([*day_events, *day_events[:copies]], CLEAN_EVENTS, day=False)
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
def report() -> Figures:
    return figures(marts(sample_events(), REJECTED), LAST, PARAMS)


def test_figures_against_every_event(report: Figures):
    window = [row for row in sample_events() if row["dt"] > LAST - timedelta(days=8)]
    people = [row for row in window if row["user_id"] not in (None, CRAWLER)]
    days = [LAST - timedelta(days=n) for n in reversed(range(8))]
    assert report["days"] == [day.isoformat() for day in days]
    for one in report["volumes"]["types"]:
        by_day = Counter(row["dt"] for row in window if row["event_type"] == one["type"])
        assert one["events"] == [by_day[day] for day in days]
    assert report["volumes"]["items"][-1] == len(
        {r["item_id"] for r in window if r["dt"] == LAST and r["user_id"] is not None}
    )

    deepest: dict[tuple[int, int], float] = {}
    for row in people:
        pair = (row["user_id"], row["item_id"])
        deepest[pair] = max(deepest.get(pair, 0), WEIGHTS[row["event_type"]])
    for step in report["funnel"]:
        reached = [pair for pair, weight in deepest.items() if weight >= WEIGHTS[step["step"]]]
        assert (step["pairs"], step["users"]) == (len(reached), len({user for user, _ in reached}))
    assert [step["step"] for step in report["funnel"]] == ["view", "cart", "buy"]

    for of, name in (("user_id", "users"), ("item_id", "items")):
        each = Counter(row[of] for row in people)
        assert (report[name]["count"], report[name]["events"], report[name]["most"]) == (
            *(len(each), len(people), max(each.values())),
        )
        today = {row[of] for row in people if row["dt"] == LAST}
        before = {row[of] for row in people if row["dt"] < LAST}
        assert report["new"][name] == {"day": len(today), "new": len(today - before)}

    assert report["rows"]["day"] == {"clean": sum(r["dt"] == LAST for r in window), "duplicate": 3, "rejected": 5}
    assert report["rows"]["window"] == {"clean": len(window), "duplicate": 24, "rejected": 5}
    assert report["rows"]["reasons"] == [{"reason": "null item_id", "rows": 5}]
    assert report["rows"]["files"][0] == {
        "file": "0.csv",
        "clean": sum(row["source_file"] == "0.csv" for row in window),
        "duplicate": 3 * len({r["dt"] for r in window if r["source_file"] == "0.csv"}),
        "rejected": 5,
    }

    assert (report["bots"]["users"], report["bots"]["by_day"]) == (1, [1, 0, 0, 0, 0, 0, 0, 1])
    assert report["bots"]["events"] == sum(row["user_id"] == CRAWLER for row in window)
    hours = Counter(row["ts"].hour for row in window if row["dt"] == LAST)
    assert report["drift"]["hour"]["day"] == [hours[hour] for hour in range(24)]
    assert report["drift"]["hour"]["verdict"] == "major"  # the crawler came between one and two o'clock


def test_later_days_and_days_before_the_window_change_nothing(report: Figures):
    events = sample_events()
    early, late = LAST - timedelta(days=5), LAST - timedelta(days=2)
    params = replace(PARAMS, days=4)
    inputs = marts([row for row in events if early <= row["dt"] <= late])
    assert figures(marts(events, REJECTED), late, params) == figures(inputs, late, params)
    assert report["as_of"] == LAST.isoformat()


class Page(HTMLParser):
    """A page as a reader has it: checks that tags nest, keeps texts by tag and images by the name of their figure."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.images: dict[str, tuple[str, str]] = {}
        self.figure = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if tag == "figure":
            self.figure = named["id"]
        if tag == "img":
            self.images[self.figure] = (named["alt"], named["src"])
        else:
            self.links += [named[name] for name in ("src", "href") if name in named]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)


def svg_of(address: str) -> ElementTree.Element:
    """The SVG within a data URI."""
    kind, svg = address.split(",", 1)
    assert kind == "data:image/svg+xml"
    return ElementTree.fromstring(unquote(svg))


def texts(svg: ElementTree.Element) -> str:
    """All that is written in it; lines are separate elements."""
    return " ".join("".join(part.itertext()) for part in svg.iter(f"{SVG}text")).replace("\N{NO-BREAK SPACE}", " ")


def position(text: ElementTree.Element) -> tuple[float, float]:
    """Where a text begins, in pixels from the upper left."""
    moved = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", text.get("transform", ""))
    return (float(moved[1]), float(moved[2])) if moved else (float(text.attrib["x"]), float(text.attrib["y"]))


SVG = "{http://www.w3.org/2000/svg}"


def check_charts(charts: list[Chart], page: bytes) -> None:
    """What holds for the charts of every report: in the page, in the UI, and each by itself.

    The UI shows markdown of fewer than 1,000 characters in place.
    """
    read = Page(page.decode())
    assert (read.open, read.links) == ([], [])
    assert list(read.images) == [chart.name for chart in charts]
    for chart in charts:
        alt, address = read.images[chart.name]
        svg = svg_of(address)
        assert svg.tag == f"{SVG}svg"
        assert alt == chart.title
        assert chart.title in texts(svg), "text is text: it can be searched"
        assert chart.title in texts(ElementTree.fromstring(chart.sparkline))
        assert "nan" not in chart.svg + chart.sparkline
        # Nothing is written outside of the chart.
        _, _, width, height = map(float, svg.attrib["viewBox"].split())
        for part in svg.iter(f"{SVG}text"):
            x, y = position(part)
            assert 0 <= x <= width
            assert 0 <= y <= height
    if charts:
        entries: dict[str, Any] = {name: entry.value for name, entry in chart_metadata(charts).items()}
        assert {name for name, text in entries.items() if len(text) >= 1000} == {"report"}
        assert entries["report"].count("data:image/svg+xml,") == len(charts)


def test_page_holds_the_figures_and_needs_nothing_else(report: Figures):
    again = figures(marts(sample_events()[::-1], REJECTED), LAST, PARAMS)
    html = data_page(report, data_charts(report))
    assert html == data_page(again, data_charts(again)), "equal data give equal bytes"
    page = Page(html.decode())
    assert set(re.findall(r"url\((...)", html.decode())) == {"%23"}, "only to parts of the same chart"
    assert json.loads("".join(page.text["script"])) == report
    assert page.text["h1"] == [f"{PARAMS.dataset}: data of {LAST}"]
    cards = page.text["dd"]
    events = {volume["type"]: volume["events"][-1] for volume in report["volumes"]["types"]}
    for count in (sum(events.values()), report["volumes"]["users"][-1], 5, 3, 1):
        assert f"{count:,}" in cards
    cells = page.text["td"]
    newest = cells.index(LAST.isoformat())
    assert cells[newest + 1 : newest + 4] == [f"{count:,}" for count in events.values()]
    assert "alert" not in html.decode()
    hostile = {**report, "dataset": "</script><script>alert()</script>"}
    other = data_page(hostile, data_charts(hostile))
    assert b"<script>alert" not in other
    assert json.loads("".join(Page(other.decode()).text["script"])) == hostile


def test_charts_do_not_depend_on_the_configuration_of_matplotlib(report: Figures):
    expected = data_charts(report)
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None, "axes.facecolor": "red"}):
        assert data_charts(report) == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_names_are_written_as_they_are():
    params = ReportParams("free", {"a $x$ & <b>": 1.0, "$5 % off": 2.0})
    (chart, *_) = data_charts(figures(marts([]), FIRST, params))
    written = texts(ElementTree.fromstring(chart.svg))
    assert "a $x$ & <b>" in written
    assert "$5 % off" in written


@pytest.fixture(scope="module")
def cases(report: Figures) -> dict[str, Figures]:
    """Reports of other data sets."""
    one_type = [row for row in sample_events(types=("buy",)) if row["user_id"] != CRAWLER]
    unknown_users = [{**row, "user_id": None} for row in one_type]
    only_buy = ReportParams("gifts", {"buy": 1.0})
    many = ReportParams("many", {f"type {n} <with> a long name & more": float(n) for n in range(30)})
    return {
        "full": report,
        "one type": figures(marts(one_type), LAST, only_buy),
        "one day": figures(marts([row for row in one_type if row["dt"] == FIRST]), FIRST, only_buy),
        "nothing yet": figures(marts([]), FIRST, PARAMS),
        "an empty day": figures(marts([row for row in one_type if row["dt"] < LAST]), LAST, only_buy),
        "unknown users": figures(marts(unknown_users), LAST, only_buy),
        "unweighed": figures(marts(one_type), LAST, ReportParams("free", {"buy": 0.0})),
        "many types": figures(marts(sample_events()), LAST, many),
    }


CASES = ["full", "one type", "one day", "nothing yet", "an empty day", "unknown users", "unweighed", "many types"]


@pytest.mark.parametrize("case", CASES)
def test_charts_are_legible_for_every_kind_of_data(case: str, cases: dict[str, Figures]):
    charts = data_charts(cases[case])
    assert {"events_per_day", "events_per_user", "item_concentration"} <= {chart.name for chart in charts}
    check_charts(charts, data_page(cases[case], charts))


def test_a_change_is_against_the_median_of_the_days_before() -> None:
    assert change([4, 6]) == 1.5, "one day before is enough"
    assert change([1, 9, 2, 6]) == 3.0
    assert [change(values) for values in ([], [5], [0, 5], [0, 0, 7, 5])] == [None] * 4
