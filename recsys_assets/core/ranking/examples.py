"""What the ranker learns from: candidates of an earlier day, labelled with what their users did afterwards."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.engines.base import Frame

_KEY = ["user_id", "item_id"]


def label(candidates: Frame, targets: Frame) -> Frame:
    """Mark the candidates that their user went on to act on.

    Nothing is injected: the rows are exactly the candidates, so training sees what serving will see.

    Args:
        candidates: frame of contract CANDIDATES, as of day D-h.
        targets: user_id, item_id of the target events of the days (D-h, D]; repeated pairs count once.

    Returns:
        Frame of contract RANKING_EXAMPLES: the candidates and ``label``, 1 for a target and 0 otherwise.
    """
    found = targets.select(_KEY).unique(subset=_KEY).with_columns(label=nw.lit(1, dtype=nw.Int64))
    return candidates.join(found, on=_KEY, how="left").with_columns(nw.col("label").fill_null(0))


def training_rows(examples: Frame, negatives: int | None = None, spread: int = 0, seed: int = 0) -> Frame:
    """Keep the examples from which a ranking loss learns: users with a positive, and enough of their negatives.

    Args:
        examples: frame of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows.
        negatives: how many negatives of a user and window to keep, the best by ``fused_rank``; None keeps all.
        spread: beside those, keep every ``spread``-th of the others, so that the tail is known too; 0 keeps none.
        seed: where the spread starts.

    Returns:
        The rows kept, with the columns as they came.
    """
    group = ["dt", "user_id"] if "dt" in examples.collect_schema().names() else ["user_id"]
    rows = examples.with_columns(__positive=nw.col("label").max().over(*group)).filter(nw.col("__positive") == 1)
    if negatives is not None:
        place = (1 - nw.col("label")).cum_sum().over(*group, order_by=["fused_rank", "item_id"])
        rows = rows.with_columns(__place=place)
        keep = (nw.col("label") == 1) | (nw.col("__place") <= negatives)
        if spread:
            keep = keep | ((nw.col("__place") + seed) % spread == 0)
        rows = rows.filter(keep).drop("__place")
    return rows.drop("__positive")
