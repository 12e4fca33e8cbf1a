"""Whether a ranker can see now what it was trained with: the columns that have values.

A model that is missing, or a generator that gives nothing, leaves its columns null. A ranker that learned to rely on
them then orders by what is left, and nothing fails. So the shares of the training rows are recorded with the ranker,
and those of the candidates are compared to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

INFORMATIVE = 0.01
"""A column with values in a larger share of the training rows is one that the ranker may rely on."""
LOST = 0.05
"""Below this part of its share in training, a column counts as missing. Training rows are of users who went on to act,
so shares differ: of the generated shop by a factor of 0.4 to 1.5."""


def shares_present(rows: pa.Table, columns: Sequence[str]) -> dict[str, float]:
    """The share of the rows in which each column has a value, 0 to 1, to six digits; empty without rows."""
    if not rows.num_rows:
        return {}
    return {name: round(1 - rows[name].null_count / rows.num_rows, 6) for name in columns}


def missing_columns(trained: Mapping[str, float], now: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """The columns that were informative in training and are missing now, with both shares, in the order of training.

    Args:
        trained: :func:`shares_present` of the training rows.
        now: those of the candidates to score; a column that is not there is missing.
    """
    return {
        name: (share, now.get(name, 0.0))
        for name, share in trained.items()
        if share > INFORMATIVE and now.get(name, 0.0) < LOST * share
    }
