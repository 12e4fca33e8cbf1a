"""The largest entries of each row, ties broken by place, in less time than a sort by several keys."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_assets.core.ids import Ints


def largest(scores: NDArray[np.floating[Any]], k: int) -> Ints:
    """Columns [rows, min(k, columns)] of the largest scores, best first, of equals the first column."""
    k = min(k, scores.shape[1])
    columns = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    # A partition takes any of those that equal the last one taken; where there are more of them, the first are meant.
    last = np.take_along_axis(scores, columns, axis=1).min(axis=1, keepdims=True)
    for row in np.flatnonzero((scores >= last).sum(axis=1) > k):
        above, equal = np.flatnonzero(scores[row] > last[row]), np.flatnonzero(scores[row] == last[row])
        columns[row] = np.concatenate([above, equal[: k - len(above)]])
    columns.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def best_of_rows(rows: Ints, scores: NDArray[np.float32], k: int) -> Ints:
    """Positions of the k largest scores of each row, by row, score descending, position.

    One key holds row and score: sorting it takes a quarter of the time of sorting by several.

    Args:
        rows: [pairs] ascending, below 2^31.
        scores: [pairs] without NaN.
        k: pairs of a row.
    """
    bits = (scores + np.float32(0.0)).view(np.uint32)  # -0.0 becomes 0.0, which it equals
    descending = np.where(bits >> 31, bits, ~bits & np.uint32(2**31 - 1))
    order = np.argsort((rows << 32) | descending, kind="stable")
    return order[np.arange(len(rows)) - np.searchsorted(rows, rows) < k]
