"""The rule of the gate: when a gain counts, who orders the lists of a day, and whether its ranker may become champion.

The fused generators order the lists unless something beats them: the best single generator, and then a model that beats
the better of the two (the baseline). Fusion is the safest choice, so it needs no proof. A ranker becomes champion if it
beats the baseline and, where there is a champion, that one too.

Day rankers and the best of a day's experiments go through :func:`decide`; nothing outside this module repeats the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from recsys_assets.core.evaluation.compare import LEARNED, OVER_CHAMPION, OVER_FUSED, best_generator
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K, Gain, pooled_gain

CONFIDENCE = 0.95
"""Level of every interval that the platform computes."""

INTERVAL_TEXT = f"{100 * CONFIDENCE:g} % interval"
"""What reports call such an interval."""


class Bounded(Protocol):
    """A paired difference with the bounds of its interval."""

    @property
    def low(self) -> float:
        """Lower bound."""
        ...

    @property
    def high(self) -> float:
        """Upper bound."""
        ...


def beats(gain: Bounded) -> bool:
    """Whether a gain counts: the whole interval of the paired difference is above zero. A tie does not count."""
    return gain.low > 0


def falls_behind(gain: Bounded) -> bool:
    """Whether a loss counts: the whole interval of the paired difference is below zero."""
    return gain.high < 0


def confidence_of_best_of(models: int) -> float:
    """Level of the intervals of a model that was picked among several on the window that it is evaluated on.

    Such a model looks better on that window than it is, so its interval is wider (Bonferroni).

    Args:
        models: how many it was picked from.
    """
    return 1 - round(1 - CONFIDENCE, 9) / max(1, models)


def pick_baseline(best: str | None, over_fused: Bounded | None) -> str:
    """What a model has to beat: the best single generator if it beats the fused ones, else the fused ones.

    Args:
        best: the single generator with the best NDCG@10; None if there is none.
        over_fused: its gain over the fused generators; None if those were not evaluated.
    """
    if best is None:
        return "fused"
    return best if over_fused is None or beats(over_fused) else "fused"


@dataclass(frozen=True)
class GateResult:
    """How a new ranker did against the champion, or against the baseline where there is no champion.

    Attributes:
        passed: it beats the baseline, and the champion if there is one.
        against: 'champion', 'fused' or a generator; None where nothing was evaluated.
        gain: mean paired difference of NDCG@10 over the same users; None where nothing was evaluated.
        low: lower bound of its interval.
        high: upper bound of its interval.
        users: users evaluated.
        why: one sentence for people.
    """

    passed: bool
    against: str | None
    gain: float | None
    low: float | None
    high: float | None
    users: int
    why: str


@dataclass(frozen=True)
class Winner:
    """Who orders the lists, and why.

    Attributes:
        order_by: 'ranker' (the model), 'fused' or a generator.
        baseline: what the model had to beat; None where nothing was evaluated.
        gain: mean paired difference of NDCG@10, model minus baseline, on this window and earlier ones; None if the
            model was not evaluated.
        low: lower bound of its interval.
        high: upper bound of its interval.
        users: users evaluated on the windows of the gain.
        why: one sentence for people.
    """

    order_by: str
    baseline: str | None
    gain: float | None
    low: float | None
    high: float | None
    users: int
    why: str


@dataclass(frozen=True)
class Decision:
    """What the figures of a window decide.

    Attributes:
        gate: whether the new ranker may become champion.
        with_ranker: who orders the lists if the new ranker becomes champion.
        with_champion: who orders them if the champion stays.
    """

    gate: GateResult
    with_ranker: Winner
    with_champion: Winner


def baseline_of(evaluations: Sequence[pa.Table]) -> str:
    """What models have to beat, by all windows together: with few users, one window alone shows no baseline either.

    Args:
        evaluations: tables of contract RANKER_EVALUATION, of windows that share no target.
    """
    read = [figures for figures in map(_read, evaluations) if figures.users]
    users = sum(figures.users for figures in read)
    ndcg = {
        model: sum(figures.users * figures.ndcg[model] for figures in read) / users
        for model in set[str]().union(*(figures.ndcg for figures in read))
        if all(model in figures.ndcg for figures in read)
    }
    best = best_generator(ndcg)
    gains = [figures.over_fused[best] for figures in read if best and best in figures.over_fused]
    return pick_baseline(best, pooled_gain(gains) if gains else None)


def decide(evaluation: pa.Table, min_users: int, earlier: Sequence[Gain] = (), baseline: str | None = None) -> Decision:
    """Apply the rule to the evaluation of a window.

    Args:
        evaluation: table of contract RANKER_EVALUATION. It calls the new ranker 'ranker' and the model that was
            champion before it 'champion'; either may be missing, and the table may be empty.
        min_users: with fewer users evaluated, no model wins and the fused generators order the lists.
        earlier: gains of rankers over the baseline on earlier windows, which share no target with this one or each
            other. The gain on all windows together decides, unless the model is behind on this one by more than
            chance explains: neither a lucky window nor an unlucky one decides alone.
        baseline: what the gains are over; None for :func:`baseline_of` this window.
    """
    figures = _read(evaluation)
    over = baseline or baseline_of([evaluation])
    ranker, champion = (_winner(figures, model, min_users, earlier, over) for model in LEARNED)
    return Decision(_gate(ranker, figures.over_champion), ranker, champion)


@dataclass(frozen=True)
class _Figures:
    """What the rule needs of an evaluation.

    Attributes:
        ndcg: NDCG@10 by contender, where it is defined.
        gains: gain in NDCG@10 over the baseline by model.
        over_fused: gain over the fused generators by contender.
        over_champion: gain of the new ranker over the champion.
        users: users evaluated.
    """

    ndcg: Mapping[str, float]
    gains: Mapping[str, Gain]
    over_fused: Mapping[str, Gain]
    over_champion: Gain | None
    users: int


def _read(evaluation: pa.Table) -> _Figures:
    rows = evaluation.to_pylist()
    decisive = [row for row in rows if row["k"] == DECISIVE_K and row["value"] is not None]

    def gains(metric: str) -> dict[str, Gain]:
        return {
            row["model"]: Gain(row["value"], row["low"], row["high"], row["users"])
            for row in decisive
            if row["metric"] == metric and row["low"] is not None
        }

    return _Figures(
        ndcg={row["model"]: row["value"] for row in decisive if row["metric"] == "ndcg"},
        gains=gains("ndcg_gain"),
        over_fused=gains(OVER_FUSED),
        over_champion=gains(OVER_CHAMPION).get("ranker"),
        users=max((row["users"] for row in rows), default=0),
    )


def _winner(figures: _Figures, model: str, min_users: int, earlier: Sequence[Gain], baseline: str) -> Winner:
    """Who orders the lists if they may be ordered by this model."""
    users = figures.users
    if not figures.ndcg.keys() - set(LEARNED):
        why = "nothing was judged yet, so the fused generators order"
        return Winner("fused", None, None, None, None, users, why)
    today = figures.gains.get(model)
    if today is None:
        return _winner_without_model(figures, model, baseline, min_users)
    gain = pooled_gain([today, *earlier]) if earlier else today
    bounds = (gain.value, gain.low, gain.high)
    if gain.users < min_users:
        return Winner("fused", baseline, *bounds, gain.users, _too_few(gain.users, min_users))
    won = beats(gain) and not falls_behind(today)
    windows = "" if gain is today else f", on {1 + len(earlier)} windows"
    why = (
        f"the {model} {'beat' if won else 'did not beat'} {baseline} in NDCG@10: {figures.ndcg[model]:.4f} against "
        f"{figures.ndcg[baseline]:.4f}, difference{windows} {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] "
        f"over {gain.users} users"
    )
    if won:
        return Winner("ranker", baseline, *bounds, gain.users, why)
    stands = _stands(figures, baseline) if users >= min_users else "fused"
    return Winner(stands, baseline, *bounds, gain.users, f"{why}{_instead(stands, baseline)}")


def _winner_without_model(figures: _Figures, model: str, baseline: str, min_users: int) -> Winner:
    """Who orders the lists where the model was not evaluated, or does not exist."""
    users = figures.users
    if users < min_users:
        return Winner("fused", baseline, None, None, None, users, _too_few(users, min_users))
    stands = _stands(figures, baseline)
    why = f"there is no {model}, and {stands} stands with NDCG@10 {figures.ndcg[stands]:.4f} over {users} users"
    return Winner(stands, baseline, None, None, None, users, f"{why}{_instead(stands, baseline)}")


def _stands(figures: _Figures, baseline: str) -> str:
    """Who orders the lists if no model does: the baseline, unless the fused generators have caught up with it.

    The fusion learns its weights as windows pass. So earlier windows show fusions that are gone, and the newest one
    shows the latest of them: a generator that is not even ahead of it there does not replace it.
    """
    over_fused = figures.over_fused.get(baseline)
    return "fused" if over_fused is not None and over_fused.value <= 0 else baseline


def _instead(stands: str, baseline: str) -> str:
    return (
        "" if stands == baseline else f"; {baseline} is not ahead of the fused generators on this window, so they order"
    )


def _too_few(users: int, min_users: int) -> str:
    return f"only {users} users could be judged and {min_users} are needed, so the fused generators order"


def _gate(ranker: Winner, over_champion: Gain | None) -> GateResult:
    """Whether the new ranker may become champion, given who orders the lists with it."""
    beats_baseline = ranker.order_by == "ranker"
    if over_champion is None:
        return GateResult(
            beats_baseline, ranker.baseline, ranker.gain, ranker.low, ranker.high, ranker.users, ranker.why
        )
    value, low, high = over_champion.value, over_champion.low, over_champion.high
    better = beats(over_champion)
    why = (
        f"it {'beat' if better else 'did not beat'} the champion in NDCG@10: difference {value:+.4f} "
        f"[{low:+.4f}, {high:+.4f}]; {ranker.why}"
    )
    return GateResult(better and beats_baseline, "champion", value, low, high, ranker.users, why)
