"""Checks of partitions beyond their contract. Each takes a day and its frame and returns a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log1p
from statistics import median
from typing import Any

import dagster as dg
import narwhals as nw

from recsys_assets.core.engine import Frame
from recsys_assets.core.gate.rule import Winner
from recsys_assets.core.quality import gaps_in_rank

_WARN_BELOW, _FAIL_BELOW, _ENOUGH_DAYS = -3.0, -12.0, 7
_LEAST_SPREAD = 0.25  # about a quarter up or down: where days hardly differ, any change would look large


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
    """A day with far fewer rows than those before it: a warning, and far beyond the variation of those days, a failure.

    The distance is the robust z-score of the logarithm of the rows (median and median absolute deviation; Iglewicz and
    Hoaglin, 1993), so the limit is tight for a shop with steady days and loose for a small data set with bursts. A day
    without any event is only a warning: shops close, and nothing downstream is built from that day alone.
    """
    if len(trailing) < _ENOUGH_DAYS:
        metadata = {"rows": rows, "days_before": len(trailing), "note": "too few days before it to judge"}
        return dg.AssetCheckResult(check_name="volume", passed=True, metadata=metadata)
    logs = [log1p(before) for before in trailing]
    center = median(logs)
    spread = max(_LEAST_SPREAD, 1.4826 * median(abs(log - center) for log in logs))
    z = (log1p(rows) - center) / spread
    return dg.AssetCheckResult(
        check_name="volume",
        passed=z > _WARN_BELOW,
        severity=dg.AssetCheckSeverity.ERROR if rows and z <= _FAIL_BELOW else dg.AssetCheckSeverity.WARN,
        metadata={"rows": rows, "median_before": median(trailing), "days_before": len(trailing), "z_score": z},
    )


def count(frame: Frame) -> int:
    """Number of rows."""
    return int(frame.select(n=nw.len()).collect(backend="polars").item())


def beats_generators(winner: Winner) -> dg.AssetCheckResult:
    """The ranker would order the lists. Losing is a warning: what beats it orders them instead."""
    return dg.AssetCheckResult(
        check_name="ranker_beats_generators",
        passed=winner.order_by == "ranker",
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"decision": winner.why, "users": winner.users},
    )


def drifts(drift: Mapping[str, Mapping[str, Any]]) -> dg.AssetCheckResult:
    """The day's mix of events resembles that of the days before. A warning: a campaign is no fault."""
    return dg.AssetCheckResult(
        check_name="drift",
        passed=all(column["verdict"] != "major" for column in drift.values()),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            f"{name}_{key}": column[key] for name, column in drift.items() for key in ("psi", "chance", "verdict")
        },
    )


def ordered_by(winner: str) -> Callable[[str, Frame], dg.AssetCheckResult]:
    """Every list is in the winner's order; past the end of a generator's list, in that of the fused generators."""

    def check(_: str, frame: Frame) -> dg.AssetCheckResult:
        wrong = count(frame.filter(~nw.col("source").is_in([winner, "fused"])))
        return dg.AssetCheckResult(
            check_name="ordered_by_winner", passed=wrong == 0, metadata={"winner": winner, "others": wrong}
        )

    return check
