"""The sparse matrix of users and items, and the interface of the models that are fitted on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix

from recsys_assets.core.ids import Ints, lookup, positions

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


LEAST_ITEMS = 2
"""Fewest distinct items of a user who gets items by a model; with one, 'covisit' recommends its neighbours."""


@dataclass(frozen=True)
class Interactions:
    """A matrix of users and items.

    Args:
        users: sorted ids of the rows.
        items: sorted ids of the columns.
        matrix: [users, items] float32, above 0 where a user interacted with an item.
    """

    users: pa.Array
    items: pa.Array
    matrix: csr_matrix

    @property
    def shape(self) -> tuple[int, int]:
        """Number of users and of items."""
        return len(self.users), len(self.items)

    @staticmethod
    def of(pairs: pa.Table) -> Interactions:
        """The matrix of user_id, item_id (unique pairs) and weight; without ``weight`` all pairs weigh 1."""
        items, _ = positions(pairs["item_id"])
        return Interactions.onto(pairs, items)

    @staticmethod
    def onto(pairs: pa.Table, items: pa.Array) -> Interactions:
        """The same with given columns: pairs of other items are left out, their users are not.

        Args:
            pairs: as for :meth:`of`.
            items: sorted ids.
        """
        users, rows = positions(pairs["user_id"])
        columns = lookup(pairs["item_id"], items)
        weights = pairs["weight"].to_numpy() if "weight" in pairs.column_names else np.ones(len(rows))
        known, shape = columns >= 0, (len(users), len(items))
        values = (weights[known].astype(np.float32), (rows[known], columns[known]))
        return Interactions(users, items, csr_matrix(values, shape))

    def rows(self, kept: Bools) -> Interactions:
        """The matrix of some users."""
        return Interactions(self.users.filter(pa.array(kept)), self.items, csr_matrix(self.matrix[kept]))


class Scores(Protocol):
    """Scores of all items for a block of histories."""

    def best(self, k: int, histories: csr_matrix, available: Bools) -> tuple[Ints, Ints]:
        """The k best items of each row, as pairs (row, column) in any order; fewer where fewer have a score.

        Args:
            k: items per row.
            histories: [rows, items]; stored pairs are left out.
            available: [items] False where an item is left out.
        """
        ...

    def standardized(self, rows: Ints, columns: Ints) -> Floats:
        """Scores of pairs, with mean 0 and deviation 1 over all items of the row."""
        ...


class InteractionModel(Protocol):
    """A fitted model. It scores histories; a row's scores do not depend on the other rows."""

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """All that it consists of, by name."""
        ...

    def scores(self, histories: csr_matrix) -> Scores:
        """Score histories.

        Args:
            histories: [rows, items] float32, above 0 where the row's user interacted with an item.
        """
        ...


def shape_of(matrix: csr_matrix) -> tuple[int, int]:
    """Rows and columns, which the types of SciPy do not promise."""
    return cast("tuple[int, int]", matrix.shape)


def standardize(scores: Doubles, mean: Doubles, square: Doubles, rows: Ints) -> Floats:
    """Scores of pairs with mean 0 and deviation 1.

    Args:
        scores: of the pairs.
        mean: [rows] mean of the scores over all items.
        square: [rows] mean of their squares.
        rows: row of each pair.
    """
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.asarray((scores - mean[rows]) / np.maximum(deviation, 1e-12)[rows], np.float32)
