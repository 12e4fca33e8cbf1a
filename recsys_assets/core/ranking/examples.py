"""Training examples of the ranker: candidates of an earlier day, labelled with what their users did afterwards."""

from __future__ import annotations

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.engine import Frame

_KEY = ["user_id", "item_id"]


def label(features: Frame, targets: Frame) -> Frame:
    """Mark the candidates that their users acted on.

    No positive is added: each row is a candidate, so training sees the same distribution as serving.

    Args:
        features: candidates with features, as of day D-h, of users with a target. The great majority of the users has
            none: they do not change a ranking loss, and their lists cannot be evaluated.
        targets: user_id, item_id of the target events of the days (D-h, D], each pair once.

    Returns:
        Frame of contract RANKING_EXAMPLES: every candidate and ``label``, 1 for a target and 0 otherwise. A user whose
        targets are not among the candidates is included with zeros only.
    """
    positives = targets.select(_KEY).with_columns(label=nw.lit(1, dtype=nw.Int64))
    return features.join(positives, on=_KEY, how="left").with_columns(nw.col("label").fill_null(0))


def training_rows(examples: Frame, negatives: int | None = None, spread: int = 2, seed: int = 0) -> Frame:
    """The examples that change a ranking loss: users with a positive, and their negatives.

    Fewer negatives cost quality. NDCG@10 on the next window, with the 20 best negatives and every second of the others
    against all of them: of trees, films .131 against .150, gifts bought again .349 against .353, new gifts .111 against
    .119; of a linear ranker .160 against .176, .346 against .350, .118 against .120. And the tail must stay: where only
    positives have a low ``fused_rank``, the model learns that a low rank is good.

    Args:
        examples: frame of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows.
        negatives: how many negatives of a user and window to keep, the best by ``fused_rank``; None keeps all.
        spread: beside those, keep every ``spread``-th of the others; at least 1.
        seed: where the spread starts.

    Returns:
        Those rows, with all columns.

    Raises:
        ValueError: ``spread`` below 1.
    """
    if spread < 1:
        raise ValueError(
            f"ranking_examples: spread is {spread}, expected at least 1: the tail of the negatives is needed"
        )
    group = ["dt", "user_id"] if "dt" in examples.collect_schema().names() else ["user_id"]
    rows = examples.with_columns(__positive=nw.col("label").max().over(*group)).filter(nw.col("__positive") == 1)
    if negatives is not None:
        place = (1 - nw.col("label")).cum_sum().over(*group, order_by=["fused_rank", "item_id"])
        rows = rows.with_columns(__place=place)
        of_spread = (nw.col("__place") + seed) % spread == 0
        rows = rows.filter((nw.col("label") == 1) | (nw.col("__place") <= negatives) | of_spread).drop("__place")
    return rows.drop("__positive")


def collect_training_rows(examples: Frame) -> pa.Table:
    """The rows of some windows' examples that a model is trained on, sorted.

    Args:
        examples: frame of contract RANKING_EXAMPLES with ``dt``.

    Returns:
        Every row of the users with a positive or, where that is too many, the sample of :func:`training_rows`.
    """
    rows = training_rows(examples)
    # Counted by a query of its own, which reads three columns of sixty and takes about a tenth of the time. A count
    # within the query that reads is no faster, and holds rows that are then left out.
    spread = -(-rows.select(nw.len()).collect(backend="polars").item() // _MOST_ROWS)
    if spread > 1:
        rows = training_rows(examples, negatives=_HARD_NEGATIVES, spread=spread)
    return rows.sort("dt", "user_id", "item_id").collect(backend="polars").to_arrow()


_MOST_ROWS, _HARD_NEGATIVES = 2_000_000, 20
"""Approximate limit of training rows, which take a gigabyte or two while a ranker is fitted. Beyond it, this many of a
user's best negatives by fused rank stay, and of the others every second, third, …"""
