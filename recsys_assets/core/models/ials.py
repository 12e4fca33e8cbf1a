"""Implicit ALS with exact solves and a penalty scaled by the frequency of users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.ids import Ints
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


class Ials:
    """Factors of users and items.

    Most rows have fewer entries than a vector has components. In the basis that makes the Gramian of the other side
    diagonal, the system of such a row has one unknown per entry, so the exact solution is as cheap as approximate ones.
    (Model and penalty: Rendle et al., Revisiting the Performance of iALS on Item Recommendation Benchmarks,
    RecSys 2022.)

    Args:
        interactions: to fit.
        params: see :class:`IalsParams`.
    """

    def __init__(self, interactions: Interactions, params: IalsParams):
        matrix, transposed = interactions.matrix, csr_matrix(interactions.matrix.T)
        rng = np.random.default_rng(params.seed)
        shape = (interactions.shape[1], params.factors)
        self.items: Floats = rng.normal(0, 0.1 / np.sqrt(params.factors), shape).astype(np.float32)
        with threadpool_limits(limits=1, user_api="blas"):  # the same bits whatever the cores
            for _ in range(params.iterations):
                self.users = _solve(matrix, self.items, params)
                self.items = _solve(transposed, self.users, params)
            self.users = _solve(matrix, self.items, params)

    def scores(self, users: Ints) -> Floats:
        """See :class:`~recsys_assets.core.models.interactions.InteractionModel`."""
        return self.users[users] @ self.items.T


def _solve(matrix: csr_matrix, others: Floats, params: IalsParams) -> Floats:
    """The optimal vectors [rows, factors] of one side, given those of the other."""
    factors = others.shape[1]
    values, basis = np.linalg.eigh((others.T @ others).astype(np.float64))
    rotated = (others @ basis.astype(np.float32)).astype(np.float32)
    spread = (params.unobserved * np.maximum(values, 0.0)).astype(np.float32)
    counts = np.diff(matrix.indptr)
    weight = (counts + params.unobserved * len(others)) ** params.frequency
    solutions = np.zeros((len(counts), factors), np.float32)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    lengths = counts[order]
    start = 0
    while start < len(order):
        size = int(lengths[start])
        # Rows of similar length are solved together, padded with zeros.
        longest = max(size + 2, size * 5 // 4)
        room = max(1, _CELLS // (longest * factors))
        stop = min(start + room, int(np.searchsorted(lengths, longest, side="right")))
        rows = order[start:stop]
        diagonal = np.asarray(spread + params.regularization * weight[rows, None], np.float32)
        solutions[rows] = _batch(matrix, rows, rotated, diagonal)
        start = stop
    return solutions @ basis.T.astype(np.float32)


def _batch(matrix: csr_matrix, rows: Ints, vectors: Floats, diagonal: Floats) -> Floats:
    """Solve (diag + V' C V) x = V' c for rows with similar numbers of entries; padding vectors are zero."""
    starts, counts = matrix.indptr[rows], np.diff(matrix.indptr)[rows]
    length = int(counts.max())
    entries = np.minimum(starts[:, None] + np.arange(length), matrix.nnz - 1)
    real = np.arange(length) < counts[:, None]
    interacted = vectors[matrix.indices[entries]] * real[:, :, None]  # [rows, length, factors]
    confidence = np.where(real, matrix.data[entries], np.float32(1.0))
    if length <= vectors.shape[1]:
        scaled = interacted / diagonal[:, None, :]
        small = scaled @ interacted.transpose(0, 2, 1)
        small[:, np.arange(length), np.arange(length)] += 1.0 / confidence
        parts = np.linalg.solve(small, np.ones((*confidence.shape, 1), np.float32))
        return np.asarray((scaled.transpose(0, 2, 1) @ parts)[:, :, 0], np.float32)
    weighed = interacted * confidence[:, :, None]
    large = weighed.transpose(0, 2, 1) @ interacted
    places = np.arange(vectors.shape[1])
    large[:, places, places] += diagonal
    return np.asarray(np.linalg.solve(large, weighed.sum(axis=1)[:, :, None])[:, :, 0], np.float32)
