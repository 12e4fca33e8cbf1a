"""The backtest's figures against a naive computation over plain lists, and the page and charts that show them."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from itertools import pairwise
from statistics import fmean
from typing import Any
from xml.etree import ElementTree

import pytest

from recsys_assets.core.contracts import RANKER_EVALUATION, RECOMMENDATIONS, IdTypes
from recsys_assets.core.gate.promotion import ModelRef, Promotion, RegistryState
from recsys_assets.core.gate.rule import GateResult
from recsys_assets.core.insight.backtest import METRICS, BacktestInputs, BacktestParams, backtest, list_changes
from recsys_assets.core.insight.backtest_charts import backtest_charts
from recsys_assets.core.insight.backtest_page import HEAD, backtest_page, day_rows
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.timeline import spread
from recsys_assets_tests.core.insight.test_report import SVG, Page, check_charts, position
from recsys_assets_tests.core.world import INTS, STRINGS, Row, frame, typed

LAST = date(2024, 3, 3)
PARAMS = BacktestParams("a <shop> & more", 60)
Lists = dict[Any, list[Any]]


def lists_of(seed: int, ids: IdTypes = INTS, users: int = 40, longest: int = 14) -> Lists:
    """Lists of some users, of 1 to ``longest`` items; user and item 0 occur."""
    rng = random.Random(seed)
    return {
        typed(user, ids.user): [typed(item, ids.item) for item in rng.sample(range(18), rng.randrange(1, longest + 1))]
        for user in range(users)
        if user == 0 or rng.random() < 0.8
    }


def as_frame(lists: Lists, ids: IdTypes = INTS):
    records = [
        {"user_id": user, "item_id": item, "rank": n + 1, "score": -float(n), "source": "fused", "generator": "covisit"}
        for user, items in lists.items()
        for n, item in enumerate(items)
    ]
    random.Random(0).shuffle(records)
    return frame(records, RECOMMENDATIONS, ids, day=False)


def overlap(a: list[Any], b: list[Any]) -> float:
    """Rank-biased overlap as its authors state it, to the depth of the longer list, over what equal lists have."""
    depth = max(len(a), len(b))
    weights = [0.9 ** (d - 1) for d in range(1, depth + 1)]
    agreement = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, depth + 1)]
    return sum(w * x for w, x in zip(weights, agreement, strict=True)) / sum(weights)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_changes_of_lists_against_every_pair_of_lists(ids: IdTypes):
    before, after = lists_of(1, ids), lists_of(2, ids)
    changes = list_changes(as_frame(before, ids), as_frame(after, ids), 10)
    both = [(before[user][:10], after[user][:10]) for user in before.keys() & after.keys()]
    shown = [{item for items in lists.values() for item in items[:10]} for lists in (before, after)]
    assert (changes.users, changes.kept) == (len(after), len(both))
    assert changes.jaccard == pytest.approx(fmean(len({*a} & {*b}) / len({*a} | {*b}) for a, b in both))
    assert changes.overlap == pytest.approx(fmean(overlap(a, b) for a, b in both))
    assert (changes.items, changes.new_items) == (len(shown[1]), len(shown[1] - shown[0]))


def test_lists_that_stay_and_lists_that_share_nothing():
    lists = lists_of(3)
    same = list_changes(as_frame(lists), as_frame(lists), 10)
    assert (same.jaccard, same.overlap, same.new_items) == (1.0, pytest.approx(1.0), 0)
    other = {user: [item + 100 for item in items] for user, items in lists.items()}
    disjoint = list_changes(as_frame(lists), as_frame(other), 10)
    assert (disjoint.kept, disjoint.jaccard, disjoint.overlap) == (len(lists), 0.0, 0.0)
    assert disjoint.new_items == disjoint.items
    strangers = {user + 100: items for user, items in lists.items()}
    no_common_user = list_changes(as_frame(lists), as_frame(strangers), 10)
    assert (no_common_user.kept, no_common_user.jaccard, no_common_user.overlap) == (0, None, None)


def day(n: int) -> str:
    return (LAST - timedelta(days=n)).isoformat()


def evaluated(days: list[int], models: tuple[str, ...], seed: int = 0) -> list[Row]:
    """Evaluations at 10 and at 20; the figures at 20 are not what is followed."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for n in days:
        for model in models:
            for metric in (*METRICS, "map"):
                for k in (10, 20):
                    value = rng.random()
                    bounds = {} if metric == "coverage" else {"low": value / 2, "high": value + 0.1}
                    row = {"model": model, "metric": metric, "k": k, "value": value, "users": 50 + n, **bounds}
                    rows.append({**row, "dt": LAST - timedelta(days=n)})
    return rows


def decided(n: int, verdict: str, gain: float | None, order_by: str) -> Promotion:
    model = None if verdict == "no model" else ModelRef(day(n), "ab" * 32)
    low, high = (None, None) if gain is None else (gain - 0.1, gain + 0.1)
    gate = GateResult(verdict == "promoted", "fused", gain, low, high, 50, "why <so>")
    return Promotion(
        day(n), "autonomous", RegistryState(), model, gate, verdict,  # type: ignore[arg-type]
        RegistryState(model if verdict == "promoted" else None), order_by, "because",
    )  # fmt: skip


def inputs(rows: list[Row], promotions: list[Promotion], lists: dict[int, Lists]) -> BacktestInputs:
    return BacktestInputs(
        frame(rows, RANKER_EVALUATION),
        {promotion.as_of: promotion for promotion in promotions},
        {day(n): as_frame(of_day) for n, of_day in lists.items()},
    )


LATE = evaluated([2, 0], ("ranker", "final"), seed=1)
EARLY = evaluated([5, 2, 1, 0], ("fused", "popular"))
NO_USERS = [{**row, "users": 0, "value": 0.0, "dt": LAST - timedelta(days=9)} for row in evaluated([9], ("fused",))]
GATES = [
    decided(5, "no model", None, "fused"),
    decided(2, "promoted", 0.2, "ranker"),
    decided(1, "refused", -0.05, "fused"),
    decided(0, "waiting", 0.15, "popular"),
]
LISTS = {5: lists_of(1), 2: lists_of(2), 0: lists_of(3)}


@pytest.fixture(scope="module")
def report() -> Figures:
    return backtest(inputs([*EARLY, *LATE, *NO_USERS], GATES, LISTS), LAST, PARAMS)


def test_figures_match_the_inputs_of_the_days(report: Figures):
    assert report["days"] == [day(n) for n in (5, 2, 1, 0)]
    assert report["users"] == [55, 52, 51, 50]
    rows = {(r["model"], r["metric"], r["dt"].isoformat()): r for r in [*EARLY, *LATE] if r["k"] == 10}
    for metric in METRICS:
        for model in ("final", "ranker", "fused", "popular"):
            of_days = [rows.get((model, metric, past)) for past in report["days"]]
            expected = [r and [r["value"], r.get("low"), r.get("high")] for r in of_days]
            assert report["series"][metric][model] == expected
            assert report["means"][metric][model] == pytest.approx(fmean(r["value"] for r in of_days if r))
            if model != "popular":
                shared = [rows[model, metric, day(n)]["value"] for n in (2, 0)]
                assert report["compared"][metric][model] == pytest.approx(fmean(shared))
    assert report["compared"]["days"] == 2, "the ranker has two of the four days"
    assert report["verdicts"] == {"no model": 1, "promoted": 1, "refused": 1, "waiting": 1}
    assert report["ordered_by"] == {"fused": 2, "popular": 1, "ranker": 1}
    assert [lists and lists["since"] for lists in report["lists"]] == [None, day(5), None, day(2)]
    changes = list_changes(as_frame(LISTS[2]), as_frame(LISTS[0]), 10)
    assert report["lists"][3] == {"since": day(2), **vars(changes)}
    assert report["gate"][1]["champion"] == f"{day(2)}-{'ab' * 6}"


def test_page_holds_the_figures_and_needs_nothing_else(report: Figures):
    again = backtest(inputs([*NO_USERS, *LATE, *EARLY[::-1]], GATES[::-1], LISTS), LAST, PARAMS)
    html = backtest_page(report, backtest_charts(report))
    assert html == backtest_page(again, backtest_charts(again)), "the order in which rows come changes nothing"
    read = Page(html.decode())
    assert (read.open, read.links) == ([], [])
    assert json.loads("".join(read.text["script"])) == report
    assert read.text["h1"] == [f"{PARAMS.dataset}: backtest up to {LAST}"]
    newest = dict(zip(HEAD, day_rows(report)[0], strict=True))
    assert newest["day"] == LAST.isoformat()
    assert newest["ranker"] == f"{report['series']['ndcg']['ranker'][3][0]:.4f}"
    assert (newest["verdict"], newest["ordered by"]) == ("waiting", "popular")
    assert newest["gain [95 % interval]"] == "+0.1500 [+0.0500, +0.2500] over fused"
    assert set(newest.values()) <= set(read.text["td"])


CASES = {
    "full": inputs([*EARLY, *LATE], GATES, LISTS),
    "one day": inputs(evaluated([0], ("fused", "popular")), GATES[:1], {0: LISTS[0]}),
    "nothing yet": inputs([], [], {}),
    "no users": inputs(NO_USERS, GATES[:1], {5: LISTS[5]}),
    "lists alone": inputs([], [], {3: {}, 2: LISTS[2], 1: {}}),
    "two months": inputs(
        evaluated(list(range(60)), ("final", "ranker", "champion", "fused", *(f"generator {n}" for n in range(12)))),
        [decided(n, "refused", n / 100 - 0.3, "fused") for n in range(60)],
        {n: {0: [n % 7, 8]} for n in range(60)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_charts_are_legible_for_every_kind_of_window(case: str):
    result = backtest(CASES[case], LAST, PARAMS)
    charts = backtest_charts(result)
    check_charts(charts, backtest_page(result, charts))
    if case == "full":
        assert [chart.name for chart in charts] == [
            *(f"{metric}_over_time" for metric in METRICS), "gate_over_time", "list_stability", "lists_by_day",
        ]  # fmt: skip


@pytest.mark.parametrize("case", ["full", "two months"])
def test_every_model_is_named_beside_its_line_and_names_do_not_overlap(case: str):
    result = backtest(CASES[case], LAST, PARAMS)
    (chart, *_) = backtest_charts(result)
    names = result["series"]["ndcg"]
    written = ElementTree.fromstring(chart.svg).iter(f"{SVG}text")
    places = [position(part)[1] for part in written if "".join(part.itertext()).rpartition(" ")[0] in names]
    assert len(places) == len(names)
    assert min(below - above for above, below in pairwise(sorted(places))) >= 12, "points; the letters are 10.5"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5, 0.55], [0.5, 0.6, 0.7]),
        ([0.95, 1.0], [0.9, 1.0]),
        ([-0.2, 0.0], [0.0, 0.1]),
        ([0.5] * 12, [n / 10 for n in range(12)]),
    ],
)
def test_labels_are_spread(places: list[float], expected: list[float]):
    assert spread(places, 0.1) == pytest.approx(expected)
