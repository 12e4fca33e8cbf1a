"""Weights of the generators in the fusion, learned from what became of earlier candidates."""

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
from recsys_assets.core.retrieval.params import Found
from recsys_assets.core.tuning.coordinates import MOST, Coordinates
from recsys_assets.core.tuning.study import Outcome, Search, Trial, best_of

CUTOFF = 10
"""Length of the list whose NDCG is raised."""

MOST_USERS = 10_000
"""Users to learn from; more say nothing new, and take memory."""


@dataclass(frozen=True)
class Ranked:
    """What each generator proposed to some users, and what of it they acted on; items of a user ascend.

    Attributes:
        names: of the generators.
        place: [generators, users, items] fusion constant + rank; infinite where the generator did not propose it.
        acted: [users, items] whether the user acted on it.
        there: [users, items] False where a user's items have ended.
    """

    names: tuple[str, ...]
    place: NDArray[np.float32]
    acted: Bools
    there: Bools

    def of(self, users: Bools) -> Ranked:
        """The same of some users."""
        return Ranked(self.names, self.place[:, users], self.acted[users], self.there[users])

    def ndcg(self, weights: Mapping[str, float]) -> Floats:
        """NDCG@10 of each user's fused list, ideal over the positives among the candidates."""
        score: Floats = np.zeros(self.acted.shape, np.float64)
        for name, place in zip(self.names, self.place, strict=True):
            score = score + weights[name] / place.astype(np.float64)
        score[~self.there] = -1.0
        k = min(CUTOFF, self.acted.shape[1])
        hits = np.zeros((len(score), CUTOFF), np.bool_)
        hits[:, :k] = np.take_along_axis(self.acted, largest(score, k), axis=1)
        return ndcg(hits, self.acted.sum(axis=1), CUTOFF)


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
    kept = useful[user]
    user, label = (useful.cumsum() - 1)[user[kept]], label[kept]
    sizes = np.bincount(user, minlength=int(useful.sum()))
    column = np.arange(len(user)) - np.repeat(sizes.cumsum() - sizes, sizes)
    shape = (len(sizes), int(sizes.max(initial=0)))
    place = np.full((len(names), *shape), np.inf, np.float32)
    for at, name in enumerate(names):
        rank = rows[f"{name}_rank"].cast(pa.float32()).to_numpy()[kept]
        place[at, user, column] = np.where(np.isnan(rank), np.inf, constant + rank)
    acted, there = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    acted[user, column], there[user, column] = label, True
    return Ranked(names, place, acted, there)


def tune_weights(data: Ranked, base: Mapping[str, float], day: str, search: Search, min_users: int) -> Found:
    """Weights under which users act on what stands first.

    They are searched on one half of the users, and kept if they beat the base on the other half, by
    the rule of the gate. The sum of the weights stays as it was, so that fused scores of
    different days mean the same.

    Args:
        data: of a window that ends before whatever the weights are judged on later.
        base: where to start, and what stays where nothing better is found; of each generator of ``data``.
        day: of the search.
        search: how it runs.
        min_users: fewest users in each half; with fewer, the base stays.
    """
    users = len(data.acted)
    judging = held_out([*range(users)], 0.5, search.seed) if users else np.zeros(0, np.bool_)
    if min(judging.sum(), (~judging).sum()) < max(1, min_users):
        return Found(dict(base))
    learn, evaluator = data.of(~judging), data.of(judging)

    def objective(trial: Trial) -> Outcome:
        weights = {name: trial.suggest_float(name, 0.0, MOST) for name in data.names}
        return Outcome(float(learn.ndcg(weights).mean()))

    records = search.run(objective, Coordinates({name: base[name] for name in data.names}))
    best = _scaled(best_of(records).params, sum(base[name] for name in data.names))
    before, after = evaluator.ndcg(base), evaluator.ndcg(best)
    gain = paired_difference(after, before, seed=search.seed, level=CONFIDENCE)
    kept = beats(gain)
    return Found(
        values={**base, **best} if kept else dict(base),
        trials=tuple(records),
        tuned_on=day,
        study=search.study,
        facts={
            "users": float(judging.sum()),
            "ndcg_before": float(before.mean()),
            "ndcg_after": float(after.mean()),
            "gain_low": gain.low,
            "kept": float(kept),
        },
    )


def _scaled(weights: Mapping[str, float], total: float) -> dict[str, float]:
    found = sum(weights.values())
    return {name: round(weight * total / found, 6) if found else weight for name, weight in weights.items()}
