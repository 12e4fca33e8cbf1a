"""The rule of the gate as a table: figures of a window in, who may become champion and who orders the lists out.

A change of the confidence level changes the first test and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import pytest

from recsys_assets.core.evaluation.bootstrap import Interval
from recsys_assets.core.evaluation.pooled_gain import Gain
from recsys_assets.core.gate.rule import CONFIDENCE, baseline_of, beats, confidence_of_best_of, decide, pick_baseline
from recsys_assets_tests.core.gate.evaluations import evaluation_of


def test_the_confidence_level() -> None:
    assert CONFIDENCE == 0.95
    assert [confidence_of_best_of(models) for models in (0, 1, 2, 5)] == pytest.approx([0.95, 0.95, 0.975, 0.99])


def test_a_gain_counts_if_its_whole_interval_is_above_zero() -> None:
    assert beats(Interval(0.1, 1e-9, 0.2))
    assert not beats(Interval(0.1, 0.0, 0.2))
    assert not beats(Interval(0.1, -0.01, 0.2))
    assert not beats(Interval(float("nan"), float("nan"), float("nan")))


def test_the_baseline_is_fused_unless_a_generator_beats_it() -> None:
    better, level = Interval(0.1, 0.05, 0.15), Interval(0.1, -0.05, 0.15)
    assert pick_baseline("popular", better) == "popular"
    assert pick_baseline("popular", level) == "fused"
    assert pick_baseline("popular", None) == "popular", "nothing fused was evaluated"
    assert pick_baseline(None, None) == "fused"


WON, TIED, LOST = (0.02, 0.001, 0.04), (0.01, 0.0, 0.02), (-0.02, -0.04, -0.001)
AHEAD = (0.02, -0.01, 0.05)
"""Better in the mean, but not significantly."""

BEHIND = (-0.01, -0.04, 0.02)
"""Worse in the mean, but not significantly."""

POPULAR = (0.05, 0.03, 0.07)
"""Gain over the fused generators by which a single one beats them."""

GOOD = (Gain(0.03, 0.02, 0.04, 200), Gain(0.02, 0.01, 0.03, 100))
BAD = (Gain(-0.2, -0.3, -0.1, 500),)
MIN_USERS = 30

Figures = dict[str, Any]
Expected = tuple[bool, str | None, float | None, int, str, str]
"""Gate: passed, against, gain, users; who orders the lists if the ranker is promoted, and if it is not."""

TABLE: dict[str, tuple[Figures, Sequence[Gain], Expected]] = {
    "no ranker": ({}, (), (False, "fused", None, 100, "fused", "fused")),
    "no ranker, too few users": ({"users": 29}, (), (False, "fused", None, 29, "fused", "fused")),
    "a generator beats fusion": ({"popular": POPULAR}, (), (False, "popular", None, 100, "popular", "popular")),
    "the ranker beats fusion": ({"ranker": WON}, (), (True, "fused", 0.02, 100, "ranker", "fused")),
    "just enough users": ({"ranker": WON, "users": 30}, (), (True, "fused", 0.02, 30, "ranker", "fused")),
    "too few users": ({"ranker": WON, "users": 29}, (), (False, "fused", 0.02, 29, "fused", "fused")),
    "a tie": ({"ranker": TIED}, (), (False, "fused", 0.01, 100, "fused", "fused")),
    "a loss": ({"ranker": LOST}, (), (False, "fused", -0.02, 100, "fused", "fused")),
    "the ranker beats the best generator": (
        {"ranker": WON, "popular": POPULAR}, (), (True, "popular", 0.02, 100, "ranker", "popular")
    ),
    "the ranker loses to the best generator": (
        {"ranker": LOST, "popular": POPULAR}, (), (False, "popular", -0.02, 100, "popular", "popular")
    ),
    "champion and baseline are beaten": (
        {"ranker": WON, "champion": LOST, "over_champion": WON}, (), (True, "champion", 0.02, 100, "ranker", "fused")
    ),
    "only the champion is beaten": (
        {"ranker": AHEAD, "champion": LOST, "over_champion": WON}, (), (False, "champion", 0.02, 100, "fused", "fused")
    ),
    "only the baseline is beaten": (
        {"ranker": WON, "champion": WON, "over_champion": TIED}, (), (False, "champion", 0.01, 100, "ranker", "ranker")
    ),
    "neither is beaten": (
        {"ranker": LOST, "champion": WON, "over_champion": LOST}, (), (False, "champion", -0.02, 100, "fused", "ranker")
    ),
    "a champion, too few users": (
        {"ranker": WON, "champion": WON, "over_champion": WON, "users": 29}, (),
        (False, "champion", 0.02, 29, "fused", "fused"),
    ),
    "earlier windows show what this one does not": (
        {"ranker": AHEAD}, GOOD, (True, "fused", 0.025, 400, "ranker", "fused")
    ),
    "a lucky window": ({"ranker": WON}, BAD, (False, "fused", -0.1633, 600, "fused", "fused")),
    "earlier windows show the opposite": ({"ranker": AHEAD}, BAD, (False, "fused", -0.1633, 600, "fused", "fused")),
    "behind on this window by chance": (
        {"ranker": BEHIND}, GOOD, (True, "fused", 0.0175, 400, "ranker", "fused")
    ),
    "behind on this window": (
        {"ranker": LOST}, (Gain(0.5, 0.4, 0.6, 900),), (False, "fused", 0.448, 1000, "fused", "fused")
    ),
    "few users, enough on all windows": (
        {"ranker": WON, "users": 10}, GOOD, (True, "fused", 0.0265, 310, "ranker", "fused")
    ),
    "few users, a loss on all windows": (
        {"ranker": AHEAD, "users": 10, "popular": POPULAR}, BAD, (False, "popular", -0.1957, 510, "fused", "fused")
    ),
    "too few users on all windows": (
        {"ranker": WON, "users": 10}, (Gain(0.02, 0.01, 0.03, 19),), (False, "fused", 0.02, 29, "fused", "fused")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_the_table(case: str) -> None:
    figures, earlier, expected = TABLE[case]
    decision = decide(evaluation_of(**figures), MIN_USERS, earlier)
    gate = decision.gate
    gain = None if gate.gain is None else round(gate.gain, 4)
    orders = (decision.with_ranker.order_by, decision.with_champion.order_by)
    assert (gate.passed, gate.against, gain, gate.users, *orders) == expected


def test_the_baseline_of_several_windows() -> None:
    """No window alone shows that 'popular' is better; together they do, and then one window does not show otherwise."""
    ahead, behind = evaluation_of(popular=(0.03, -0.01, 0.07)), evaluation_of(popular=(-0.005, -0.045, 0.035))
    assert baseline_of([ahead]) == baseline_of([behind]) == "fused"
    assert baseline_of([ahead] * 4) == baseline_of([*[ahead] * 5, behind]) == "popular"
    assert baseline_of([ahead, *[behind] * 4]) == "fused"
    assert baseline_of([]) == baseline_of([evaluation_of(0)]) == "fused"
    decision = decide(evaluation_of(ranker=WON, popular=AHEAD), MIN_USERS, GOOD, "popular")
    assert (decision.gate.against, decision.with_champion.order_by) == ("popular", "popular")


def test_a_fusion_that_has_caught_up_with_the_baseline_orders_where_no_model_does() -> None:
    """The fusion learns its weights as windows pass: the newest one shows the latest of them."""
    for model in (None, LOST):
        decision = decide(evaluation_of(ranker=model, popular=BEHIND), MIN_USERS, baseline="popular")
        assert (decision.with_ranker.baseline, decision.with_ranker.order_by) == ("popular", "fused")
        assert decision.with_ranker.why.endswith(
            "; popular is not ahead of the fused generators on this window, so they order"
        )
    won = decide(evaluation_of(ranker=WON, popular=BEHIND), MIN_USERS, baseline="popular")
    assert (won.with_ranker.order_by, won.gate.against) == ("ranker", "popular")


def test_nothing_evaluated() -> None:
    decision = decide(evaluation_of().slice(0, 0), MIN_USERS)
    why = "nothing was judged yet, so the fused generators order"
    assert astuple(decision.gate) == (False, None, None, None, None, 0, why)
    assert astuple(decision.with_ranker) == astuple(decision.with_champion) == ("fused", None, None, None, None, 0, why)


def test_reasons_name_the_figures() -> None:
    decision = decide(evaluation_of(ranker=AHEAD, champion=LOST, over_champion=WON), MIN_USERS, GOOD)
    beat = (
        "the ranker beat fused in NDCG@10: 0.1200 against 0.1000, difference, on 3 windows +0.0250 [+0.0156, +0.0344] "
        "over 400 users"
    )
    assert decision.with_ranker.why == beat
    assert decision.gate.why == f"it beat the champion in NDCG@10: difference +0.0200 [+0.0010, +0.0400]; {beat}"
    few = decide(evaluation_of(9, ranker=WON), MIN_USERS)
    assert few.gate.why == "only 9 users could be judged and 30 are needed, so the fused generators order"
    assert decide(evaluation_of(), MIN_USERS).with_champion.why == (
        "there is no champion, and fused stands with NDCG@10 0.1000 over 100 users"
    )
