"""Weights of an ensemble: those with which past histories would have been answered best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from recsys_assets.core.evaluation.metrics import Bools, ndcg
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.cf_ensemble import Candidates
from recsys_assets.core.models.interactions import Floats
from recsys_assets.core.models.top_k import largest
from recsys_assets.core.tuning.coordinates import coordinate_ascent


@dataclass(frozen=True)
class Pool:
    """Candidates of some users, as rows of equal length.

    Attributes:
        items: [users, candidates] columns of the matrix, ascending; -1 where there is none.
        scores: [models, users, candidates] standardized scores; 0 where there is no item.
    """

    items: Ints
    scores: Floats


def pool(found: Candidates, users: int) -> Pool:
    """Candidates in rows of equal length.

    Args:
        found: ordered by row and column.
        users: number of rows.
    """
    sizes = np.bincount(found.rows, minlength=users)
    places = np.arange(len(found.rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    width = max(1, int(sizes.max(initial=0)))
    items = np.full((users, width), -1, np.int64)
    items[found.rows, places] = found.columns
    scores = np.zeros((len(found.scores), users, width), np.float32)
    scores[:, found.rows, places] = found.scores
    return Pool(items, scores)


def learn(
    names: Sequence[str], candidates: Pool, targets: csr_matrix, k: int = 20, slices: Ints | None = None
) -> dict[str, float]:
    """Weights with the highest NDCG on the targets, by coordinate ascent.

    The way in which targets are held out favours some models. With several slices, whose targets were held out in
    different ways, the geometric mean of their NDCG is maximized: a percent gained on one makes up for a percent lost
    on another, however hard each is.

    Args:
        names: of the models, in the order of ``candidates.scores``.
        candidates: of models that were fitted without the targets.
        targets: [users, items], one row for each user of the pool, each with at least one.
        k: length of the lists whose NDCG is maximized.
        slices: [users] number of the slice, from 0, of each user's targets; None for a single slice.

    Returns:
        Weight by name, scaled so that the first one above 0 is 1.
    """
    k = min(k, candidates.items.shape[1])
    sizes = np.diff(targets.indptr)
    hit = hits(targets, np.maximum(candidates.items, 0)) & (candidates.items >= 0)
    slice_of = np.zeros(len(sizes), np.int64) if slices is None else slices

    def value(weights: Floats) -> float:
        total = np.tensordot(weights, candidates.scores, axes=1)
        total[candidates.items < 0] = -np.inf
        gains = ndcg(np.take_along_axis(hit, largest(total, k), axis=1), sizes, k)
        means = np.bincount(slice_of, gains) / np.bincount(slice_of)
        return float(np.exp(np.log(np.maximum(means, 1e-12)).mean()))

    weights = coordinate_ascent(value, np.ones(len(names), np.float32))[-1].weights
    scale = weights[weights > 0][0]
    return {name: round(float(weight / scale), 4) for name, weight in zip(names, weights, strict=True)}


def hits(targets: csr_matrix, items: Ints) -> Bools:
    """Whether each item [users, places] is a target of its user (a row of ``targets``)."""
    return np.asarray(targets[np.arange(len(items))[:, None], items].todense() > 0)
