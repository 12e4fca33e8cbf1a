"""As-of join for engines that have none."""

from __future__ import annotations

from collections.abc import Sequence

import narwhals as nw

from recsys_assets.engines.base import Frame


def as_of_join(left: Frame, right: Frame, by: Sequence[str], on: str, columns: Sequence[str]) -> Frame:
    """Give each left row the columns of the last right row of its group whose time is not after its own.

    Union the times of both sides, carry the number of right rows seen so far forward through each group, and look up
    the right row of that number. So the last *row* wins, also where its values are null, which a forward fill of the
    values themselves would skip. Right rows of a left row's very time count; of right rows at one time the largest
    values win.

    Args:
        left: rows with ``by`` and ``on``; all of them are kept, with nulls where no right row is early enough.
        right: rows with ``by``, ``on`` and ``columns``.
        by: the columns that both sides must agree on; a null matches nothing.
        on: the time column, of one type on both sides.
        columns: what to take from the right side; not yet columns of the left.
    """
    by, columns = list(by), list(columns)
    snapshots = right.select(*by, on, *columns).with_columns(__is_left=nw.lit(0, dtype=nw.Int64))
    moments = left.select(*by, on).unique().with_columns(__is_left=nw.lit(1, dtype=nw.Int64))
    numbered = nw.concat([snapshots, moments], how="diagonal").with_columns(
        __number=(1 - nw.col("__is_left")).cum_sum().over(*by, order_by=[on, "__is_left", *columns])
    )
    seen = numbered.filter(nw.col("__is_left") == 1).select(*by, on, "__number")
    values = numbered.filter(nw.col("__is_left") == 0).select(*by, "__number", *columns)
    return left.join(seen, on=[*by, on], how="left").join(values, on=[*by, "__number"], how="left").drop("__number")
