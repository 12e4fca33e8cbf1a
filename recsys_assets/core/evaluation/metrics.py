r"""Ranking metrics with binary relevance, per user.

Definitions, for a user with the distinct targets T (at least one) and the list L cut to k, h_i = 1 if L[i] is in T:

===========  =====================================================================================
recall       sum of h_i / \|T\|
precision    sum of h_i / k, also for a list shorter than k
ndcg         sum of h_i / log2(i + 1), over the same sum for min(k, \|T\|) hits at the top
map          sum of h_i * (hits among the first i) / i, over min(k, \|T\|)
mrr          1 / place of the first hit, 0 without one
hit          1 with any hit
novelty      mean over L of -log2 p(i), p = share of the past users who have the item, 1 / past users
             for an item that none has; not defined for an empty list
coverage     distinct items in the lists of all users, over the size of the catalogue: one value, not a mean
===========  =====================================================================================

A user with targets but without a list scores 0; only novelty excludes such users.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def ndcg(hits: Bools, targets: Ints, k: int) -> Floats:
    """NDCG@k of each user; see :func:`per_user`."""
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    return (hits[:, :k] * gains).sum(axis=1) / gains.cumsum()[np.minimum(k, targets) - 1]


def per_user(hits: Bools, targets: Ints, k: int) -> dict[str, Floats]:
    """The metrics with a value per user: recall, precision, ndcg, map, mrr and hit.

    Args:
        hits: [users, at least k] whether the item at that place is a target.
        targets: [users] number of distinct targets, at least 1.
        k: length of the list.

    Returns:
        Per metric an array [users].
    """
    top = hits[:, :k]
    hits_so_far: Ints = top.cumsum(axis=1)
    hit_count: Ints = top.sum(axis=1)
    any_hit = hit_count > 0
    return {
        "recall": hit_count / targets,
        "precision": hit_count / k,
        "ndcg": ndcg(hits, targets, k),
        "map": (top * hits_so_far / np.arange(1, k + 1)).sum(axis=1) / np.minimum(k, targets),
        "mrr": np.where(any_hit, 1.0 / (top.argmax(axis=1) + 1), 0.0),
        "hit": any_hit.astype(np.float64),
    }


def novelty(self_information: Floats, k: int) -> Floats:
    """Novelty@k of each user.

    Args:
        self_information: [users, at least k] -log2 p of the item at that place; NaN where the list has ended.
        k: length of the list.

    Returns:
        Array [users]; NaN for an empty list.
    """
    top = self_information[:, :k]
    length = (~np.isnan(top)).sum(axis=1)
    return np.where(length > 0, np.nansum(top, axis=1) / np.maximum(length, 1), np.nan)


def hits_at(group: Ints, relevant: Bools, scores: Floats, k: int) -> Bools:
    """[groups, k] whether the row at that place of a group is relevant: scores descending, ties in the order of rows.

    Args:
        group: [rows] code 0, 1, … of the group; each group has a row.
        relevant: [rows].
        scores: [rows].
        k: length of the list.
    """
    order = np.lexsort((-scores, group))
    sizes = np.bincount(group)
    place = np.arange(len(order)) - np.repeat(sizes.cumsum() - sizes, sizes)
    top = place < k
    hits = np.zeros((len(sizes), k), dtype=np.bool_)
    hits[group[order][top], place[top]] = relevant[order][top]
    return hits
