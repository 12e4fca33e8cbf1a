"""Small helpers for lazy frames that every stage shares: exact sums, dense ranks, top-k."""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from recsys_assets.core.engine import Frame

_UNIT = float(2**20)


def exact_sum(expr: nw.Expr) -> nw.Expr:
    """Sum of a float column that does not depend on the order of its rows.

    Adding floats in another order changes the last bits, and engines add in any order. Values are rounded to multiples
    of 2^-20 (about 1e-6), halves up, summed as integers and scaled back, so every engine and thread count gives the
    same bits. Sums up to 2^43 are safe.
    """
    # Engines round halves to different sides, and a cast truncates on one and rounds on another; all agree on floor.
    scaled = expr * _UNIT
    whole = scaled.floor()
    return (whole.cast(nw.Int64) + (scaled - whole >= 0.5).cast(nw.Int64)).sum() / _UNIT


def total(expr: nw.Expr) -> nw.Expr:
    """Sum of an int64 column, as int64; DuckDB sums in 128 bits."""
    return expr.sum().cast(nw.Int64)


def running_total(expr: nw.Expr, by: Sequence[str], order_by: Sequence[str]) -> nw.Expr:
    """Sum of an int64 column over the rows of the group up to each row, in an order that must be total; as int64."""
    return expr.cum_sum().over(*by, order_by=list(order_by)).cast(nw.Int64)


def dense_rank(frame: Frame, by: Sequence[str], score: str, ties: Sequence[str], name: str = "rank") -> Frame:
    """Number the rows of each group 1..n by score descending, then ``ties`` ascending (which must make order total)."""
    return (
        frame.with_columns(__down=-nw.col(score), __one=nw.lit(1, dtype=nw.Int64))
        .with_columns(running_total(nw.col("__one"), by, ["__down", *ties]).alias(name))
        .drop("__down", "__one")
    )


def top_k(frame: Frame, k: int, by: Sequence[str], score: str, ties: Sequence[str], name: str = "rank") -> Frame:
    """Keep the best ``k`` rows of each group, with their rank as a column."""
    return dense_rank(frame, by, score, ties, name).filter(nw.col(name) <= k)
