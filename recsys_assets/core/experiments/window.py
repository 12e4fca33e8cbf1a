"""The rows on which an experiment is evaluated."""

from __future__ import annotations

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.metrics import Ints
from recsys_assets.core.experiments.metrics import EvaluatedLists


def with_targets(examples: Frame, targets: Frame) -> Frame:
    """The examples of users who acted, each with the number of items that the user acted on, candidates or not.

    Args:
        examples: frame of contract RANKING_EXAMPLES, of one window.
        targets: distinct user_id, item_id of the target events of that window.

    Returns:
        The examples with the column ``targets``.
    """
    counts = targets.group_by("user_id").agg(targets=nw.len().cast(nw.Int64))
    return examples.join(counts, on="user_id", how="inner")


def lists_to_evaluate(rows: pa.Table) -> EvaluatedLists:
    """The arrays to evaluate on.

    Args:
        rows: table of contract RANKING_EXAMPLES, sorted by (``dt``,) ``user_id`` and ``item_id``, with or without
            ``targets`` and ``baseline_rank``. Without the first, the targets among the candidates are counted, at least
            one per group: all these users acted. Without the second, the stored fused rank is that of the baseline.
    """
    group = _groups(rows)
    labels = rows.column("label").to_numpy() > 0
    candidate_targets = np.bincount(group, weights=labels).astype(np.int64)
    if "targets" in rows.column_names:
        _, first = np.unique(group, return_index=True)
        targets = np.maximum(rows.column("targets").to_numpy()[first], candidate_targets)
    else:
        targets = np.maximum(candidate_targets, 1)
    baseline = "baseline_rank" if "baseline_rank" in rows.column_names else "fused_rank"
    return EvaluatedLists(group, labels, targets, -rows.column(baseline).to_numpy().astype(np.float64))


def _groups(rows: pa.Table) -> Ints:
    """Codes 0, 1, … of user and window."""
    names = [name for name in ("dt", "user_id") if name in rows.column_names]
    codes = [rows.column(name).combine_chunks().dictionary_encode().indices.to_numpy() for name in names]
    changes = np.zeros(rows.num_rows, dtype=np.int64)
    for code in codes:
        changes[1:] |= code[1:] != code[:-1]
    return changes.cumsum()
