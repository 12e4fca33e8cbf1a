"""The sparse matrix of users and items, and the interface of the models that are fitted on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix

from recsys_assets.core.ids import Ints, positions

Floats = npt.NDArray[np.float32]


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
        users, rows = positions(pairs["user_id"])
        items, columns = positions(pairs["item_id"])
        weights = pairs["weight"].to_numpy() if "weight" in pairs.column_names else np.ones(len(rows))
        shape = (len(users), len(items))
        return Interactions(users, items, csr_matrix((weights.astype(np.float32), (rows, columns)), shape))


class InteractionModel(Protocol):
    """A model that was fitted on a matrix and scores every pair of a user and an item of it."""

    def scores(self, users: Ints) -> Floats:
        """Scores [users, items] of some rows of the matrix; items that the user interacted with have scores too."""
        ...
