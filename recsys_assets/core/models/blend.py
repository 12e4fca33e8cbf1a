"""Several models as one: their scores, standardized for each user, weighed and added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.sparse import csr_matrix

from recsys_assets.core.evaluation.metrics import Bools, ndcg
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Floats, Model
from recsys_assets.core.models.top_k import largest

_CELLS = 20_000_000
"""Scores held at a time for each model: 80 MB."""
_STEPS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.2, 1.5, 2.0, 4.0)


@dataclass(frozen=True)
class Pool:
    """What the models propose to some users.

    Attributes:
        items: [users, proposals] columns of the matrix, each once; -1 where another model proposed the same.
        scores: [models, users, proposals] standardized scores; they mean nothing where there is no item.
    """

    items: Ints
    scores: Floats


def standardized(model: Model, users: Ints) -> Floats:
    """Scores [users, items] with mean 0 and deviation 1 over the items of each user."""
    found = model.scores(users)
    found -= found.mean(axis=1, keepdims=True)
    found /= np.maximum(found.std(axis=1, keepdims=True), np.float32(1e-12))
    return found


def top(
    models: Mapping[str, Model],
    weights: Mapping[str, float],
    users: Ints,
    seen: csr_matrix,
    k: int,
) -> tuple[Ints, Floats]:
    """The k best items of each user.

    Args:
        models: by name; those without a weight are not asked.
        weights: of their standardized scores.
        users: rows of the matrix.
        seen: [all users, items]; what is stored here is not proposed.
        k: length of the lists, at most the number of items.

    Returns:
        Columns and scores [users, k], best first, of equals the first column; where nothing is left, the score is
        negative infinity.
    """
    items, values = [], []
    for block in _blocks(users, _items(seen)):
        total = np.zeros((len(block), _items(seen)), np.float32)
        for name, weight in weights.items():
            if weight:
                total += np.float32(weight) * standardized(models[name], block)
        best, scores = _best(total, seen[block], k)
        items.append(best)
        values.append(scores)
    return np.concatenate(items), np.concatenate(values)


def pool(models: Mapping[str, Model], users: Ints, seen: csr_matrix, k: int) -> Pool:
    """The k best items of every model for each user, with what all the models say of them.

    Args:
        models: by name.
        users: rows of the matrix.
        seen: as for :func:`top`.
        k: items per model.
    """
    parts: list[Pool] = []
    for block in _blocks(users, _items(seen) * len(models)):
        every = np.stack([standardized(model, block) for model in models.values()])
        proposed = np.concatenate([_best(scores.copy(), seen[block], k)[0] for scores in every], axis=1)
        proposed = np.sort(proposed, axis=1)
        proposed[:, 1:][proposed[:, 1:] == proposed[:, :-1]] = -1
        scores = np.take_along_axis(every, np.maximum(proposed, 0)[None], axis=2)
        parts.append(Pool(proposed, scores))
    return Pool(np.concatenate([part.items for part in parts]), np.concatenate([p.scores for p in parts], axis=1))


@dataclass(frozen=True)
class Opinions:
    """What the models say of some pairs, ordered by user and item.

    Attributes:
        users: [pairs] rows of the matrix.
        items: [pairs] its columns.
        totals: [pairs] weighed sums of the standardized scores of the k best pairs of each user that were not seen;
            not a number for others.
        scores: [models, pairs] standardized scores.
    """

    users: Ints
    items: Ints
    totals: Floats
    scores: Floats


def model_scores(
    models: Mapping[str, Model],
    weights: Mapping[str, float],
    users: Ints,
    seen: csr_matrix,
    k: int,
    also: Ints,
    closed: Ints,
    *,
    of_seen: bool,
) -> Opinions:
    """What the models say of the k best items of each of them and of all together, and of some others.

    Args:
        models: by name.
        weights: of their standardized scores.
        users: rows of the matrix, ascending.
        seen: [all users, items]; what is stored here is not among the best of anybody.
        k: best items of each model, at most the number of items.
        also: columns that everybody is told of.
        closed: columns that nobody is told of.
        of_seen: whether what was seen is told of.
    """
    parts: list[Opinions] = []
    for block in _blocks(users, _items(seen) * len(models)):
        every = np.stack([standardized(model, block) for model in models.values()])
        total = np.zeros(every.shape[1:], np.float32)
        for name, scores in zip(models, every, strict=True):
            if weights.get(name):
                total += np.float32(weights[name]) * scores
        told = np.zeros(total.shape, np.bool_)
        told[:, also] = True
        for scores in every:
            np.put_along_axis(told, _best(scores.copy(), seen[block], k)[0], True, axis=1)
        total[:, closed] = -np.inf
        best, values = _best(total, seen[block], k)
        total[:] = np.nan
        np.put_along_axis(total, best, np.where(np.isfinite(values), values, np.float32(np.nan)), axis=1)
        np.put_along_axis(told, best, True, axis=1)
        told[seen[block].nonzero()] = of_seen
        told[:, closed] = False
        row, column = np.nonzero(told)
        parts.append(Opinions(block[row], column, total[row, column], every[:, row, column]))
    axes = {"users": 0, "items": 0, "totals": 0, "scores": 1}
    return Opinions(**{name: np.concatenate([getattr(part, name) for part in parts], at) for name, at in axes.items()})


def learn(
    names: Sequence[str], proposed: Pool, targets: csr_matrix, k: int = 20, slices: Ints | None = None
) -> dict[str, float]:
    """Weights under which the targets come first, found one coordinate at a time.

    Targets held out in one way favour the models that this way suits. With several slices, whose targets were held out
    in different ways, the geometric mean of their NDCG is raised: a percent gained on one makes up for a percent lost
    on another, however hard each is.

    Args:
        names: of the models, in the order of ``proposed.scores``.
        proposed: by models that do not know the targets.
        targets: [users, items], one row for each user of the pool, each with at least one.
        k: length of the lists whose NDCG is raised.
        slices: [users] the slice that the targets of each user are from, numbered from 0; None if there is one only.

    Returns:
        Weight by name; the first that counts has 1.
    """
    k = min(k, proposed.items.shape[1])
    sizes = np.diff(targets.indptr)
    found_at = hits(targets, np.maximum(proposed.items, 0)) & (proposed.items >= 0)
    of = np.zeros(len(sizes), np.int64) if slices is None else slices

    def value(weights: Floats) -> float:
        total = np.tensordot(weights, proposed.scores, axes=1)
        total[proposed.items < 0] = -np.inf
        gains = ndcg(np.take_along_axis(found_at, largest(total, k), axis=1), sizes, k)
        means = np.bincount(of, gains) / np.bincount(of)
        return float(np.exp(np.log(np.maximum(means, 1e-12)).mean()))

    weights = np.ones(len(names), np.float32)
    reached, before = value(weights), -1.0
    while reached > before + 1e-5:
        before = reached
        for at in range(len(names)):
            for step in _STEPS:
                tried = weights.copy()
                tried[at] *= step
                if (found := value(tried)) > reached:
                    reached, weights = found, tried
    scale = weights[weights > 0][0]
    return {name: round(float(weight / scale), 4) for name, weight in zip(names, weights, strict=True)}


def hits(targets: csr_matrix, items: Ints) -> Bools:
    """Whether each item [users, places] is a target of its user (a row of ``targets``)."""
    return np.asarray(targets[np.arange(len(items))[:, None], items].todense() > 0)


def _best(scores: Floats, seen: csr_matrix, k: int) -> tuple[Ints, Floats]:
    """The k best of each row, in order; changes ``scores``."""
    scores[seen.nonzero()] = -np.inf
    places = largest(scores, k)
    return places, np.take_along_axis(scores, places, axis=1)


def _items(matrix: csr_matrix) -> int:
    _, items = cast("tuple[int, int]", matrix.shape)
    return items


def _blocks(users: Ints, width: int) -> Iterator[Ints]:
    size = max(1, _CELLS // max(1, width))
    for start in range(0, len(users), size):
        yield users[start : start + size]
