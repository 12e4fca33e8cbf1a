"""Checks between the stages that a contract cannot state. Each takes a day and its frame and gives a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

import dagster as dg
import narwhals as nw

from recsys_assets.core.evaluation.compare import Decision
from recsys_assets.core.quality import gaps_in_rank
from recsys_assets.engines.base import Frame

_WARN_BELOW, _FAIL_BELOW, _ENOUGH_DAYS = 0.5, 0.1, 3


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
    """A day far below the median of the days before it is suspicious: half is a warning, a tenth a failure."""
    if len(trailing) < _ENOUGH_DAYS:
        about = {"rows": rows, "days_before": len(trailing), "note": "too few days before it to judge"}
        return dg.AssetCheckResult(check_name="volume", passed=True, metadata=about)
    usual = median(trailing)
    passed = rows >= _WARN_BELOW * usual
    grave = rows < _FAIL_BELOW * usual
    return dg.AssetCheckResult(
        check_name="volume",
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
        metadata={"rows": rows, "median_of_days_before": usual, "days_before": len(trailing)},
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


def ordered_by(decision: Decision) -> Callable[[str, Frame], dg.AssetCheckResult]:
    """Every list is the winner's; where a generator's list ended, the fused generators went on."""

    def check(_: str, frame: Frame) -> dg.AssetCheckResult:
        wrong = count(frame.filter(~nw.col("source").is_in([decision.order_by, "fused"])))
        return dg.AssetCheckResult(
            check_name="ordered_by_winner", passed=wrong == 0, metadata={"winner": decision.order_by, "others": wrong}
        )

    return check
