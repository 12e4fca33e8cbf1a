"""Implicit ALS with exact solves and a penalty scaled by the frequency of users and items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.factor_models import FactorModel
from recsys_assets.core.models.interactions import Floats, Interactions

_CELLS = 4_000_000
"""Floats of gathered vectors at a time: 16 MB."""


@dataclass(frozen=True)
class IalsParams:
    """Parameters of the fit; names in brackets are those of the paper.

    Args:
        factors: length of a vector [d].
        iterations: rounds of alternating solves.
        unobserved: weight of an unobserved pair, where an observed one has 1 [alpha_0].
        regularization: L2 penalty [lambda].
        frequency: exponent of a row's weight in the penalty: 0 treats all rows alike, 1 shrinks frequent rows as much
            as rare ones [nu].
        seed: of the initial vectors.
    """

    factors: int = 512
    iterations: int = 10
    unobserved: float = 0.02
    regularization: float = 0.002
    frequency: float = 1.0
    seed: int = 0


class FoldIn:
    """The vector of a history that minimizes the loss, given those of the items.

    Most histories have fewer items than a vector has components. In the basis that makes the Gramian of the items
    diagonal, the system of such a history has one unknown per item, so the exact solution is as cheap as approximate
    ones.

    Args:
        items: [items, factors] vectors in that basis.
        spread: [factors] the Gramian's diagonal, times the weight of unobserved pairs.
        penalty: regularization, frequency, and the weight that every row has.
    """

    def __init__(self, items: Floats, spread: Floats, penalty: npt.NDArray[np.float64]):
        self.items, self.spread, self.penalty = items, spread, penalty

    @staticmethod
    def onto(vectors: Floats, params: IalsParams) -> tuple[FoldIn, Floats]:
        """The fold-in onto vectors, and the basis [factors, factors] that it uses."""
        values, basis = np.linalg.eigh((vectors.T @ vectors).astype(np.float64))
        rotated = np.asarray(vectors @ basis.astype(np.float32), np.float32)
        spread = (params.unobserved * np.maximum(values, 0.0)).astype(np.float32)
        penalty = np.array([params.regularization, params.frequency, params.unobserved * len(vectors)])
        return FoldIn(rotated, spread, penalty), basis.astype(np.float32)

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """See :class:`~recsys_assets.core.models.factor_models.Embed`; ``items`` are the vectors of the model."""
        return {"spread": self.spread, "penalty": self.penalty}

    def __call__(self, histories: csr_matrix) -> Floats:
        """See :class:`~recsys_assets.core.models.factor_models.Embed`."""
        factors = self.items.shape[1]
        regularization, frequency, prior = self.penalty
        counts = np.diff(histories.indptr)
        weight = (counts + prior) ** frequency
        solutions = np.zeros((len(counts), factors), np.float32)
        order = np.argsort(counts, kind="stable")
        order = order[counts[order] > 0]
        lengths = counts[order]
        start = 0
        while start < len(order):
            # Rows of equal length are solved together: padding would change the last bits of some.
            stop = min(
                start + max(1, _CELLS // (int(lengths[start]) * factors)),
                int(np.searchsorted(lengths, lengths[start], side="right")),
            )
            rows = order[start:stop]
            diagonal = np.asarray(self.spread + regularization * weight[rows, None], np.float32)
            solutions[rows] = self._batch(histories, rows, diagonal)
            start = stop
        return solutions

    def _batch(self, histories: csr_matrix, rows: Ints, diagonal: Floats) -> Floats:
        """Solve (diag + V' C V) x = V' c for rows with equally many entries."""
        length = int(histories.indptr[rows[0] + 1] - histories.indptr[rows[0]])
        entries = histories.indptr[rows][:, None] + np.arange(length)
        interacted = self.items[histories.indices[entries]]  # [rows, length, factors]
        confidence = np.asarray(histories.data[entries], np.float32)
        if length <= self.items.shape[1]:
            scaled = interacted / diagonal[:, None, :]
            small = scaled @ interacted.transpose(0, 2, 1)
            small[:, np.arange(length), np.arange(length)] += 1.0 / confidence
            parts = np.linalg.solve(small, np.ones((*confidence.shape, 1), np.float32))
            return np.asarray((scaled.transpose(0, 2, 1) @ parts)[:, :, 0], np.float32)
        weighed = interacted * confidence[:, :, None]
        large = weighed.transpose(0, 2, 1) @ interacted
        places = np.arange(self.items.shape[1])
        large[:, places, places] += diagonal
        return np.asarray(np.linalg.solve(large, weighed.sum(axis=1)[:, :, None])[:, :, 0], np.float32)


def ials(interactions: Interactions, params: IalsParams) -> FactorModel:
    """Fit vectors of items, onto which histories are folded in.

    Source: Rendle et al., Revisiting the Performance of iALS on Item Recommendation Benchmarks, RecSys 2022.

    Args:
        interactions: to fit.
        params: see :class:`IalsParams`.
    """
    matrix, transposed = interactions.matrix, csr_matrix(interactions.matrix.T)
    rng = np.random.default_rng(params.seed)
    shape = (interactions.shape[1], params.factors)
    items: Floats = rng.normal(0, 0.1 / np.sqrt(params.factors), shape).astype(np.float32)
    with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
        for _ in range(params.iterations):
            users = _solve(matrix, items, params)
            items = _solve(transposed, users, params)
        embed, _ = FoldIn.onto(items, params)
    # A rotation of users and items alike changes no score.
    return FactorModel(embed.items, embed)


def _solve(matrix: csr_matrix, others: Floats, params: IalsParams) -> Floats:
    """The optimal vectors [rows, factors] of one side, given those of the other."""
    embed, basis = FoldIn.onto(others, params)
    return np.asarray(embed(matrix) @ basis.T, np.float32)
