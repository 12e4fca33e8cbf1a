"""Checks between the stages that a contract cannot state. Each takes a day and its frame and gives a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log1p
from statistics import median
from typing import Any

import dagster as dg
import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.compare import Decision
from recsys_assets.core.quality import gaps_in_rank

_WARN_BELOW, _FAIL_BELOW, _ENOUGH_DAYS = -3.0, -12.0, 7
_LEAST_SPREAD = 0.25  # days that hardly differ would make any change look grave; this is about a quarter up or down


def dense_ranks(*by: str) -> Callable[[str, Frame], dg.AssetCheckResult]:
    """Ranks of each group are 1..n."""

    def check(_: str, frame: Frame) -> dg.AssetCheckResult:
        gaps = gaps_in_rank(frame, by)
        return dg.AssetCheckResult(check_name="ranks_are_dense", passed=gaps == 0, metadata={"lists_with_gaps": gaps})

    return check


def not_empty(_: str, frame: Frame) -> dg.AssetCheckResult:
    """There is at least one row."""
    rows = count(frame)
    return dg.AssetCheckResult(check_name="not_empty", passed=rows > 0, metadata={"rows": rows})


def never_itself(_: str, frame: Frame) -> dg.AssetCheckResult:
    """No item is its own neighbour."""
    wrong = count(frame.filter(nw.col("item_id") == nw.col("similar_item_id")))
    return dg.AssetCheckResult(check_name="never_itself", passed=wrong == 0, metadata={"rows": wrong})


def volume(rows: int, trailing: Sequence[int]) -> dg.AssetCheckResult:
    """A day much quieter than those before it: a warning, and far beyond what those days vary by, a failure.

    The distance is the robust z-score of the logarithm of the rows (median and median absolute deviation; Iglewicz and
    Hoaglin, 1993), so that a shop with steady days is held to it and a small data set with bursts is not. A day without
    any event is a warning too: shops close, and nothing downstream is built from that day alone.
    """
    if len(trailing) < _ENOUGH_DAYS:
        about = {"rows": rows, "days_before": len(trailing), "note": "too few days before it to judge"}
        return dg.AssetCheckResult(check_name="volume", passed=True, metadata=about)
    logs = [log1p(before) for before in trailing]
    middle = median(logs)
    spread = max(_LEAST_SPREAD, 1.4826 * median(abs(one - middle) for one in logs))
    z = (log1p(rows) - middle) / spread
    return dg.AssetCheckResult(
        check_name="volume",
        passed=z > _WARN_BELOW,
        severity=dg.AssetCheckSeverity.ERROR if rows and z <= _FAIL_BELOW else dg.AssetCheckSeverity.WARN,
        metadata={"rows": rows, "median_before": median(trailing), "days_before": len(trailing), "z_score": z},
    )


def count(frame: Frame) -> int:
    """Number of rows."""
    return int(frame.select(n=nw.len()).collect(backend="polars").item())


def beats_generators(decision: Decision) -> dg.AssetCheckResult:
    """The ranker won. Losing is a warning: the winner is served instead."""
    return dg.AssetCheckResult(
        check_name="ranker_beats_generators",
        passed=decision.order_by == "ranker",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"decision": decision.why, "users": decision.users},
    )


def drifts(drift: Mapping[str, Mapping[str, Any]]) -> dg.AssetCheckResult:
    """The day's mix is much like that of the days before. A warning: a campaign is no fault."""
    return dg.AssetCheckResult(
        check_name="drift",
        passed=all(one["verdict"] != "major" for one in drift.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={f"{name}_{key}": one[key] for name, one in drift.items() for key in ("psi", "chance", "verdict")},
    )


def ordered_by(winner: str) -> Callable[[str, Frame], dg.AssetCheckResult]:
    """Every list is the winner's; where a generator's list ended, the fused generators went on."""

    def check(_: str, frame: Frame) -> dg.AssetCheckResult:
        wrong = count(frame.filter(~nw.col("source").is_in([winner, "fused"])))
        return dg.AssetCheckResult(
            check_name="ordered_by_winner", passed=wrong == 0, metadata={"winner": winner, "others": wrong}
        )

    return check
