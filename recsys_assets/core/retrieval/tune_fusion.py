"""The search for weights of the generators in the fusion, on the labels of earlier candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.evaluation.bootstrap import paired_difference
from recsys_assets.core.evaluation.metrics import Bools, Floats, ndcg
from recsys_assets.core.gate.rule import CONFIDENCE, beats
from recsys_assets.core.ids import positions
from recsys_assets.core.models.top_k import largest
from recsys_assets.core.ranking.split import held_out
from recsys_assets.core.retrieval.params import SearchResult
from recsys_assets.core.tuning.coordinates import Weights, coordinate_ascent
from recsys_assets.core.tuning.study import COMPLETE, Record

CUTOFF = 10
"""Length of the list whose NDCG is maximized."""

MOST_USERS = 10_000
"""Most users that are read; more would take memory and change little."""


@dataclass(frozen=True)
class Ranked:
    """Candidates of some users by generator, with labels; items of a user ascend.

    Attributes:
        names: of the generators.
        place: [generators, users, items] fusion constant + rank; infinite where the generator does not have the item.
        positive: [users, items] whether the item is a target of the user.
        valid: [users, items] False in the padding behind a user's last item.
    """

    names: tuple[str, ...]
    place: NDArray[np.float32]
    positive: Bools
    valid: Bools

    def of(self, users: Bools) -> Ranked:
        """The rows of some users."""
        return Ranked(self.names, self.place[:, users], self.positive[users], self.valid[users])

    def ndcg(self, weights: Mapping[str, float]) -> Floats:
        """NDCG@10 of each user's fused list, ideal over the positives among the candidates."""
        score: Floats = np.zeros(self.positive.shape, np.float64)
        for name, place in zip(self.names, self.place, strict=True):
            score = score + weights[name] / place.astype(np.float64)
        score[~self.valid] = -1.0
        k = min(CUTOFF, self.positive.shape[1])
        hits = np.zeros((len(score), CUTOFF), np.bool_)
        hits[:, :k] = np.take_along_axis(self.positive, largest(score, k), axis=1)
        return ndcg(hits, self.positive.sum(axis=1), CUTOFF)


def ranked(examples: pa.Table, names: tuple[str, ...], constant: float, seed: int = 0) -> Ranked:
    """Examples as arrays.

    Args:
        examples: user_id, item_id, label and ``<generator>_rank``, of one window; users without a positive are left
            out. The order of the rows does not matter.
        names: of the generators.
        constant: of the fusion.
        seed: of the choice of users where there are more than ``MOST_USERS``.
    """
    rows = examples.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    _, user = positions(rows["user_id"])
    label = rows["label"].to_numpy() > 0
    useful = np.bincount(user[label], minlength=int(user.max(initial=-1)) + 1) > 0
    ids = rows["user_id"].unique().filter(pa.array(useful)).to_pylist()
    if len(ids) > MOST_USERS:
        useful[useful] = held_out(ids, MOST_USERS / len(ids), seed)
    used = useful[user]
    user, label = (useful.cumsum() - 1)[user[used]], label[used]
    sizes = np.bincount(user, minlength=int(useful.sum()))
    column = np.arange(len(user)) - np.repeat(sizes.cumsum() - sizes, sizes)
    shape = (len(sizes), int(sizes.max(initial=0)))
    place = np.full((len(names), *shape), np.inf, np.float32)
    for at, name in enumerate(names):
        rank = rows[f"{name}_rank"].cast(pa.float32()).to_numpy()[used]
        place[at, user, column] = np.where(np.isnan(rank), np.inf, constant + rank)
    positive, valid = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    positive[user, column], valid[user, column] = label, True
    return Ranked(names, place, positive, valid)


def tune_weights(
    data: Ranked,
    base: Mapping[str, float],
    day: str,
    study: str,
    evaluations: int,
    min_users: int,
    seed: int = 0,
) -> SearchResult:
    """Search the weights with the highest NDCG@10 of the fused lists.

    They are searched on one half of the users, and used if they beat the base on the other half, by the rule of the
    gate. The sum of the weights stays that of the base, so that fused scores of different days are comparable.

    Args:
        data: of a window that ends before the one that evaluates the weights later.
        base: weight of each generator of ``data``: the first trial, and the result where no better one is found.
        day: of the search.
        study: name of the search.
        evaluations: most weights to evaluate.
        min_users: fewest users in each half; with fewer, the base stays.
        seed: of the halves and of the bootstrap.

    Returns:
        The weights, and as trials the improvements that the search made on its half.
    """
    users = len(data.positive)
    validation = held_out([*range(users)], 0.5, seed) if users else np.zeros(0, np.bool_)
    if min(validation.sum(), (~validation).sum()) < max(1, min_users):
        return SearchResult(dict(base))
    search_half, validation_half = data.of(~validation), data.of(validation)

    def objective(weights: Weights) -> float:
        return float(search_half.ndcg(named(weights)).mean())

    def named(weights: Weights) -> dict[str, float]:
        return dict(zip(data.names, weights.tolist(), strict=True))

    path = coordinate_ascent(objective, np.array([base[name] for name in data.names], np.float32), evaluations)
    best = _scaled(named(path[-1].weights), sum(base[name] for name in data.names))
    before, after = validation_half.ndcg(base), validation_half.ndcg(best)
    gain = paired_difference(after, before, seed=seed, level=CONFIDENCE)
    kept = beats(gain)
    return SearchResult(
        values={**base, **best} if kept else dict(base),
        trials=tuple(Record(step.evaluation, COMPLETE, named(step.weights), step.value, {}) for step in path),
        tuned_on=day,
        study=study,
        facts={
            "users": float(validation.sum()),
            "ndcg_before": float(before.mean()),
            "ndcg_after": float(after.mean()),
            "gain_low": gain.low,
            "kept": float(kept),
        },
    )


def _scaled(weights: Mapping[str, float], total: float) -> dict[str, float]:
    current = sum(weights.values())
    return {name: round(weight * total / current, 6) if current else weight for name, weight in weights.items()}
