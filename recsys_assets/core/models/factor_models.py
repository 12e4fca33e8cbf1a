"""Models with vectors: an item's score for a history is the inner product of their vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Bools, Doubles, Floats, standardize
from recsys_assets.core.models.nearest import Forbid, NearestIndex, inner_products


class Embed(Protocol):
    """Makes vectors of histories; a row's vector does not depend on the other rows."""

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """All that it consists of, by name."""
        ...

    def __call__(self, histories: csr_matrix) -> Floats:
        """Vectors [rows, length] of histories [rows, items]."""
        ...


class FactorModel:
    """Vectors of items, and how a history becomes a vector.

    Args:
        items: [items, length] float32.
        embed: makes vectors of histories.
    """

    def __init__(self, items: Floats, embed: Embed):
        self.items, self._embed = items, embed
        wide = items.astype(np.float64)
        self._mean, self._square = wide.mean(axis=0), wide.T @ wide / max(1, len(items))
        self._free: FreeItems | None = None

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        return {"vectors": self.items, **self._embed.arrays}

    def vectors(self, histories: csr_matrix) -> Floats:
        """Vectors [rows, length] of histories [rows, items]."""
        return self._embed(histories)

    def scores(self, histories: csr_matrix) -> FactorScores:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        return FactorScores(self.vectors(histories), self, self._mean, self._square)

    def free_items(self, available: Bools) -> FreeItems:
        """The available items, ready to be searched; those of the last call are kept for calls that ask for the same.

        Args:
            available: [items].
        """
        kept = self._free
        if kept is None or not np.array_equal(kept.available, available):
            kept = self._free = FreeItems(self.items, available)
        return kept


class FactorScores:
    """The scores of a block of histories."""

    def __init__(self, vectors: Floats, model: FactorModel, mean: Doubles, square: Doubles):
        self._vectors, self._items, self._model = vectors, model.items, model
        self._mean, self._square = mean, square

    def best(self, k: int, histories: csr_matrix, available: Bools) -> tuple[Ints, Ints]:
        """See :class:`~recsys_assets.core.models.interactions.Scores`; rows with a zero vector have none."""
        queried = np.flatnonzero(np.any(self._vectors, axis=1))
        known = csr_matrix(histories[queried])
        rows, columns, _ = self._model.free_items(available).nearest(self._vectors[queried], k, known)
        return queried[rows], columns

    def standardized(self, rows: Ints, columns: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.Scores`."""
        vectors = self._vectors.astype(np.float64)
        # Stacks of single rows: in a product of matrices, the last bits of a row depend on the others.
        wide = vectors[:, None, :]
        mean = (wide @ self._mean)[:, 0]
        square = np.sum((wide @ self._square)[:, 0] * vectors, axis=1)
        return standardize(inner_products(vectors, self._items, rows, columns), mean, square, rows)


class FreeItems:
    """The items that may be found, ready to be searched.

    Args:
        items: vectors [items, length].
        available: [items] False where an item is left out.
    """

    def __init__(self, items: Floats, available: Bools):
        self.available = available.copy()
        self._free = np.flatnonzero(available)
        self._position = np.where(available, np.cumsum(available) - 1, -1)
        self._index = NearestIndex(items[self._free])

    def nearest(self, vectors: Floats, k: int, histories: csr_matrix | None) -> tuple[Ints, Ints, Doubles]:
        """The k free items of each vector with the largest inner product; a row's do not depend on the other rows.

        Args:
            vectors: [rows, length].
            k: items per row.
            histories: [rows, items]; stored pairs are left out. None: none is.

        Returns:
            Rows, items and scores, by row, then score descending, then item.
        """
        forbid = None if histories is None else self._stored_pairs(histories)
        rows, columns, scores = self._index.search(vectors, k, forbid)
        return rows, self._free[columns], scores

    def _stored_pairs(self, histories: csr_matrix) -> Forbid:
        def forbid(start: int, stop: int) -> tuple[Ints, Ints]:
            rows, columns = histories[start:stop].nonzero()
            places = self._position[columns]
            return rows[places >= 0].astype(np.int64), places[places >= 0]

        return forbid


class Linear:
    """A history's vector is the sum of vectors of its items.

    Args:
        down: [items, length] float32.
    """

    def __init__(self, down: Floats):
        self._down = down

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`Embed`."""
        return {"down": self._down}

    def __call__(self, histories: csr_matrix) -> Floats:
        """See :class:`Embed`."""
        return np.asarray(histories @ self._down, np.float32)
