"""What the ranker learns from: candidates of an earlier day, labelled with what their users did afterwards."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.engine import Frame

_KEY = ["user_id", "item_id"]
_NAMED = 20_000
"""Users up to whom they are named in a filter: of a file, only what passes it is then unpacked."""


def label(candidates: Frame, targets: Frame) -> Frame:
    """The candidates of the users who acted, marked with what they acted on.

    Nothing is injected: each row is a candidate, so training sees what serving will see. Users without a target are
    left out, because no ranking loss learns from them and nobody can judge their lists; they are nearly everybody.

    Args:
        candidates: frame of contract CANDIDATES, as of day D-h.
        targets: user_id, item_id of the target events of the days (D-h, D]; repeated pairs count once.

    Returns:
        Frame of contract RANKING_EXAMPLES: every candidate of a user with a target, and ``label``, 1 for a target and 0
        otherwise. A user whose targets are not among the candidates is there with zeros alone.
    """
    found = targets.select(_KEY).unique(subset=_KEY).with_columns(label=nw.lit(1, dtype=nw.Int64))
    users = found.select("user_id").unique()
    named = users.head(_NAMED + 1).collect(backend="polars")["user_id"].to_list()
    if len(named) <= _NAMED:
        acted = candidates.filter(nw.col("user_id").is_in(named))
    else:
        acted = candidates.join(users, on="user_id", how="semi")
    return acted.join(found, on=_KEY, how="left").with_columns(nw.col("label").fill_null(0))


def training_rows(examples: Frame, negatives: int | None = None, spread: int = 2, seed: int = 0) -> Frame:
    """Keep the examples from which a ranking loss learns: users with a positive, and their negatives.

    Fewer negatives cost quality: the 20 best and every second of the others against all of them, NDCG@10 of trees on
    what came next: films .131 against .150, gifts bought again .349 against .353, new gifts .111 against .119; of a
    linear ranker .160 against .176, .346 against .350, .118 against .120. And the tail must stay in: where only
    positives have a low ``fused_rank``, the model learns that a low rank is good.

    Args:
        examples: frame of contract RANKING_EXAMPLES, with ``dt`` where it holds several windows.
        negatives: how many negatives of a user and window to keep, the best by ``fused_rank``; None keeps all.
        spread: beside those, keep every ``spread``-th of the others; at least 1.
        seed: where the spread starts.

    Returns:
        The rows kept, with the columns as they came.

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
