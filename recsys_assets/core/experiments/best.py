"""Which of several experiments is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsys_assets.core.experiments.metrics import DECISIVE


def best_of(rows: Sequence[Mapping[str, Any]], targets: Mapping[str, str]) -> str | None:
    """The best experiment.

    Experiments with the same target metric compete in it. Of the winners of several targets, the one with the best
    NDCG@10, by which the gate decides, is the best. Ties go to the first by name.

    Args:
        rows: of contract EXPERIMENT_VALIDATION, all of one window.
        targets: experiment to the metric by which it competes.

    Returns:
        Its name; None where nothing was measured.
    """
    values = {(row["experiment"], row["metric"]): row["value"] for row in rows if row["value"] is not None}

    def winner(names: Sequence[str], metrics: Mapping[str, str]) -> list[str]:
        measured = [name for name in names if (name, metrics[name]) in values]
        return sorted(measured, key=lambda name: (-values[name, metrics[name]], name))[:1]

    winners = [
        name
        for target in sorted(set(targets.values()))
        for name in winner([name for name in targets if targets[name] == target], targets)
    ]
    return next(iter(winner(winners, dict.fromkeys(winners, DECISIVE))), None)
