"""An ensemble of models: the weighted sum of their scores, standardized for each user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.sparse import csr_matrix

from recsys_assets.core.evaluation.metrics import Bools, ndcg
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.interactions import Floats, InteractionModel
from recsys_assets.core.models.top_k import largest
from recsys_assets.core.tuning.coordinates import coordinate_ascent

_CELLS = 20_000_000
"""Scores held at a time for each model: 80 MB."""


@dataclass(frozen=True)
class Pool:
    """Candidates of some users from all models.

    Attributes:
        items: [users, candidates] columns of the matrix, each once; -1 where another model has the same candidate.
        scores: [models, users, candidates] standardized scores; meaningless where there is no item.
    """

    items: Ints
    scores: Floats


def standardized(model: InteractionModel, users: Ints) -> Floats:
    """Scores [users, items] with mean 0 and deviation 1 over the items of each user."""
    scores = model.scores(users)
    scores -= scores.mean(axis=1, keepdims=True)
    scores /= np.maximum(scores.std(axis=1, keepdims=True), np.float32(1e-12))
    return scores


def top(
    models: Mapping[str, InteractionModel],
    weights: Mapping[str, float],
    users: Ints,
    seen: csr_matrix,
    k: int,
) -> tuple[Ints, Floats]:
    """The k best items of each user.

    Args:
        models: by name; those without a weight are not used.
        weights: of their standardized scores.
        users: rows of the matrix.
        seen: [all users, items]; stored pairs are not recommended.
        k: length of the lists, at most the number of items.

    Returns:
        Columns and scores [users, k], best first, ties to the first column; where no item is left, the score is
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


def pool(models: Mapping[str, InteractionModel], users: Ints, seen: csr_matrix, k: int) -> Pool:
    """The k best items of every model for each user, with the scores of all models.

    Args:
        models: by name.
        users: rows of the matrix.
        seen: as for :func:`top`.
        k: items per model.
    """
    parts: list[Pool] = []
    for block in _blocks(users, _items(seen) * len(models)):
        every = np.stack([standardized(model, block) for model in models.values()])
        items = np.concatenate([_best(scores.copy(), seen[block], k)[0] for scores in every], axis=1)
        items = np.sort(items, axis=1)
        items[:, 1:][items[:, 1:] == items[:, :-1]] = -1
        scores = np.take_along_axis(every, np.maximum(items, 0)[None], axis=2)
        parts.append(Pool(items, scores))
    return Pool(np.concatenate([part.items for part in parts]), np.concatenate([p.scores for p in parts], axis=1))


@dataclass(frozen=True)
class ModelScores:
    """Scores of some pairs by all models, ordered by user and item.

    Attributes:
        users: [pairs] rows of the matrix.
        items: [pairs] its columns.
        totals: [pairs] weighted sums of the standardized scores for the k best unseen items of each user; not a number
            for others.
        scores: [models, pairs] standardized scores.
    """

    users: Ints
    items: Ints
    totals: Floats
    scores: Floats


def model_scores(
    models: Mapping[str, InteractionModel],
    weights: Mapping[str, float],
    users: Ints,
    seen: csr_matrix,
    k: int,
    always: Ints,
    unavailable: Ints,
    *,
    include_seen: bool,
) -> ModelScores:
    """Scores of the k best items of each model and of the ensemble, and of some others.

    Args:
        models: by name.
        weights: of their standardized scores.
        users: rows of the matrix, ascending.
        seen: [all users, items]; stored pairs are not among the best.
        k: best items of each model, at most the number of items.
        always: columns that are scored for every user.
        unavailable: columns that are scored for no user.
        include_seen: whether seen pairs are scored.
    """
    parts: list[ModelScores] = []
    for block in _blocks(users, _items(seen) * len(models)):
        every = np.stack([standardized(model, block) for model in models.values()])
        total = np.zeros(every.shape[1:], np.float32)
        for name, scores in zip(models, every, strict=True):
            if weights.get(name):
                total += np.float32(weights[name]) * scores
        scored = np.zeros(total.shape, np.bool_)
        scored[:, always] = True
        for scores in every:
            np.put_along_axis(scored, _best(scores.copy(), seen[block], k)[0], True, axis=1)
        total[:, unavailable] = -np.inf
        best, values = _best(total, seen[block], k)
        total[:] = np.nan
        np.put_along_axis(total, best, np.where(np.isfinite(values), values, np.float32(np.nan)), axis=1)
        np.put_along_axis(scored, best, True, axis=1)
        scored[seen[block].nonzero()] = include_seen
        scored[:, unavailable] = False
        row, column = np.nonzero(scored)
        parts.append(ModelScores(block[row], column, total[row, column], every[:, row, column]))
    axes = {"users": 0, "items": 0, "totals": 0, "scores": 1}
    return ModelScores(
        **{name: np.concatenate([getattr(part, name) for part in parts], at) for name, at in axes.items()}
    )


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
