"""The backtest's figures against a naive computation over plain lists, and the page and pictures made of them."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from statistics import fmean
from typing import Any
from xml.etree import ElementTree

import pytest

from recsys_assets.assets.pictures import report
from recsys_assets.core.contracts import RANKER_EVALUATION, RECOMMENDATIONS, IdTypes
from recsys_assets.core.gate.promotion import ModelRef, Promotion, RegistryState
from recsys_assets.core.gate.rule import GateResult
from recsys_assets.core.insight.backtest import METRICS, BacktestInputs, BacktestParams, backtest, list_changes
from recsys_assets.core.insight.backtest_charts import backtest_pictures
from recsys_assets.core.insight.backtest_page import HEAD, backtest_page, day_rows
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.timeline import scale
from recsys_assets_tests.core.insight.test_report import Page
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
    given = [
        {"user_id": user, "item_id": item, "rank": n + 1, "score": -float(n), "source": "fused"}
        for user, items in lists.items()
        for n, item in enumerate(items)
    ]
    random.Random(0).shuffle(given)
    return frame(given, RECOMMENDATIONS, ids, day=False)


def overlap(a: list[Any], b: list[Any]) -> float:
    """Rank-biased overlap as its authors state it, to the depth of the longer list, over what equal lists have."""
    depth = max(len(a), len(b))
    weights = [0.9 ** (d - 1) for d in range(1, depth + 1)]
    agreement = [len(set(a[:d]) & set(b[:d])) / d for d in range(1, depth + 1)]
    return sum(w * x for w, x in zip(weights, agreement, strict=True)) / sum(weights)


@pytest.mark.parametrize("ids", [INTS, STRINGS])
def test_changes_of_lists_against_every_pair_of_lists(ids: IdTypes):
    before, after = lists_of(1, ids), lists_of(2, ids)
    found = list_changes(as_frame(before, ids), as_frame(after, ids), 10)
    both = [(before[user][:10], after[user][:10]) for user in before.keys() & after.keys()]
    shown = [{item for items in lists.values() for item in items[:10]} for lists in (before, after)]
    assert (found.users, found.kept) == (len(after), len(both))
    assert found.jaccard == pytest.approx(fmean(len({*a} & {*b}) / len({*a} | {*b}) for a, b in both))
    assert found.overlap == pytest.approx(fmean(overlap(a, b) for a, b in both))
    assert (found.items, found.new_items) == (len(shown[1]), len(shown[1] - shown[0]))


def test_lists_that_stay_and_lists_that_share_nothing():
    given = lists_of(3)
    same = list_changes(as_frame(given), as_frame(given), 10)
    assert (same.jaccard, same.overlap, same.new_items) == (1.0, pytest.approx(1.0), 0)
    other = {user: [item + 100 for item in items] for user, items in given.items()}
    apart = list_changes(as_frame(given), as_frame(other), 10)
    assert (apart.kept, apart.jaccard, apart.overlap) == (len(given), 0.0, 0.0)
    assert apart.new_items == apart.items
    strangers = {user + 100: items for user, items in given.items()}
    gone = list_changes(as_frame(given), as_frame(strangers), 10)
    assert (gone.kept, gone.jaccard, gone.overlap) == (0, None, None)


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
        {one.as_of: one for one in promotions},
        {day(n): as_frame(given) for n, given in lists.items()},
    )


LATE = evaluated([2, 0], ("ranker", "listed"), seed=1)
EARLY = evaluated([5, 2, 1, 0], ("fused", "popular"))
NOBODY = [{**row, "users": 0, "value": 0.0, "dt": LAST - timedelta(days=9)} for row in evaluated([9], ("fused",))]
GATES = [
    decided(5, "no model", None, "fused"),
    decided(2, "promoted", 0.2, "ranker"),
    decided(1, "refused", -0.05, "fused"),
    decided(0, "waiting", 0.15, "popular"),
]
LISTS = {5: lists_of(1), 2: lists_of(2), 0: lists_of(3)}


@pytest.fixture(scope="module")
def found() -> Figures:
    return backtest(inputs([*EARLY, *LATE, *NOBODY], GATES, LISTS), LAST, PARAMS)


def test_figures_are_those_of_the_days(found: Figures):
    assert found["days"] == [day(n) for n in (5, 2, 1, 0)]
    assert found["users"] == [55, 52, 51, 50]
    rows = {(r["model"], r["metric"], r["dt"].isoformat()): r for r in [*EARLY, *LATE] if r["k"] == 10}
    for metric in METRICS:
        for model in ("listed", "ranker", "fused", "popular"):
            of_days = [rows.get((model, metric, one)) for one in found["days"]]
            expected = [r and [r["value"], r.get("low"), r.get("high")] for r in of_days]
            assert found["series"][metric][model] == expected
            assert found["means"][metric][model] == pytest.approx(fmean(r["value"] for r in of_days if r))
            if model != "popular":
                shared = [rows[model, metric, day(n)]["value"] for n in (2, 0)]
                assert found["compared"][metric][model] == pytest.approx(fmean(shared))
    assert found["compared"]["days"] == 2, "the ranker met two of the four days"
    assert found["verdicts"] == {"no model": 1, "promoted": 1, "refused": 1, "waiting": 1}
    assert found["ordered_by"] == {"fused": 2, "popular": 1, "ranker": 1}
    assert [one and one["since"] for one in found["lists"]] == [None, day(5), None, day(2)]
    changes = list_changes(as_frame(LISTS[2]), as_frame(LISTS[0]), 10)
    assert found["lists"][3] == {"since": day(2), **vars(changes)}
    assert found["gate"][1]["champion"] == f"{day(2)}-{'ab' * 6}"


def test_page_holds_the_figures_and_needs_nothing_else(found: Figures):
    again = backtest(inputs([*NOBODY, *LATE, *EARLY[::-1]], GATES[::-1], LISTS), LAST, PARAMS)
    html = backtest_page(found)
    assert html == backtest_page(again), "the order in which rows come changes nothing"
    read = Page(html.decode())
    assert (read.open, read.links) == ([], [])
    assert json.loads("".join(read.text["script"])) == found
    assert read.text["h1"] == [f"{PARAMS.dataset}: backtest up to {LAST}"]
    newest = dict(zip(HEAD, day_rows(found)[0], strict=True))
    assert newest["day"] == LAST.isoformat()
    assert newest["ranker"] == f"{found['series']['ndcg']['ranker'][3][0]:.4f}"
    assert (newest["verdict"], newest["ordered by"]) == ("waiting", "popular")
    assert newest["gain [95 % interval]"] == "+0.1500 [+0.0500, +0.2500] over fused"
    assert set(newest.values()) <= set(read.text["td"])


CASES = {
    "full": inputs([*EARLY, *LATE], GATES, LISTS),
    "one day": inputs(evaluated([0], ("fused", "popular")), GATES[:1], {0: LISTS[0]}),
    "nothing yet": inputs([], [], {}),
    "nobody judged": inputs(NOBODY, GATES[:1], {5: LISTS[5]}),
    "lists alone": inputs([], [], {3: {}, 2: LISTS[2], 1: {}}),
    "two months": inputs(
        evaluated(list(range(60)), ("listed", "ranker", "champion", "fused", *(f"generator {n}" for n in range(12)))),
        [decided(n, "refused", n / 100 - 0.3, "fused") for n in range(60)],
        {n: {0: [n % 7, 8]} for n in range(60)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_pictures_are_well_formed_and_small_ones_show_in_place(case: str):
    given = backtest(CASES[case], LAST, PARAMS)
    Page(backtest_page(given).decode())
    drawn = backtest_pictures(given)
    for one in drawn:
        for svg in (one.canvas.alone(one.height), one.sparkline):
            assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
            assert "nan" not in svg
        places = [float(part.get("y", 0)) for part in ElementTree.fromstring(one.canvas.alone(one.height)).iter()]
        assert max(places) <= one.height
    if drawn:
        entries: dict[str, Any] = {name: entry.value for name, entry in report(drawn).items()}
        assert {name for name, text in entries.items() if len(text) >= 1000} == {"report"}
    if case == "full":
        assert [one.name for one in drawn] == [
            *(f"{metric}_over_time" for metric in METRICS), "gate_over_time", "list_stability", "lists_by_day",
        ]  # fmt: skip


@pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.31], [-0.07, 0.2], [8.2, 11.9], [0.3, 0.3], [0.0, 1.0], [-3e-4]])
def test_scales_hold_all_values_between_round_ends(values: list[float]):
    low, high, ticks = scale(values)
    assert low < high
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert (ticks[0], ticks[-1]) == (pytest.approx(low), pytest.approx(high))
    assert 2 <= len(ticks) <= 7
