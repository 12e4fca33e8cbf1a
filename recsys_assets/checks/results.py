"""Joining the results of one check over the partitions of a run."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg


def merge_results(results: Sequence[tuple[str, dg.AssetCheckResult]]) -> list[dg.AssetCheckResult]:
    """One result per check: that of the only partition, or of all of a range, naming the days that failed."""
    by_name: dict[str, list[tuple[str, dg.AssetCheckResult]]] = {}
    for day, result in results:
        if result.check_name is None:
            raise ValueError(f"a check result of {day} names no check")
        by_name.setdefault(result.check_name, []).append((day, result))
    return [_merge(name, group) for name, group in by_name.items()]


def _merge(name: str, group: list[tuple[str, dg.AssetCheckResult]]) -> dg.AssetCheckResult:
    if len(group) == 1:
        return group[0][1]
    failed = {day: result for day, result in group if not result.passed}
    worst = max((r.severity for r in failed.values()), key=lambda s: s is dg.AssetCheckSeverity.ERROR, default=None)
    details = {
        day: ", ".join(f"{key}: {value.value}" for key, value in result.metadata.items())
        for day, result in failed.items()
    }
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=worst or dg.AssetCheckSeverity.ERROR,
        metadata={"partitions": len(group), "failed": len(failed), **details},
    )
