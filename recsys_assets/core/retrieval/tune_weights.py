"""The search for weights of a sum: of the generators in the fusion, and of the models of 'cf_ensemble'.

Weights are learned on all past windows together and shrunk towards those that apply without a search. How far is
decided by cross-validation over the windows: with little data or much noise they hardly move, with a clear signal they
go all the way. Keeping or discarding what was found as a whole, by a test on held-out users, would need ten times the
users: it throws away most gains, and keeps a lucky window in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_assets.core.evaluation.metrics import Bools, Floats, Ints
from recsys_assets.core.feature_names import MODEL_NAMES
from recsys_assets.core.ids import positions
from recsys_assets.core.ranking.split import held_out
from recsys_assets.core.retrieval.params import SearchResult
from recsys_assets.core.tuning.coordinates import Improvement, Weights, coordinate_ascent
from recsys_assets.core.tuning.study import COMPLETE, Record

CUTOFF = 10
"""Length of the list whose NDCG is maximized."""

MOST_USERS = 2_000
"""Most users of a window that are read; more would take time and change little."""

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far from the base to what was found weights are tried, as an exponent."""

_FOLDS = 4
_PICKED = 2.25
"""What the variance of a gain counts times, since the share with the highest gain was picked."""
_LEAST = 0.01
"""What a weight that was found to be 0 counts as, of the base, so that a share of the way leads somewhere."""


@dataclass(frozen=True)
class LabelledScores:
    """Scores of the candidates of past users, with labels; items of a user ascend.

    Attributes:
        names: of the summands.
        scores: [summands, users, items] what each adds at weight 1.
        positive: [users, items] whether the item is a target of the user.
        valid: [users, items] False in the padding behind a user's last item.
        window: [users] number of the window, the oldest first.
    """

    names: tuple[str, ...]
    scores: Floats
    positive: Bools
    valid: Bools
    window: Ints

    def of(self, users: Bools) -> LabelledScores:
        """The rows of some users."""
        return LabelledScores(
            self.names, self.scores[:, users], self.positive[users], self.valid[users], self.window[users]
        )

    @cached_property
    def _targets(self) -> tuple[Ints, Ints, Floats]:
        """Row and column of each target, and the best gain that each user could reach."""
        rows, columns = np.nonzero(self.positive)
        gains = np.cumsum(1.0 / np.log2(np.arange(2, CUTOFF + 2)))
        return rows, columns, gains[np.minimum(self.positive.sum(axis=1), CUTOFF) - 1]

    def ndcg(self, weights: Mapping[str, float]) -> Floats:
        """NDCG@10 of each user's list by the weighted sum, ideal over the targets among the candidates."""
        total: Floats = np.zeros(self.positive.shape, np.float64)
        for name, scores in zip(self.names, self.scores, strict=True):
            total += weights[name] * scores
        total[~self.valid] = -np.inf
        rows, columns, ideal = self._targets
        others, own = total[rows], total[rows, columns][:, None]
        before = np.arange(total.shape[1]) < columns[:, None]
        rank = ((others > own) | ((others == own) & before)).sum(axis=1)
        gains = np.where(rank < CUTOFF, 1.0 / np.log2(rank + 2.0), 0.0)
        return np.bincount(rows, gains, len(ideal)) / ideal


def fusion_scores(
    windows: Sequence[pa.Table], names: tuple[str, ...], constant: float, seed: int = 0
) -> LabelledScores:
    """What each generator adds to the fused score of a candidate.

    Args:
        windows: user_id, item_id, label and ``<generator>_rank`` of each window, the oldest first; users without a
            positive are left out. The order of the rows does not matter.
        names: of the generators.
        constant: of the fusion.
        seed: of the choice of users where a window has more than ``MOST_USERS``.
    """

    def part(rows: pa.Table, name: str) -> Floats:
        rank = rows[f"{name}_rank"].cast(pa.float64()).to_numpy()
        return np.nan_to_num(1.0 / (constant + rank))

    return _labelled(windows, names, part, seed)


def ensemble_scores(windows: Sequence[pa.Table], seed: int = 0) -> LabelledScores:
    """Scores by each model of 'cf_ensemble' of the candidates that a user has not interacted with.

    Args:
        windows: as for :func:`fusion_scores`, with ``ui_events`` and ``ui_<model>``; candidates that no model knows are
            left out.
        seed: likewise.
    """

    def known(rows: pa.Table) -> pa.Table:
        new = np.nan_to_num(rows["ui_events"].to_numpy()) == 0
        scored = np.any([rows[f"ui_{name}"].is_valid().to_numpy() for name in MODEL_NAMES], axis=0)
        return rows.filter(pa.array(new & scored))

    def part(rows: pa.Table, name: str) -> Floats:
        return np.nan_to_num(rows[f"ui_{name}"].cast(pa.float64()).to_numpy())

    return _labelled([known(rows) for rows in windows], MODEL_NAMES, part, seed)


def tune_weights(
    data: LabelledScores,
    base: Mapping[str, float],
    day: str,
    study: str,
    evaluations: int,
    min_users: int,
    windows: Sequence[str] = (),
) -> SearchResult:
    """Search the weights with the highest NDCG@10 of past lists, and shrink them towards the base.

    Coordinate ascent finds weights on all users but those of a fold; a fold is one window or several, or a part of the
    users where there is one window. Between the base and what was found lie geometric means, base^(1-s) * found^s; the
    s with the best lists of the held-out folds is shrunk once more, by how certain its gain is: s * (1 - (1.5 standard
    errors / gain)^2), or 0 (a positive-part James-Stein estimator). All users together then give the weights, of which
    that share is taken. So a generator that looked useless keeps some weight, unless the evidence against it is clear.
    The sum of the weights stays that of the base, so that fused scores of different days are comparable.

    Args:
        data: of windows that end before the one that evaluates the weights later.
        base: weight of each summand: the first trial, and the result where no better one is found.
        day: of the search.
        study: name of the search.
        evaluations: most weights to evaluate in an ascent.
        min_users: fewest users; with fewer, the base stays.
        windows: the day of each window, the oldest first.

    Returns:
        The weights; as trials the improvements that the search made on all users; and of each window the weights that
        the folds without it gave, which are the base where no other window has users.
    """
    users = len(data.positive)
    folds = _folds(data)
    if users < max(2, min_users) or len(np.unique(folds)) < 2:
        return SearchResult(dict(base))
    held: dict[float, Floats] = {share: np.zeros(users) for share in SHARES}
    found: dict[int, dict[str, float]] = {}
    for fold in np.unique(folds):
        found[fold] = _named(data, _ascend(data.of(folds != fold), base, evaluations)[-1].weights)
        validation = data.of(folds == fold)
        for share, values in held.items():
            values[folds == fold] = validation.ndcg(shrunk(base, found[fold], share))
    share = _share(held)
    alone = len(np.unique(data.window)) < 2
    fold_of = dict(zip(data.window.tolist(), folds.tolist(), strict=True))
    path = _ascend(data, base, evaluations)
    ascended = _named(data, path[-1].weights)
    values = shrunk(base, ascended, share)
    nearest = min(SHARES, key=lambda one: abs(one - share))
    return SearchResult(
        values={**base, **values},
        trials=tuple(Record(step.evaluation, COMPLETE, _named(data, step.weights), step.value, {}) for step in path),
        tuned_on=day,
        study=study,
        facts={
            "users": float(users),
            "windows": float(len(np.unique(data.window))),
            "share": share,
            "ndcg_before": float(held[0.0].mean()),
            "ndcg_after": float(held[nearest].mean()),
        },
        held_out={
            day: dict(base) if alone else {**base, **shrunk(base, found.get(fold_of.get(at, -1), ascended), share)}
            for at, day in enumerate(windows)
        },
    )


def shrunk(base: Mapping[str, float], found: Mapping[str, float], share: float) -> dict[str, float]:
    """Weights on the way from the base to what was found, with the sum of the base."""
    total, reached = sum(base.values()), sum(found.values())
    weights: dict[str, float] = {}
    for name, start in base.items():
        end = found[name] * total / reached if reached else start
        weights[name] = start ** (1 - share) * max(end, _LEAST * start) ** share if start else share * end
    scale = total / sum(weights.values()) if any(weights.values()) else 1.0
    return {name: round(weight * scale, 6) for name, weight in weights.items()}


def _share(held: Mapping[float, Floats]) -> float:
    """How far to go, given the NDCG of each held-out user by how far one went."""
    best = max(held, key=lambda share: (held[share].mean(), -share))
    gain = held[best] - held[0.0]
    if gain.mean() <= 0:
        return 0.0
    certainty = 1.0 - _PICKED * gain.var(ddof=1) / len(gain) / gain.mean() ** 2
    return round(best * max(0.0, float(certainty)), 4)


def _ascend(data: LabelledScores, base: Mapping[str, float], evaluations: int) -> list[Improvement]:
    start = np.array([base[name] for name in data.names], np.float32)
    return coordinate_ascent(lambda weights: float(data.ndcg(_named(data, weights)).mean()), start, evaluations)


def _named(data: LabelledScores, weights: Weights) -> dict[str, float]:
    return dict(zip(data.names, weights.tolist(), strict=True))


def _folds(data: LabelledScores) -> Ints:
    """The fold of each user: windows that follow one another, or every fourth user of a single window."""
    windows = np.unique(data.window)
    if len(windows) < 2:
        return np.arange(len(data.window)) % _FOLDS
    return np.searchsorted(windows, data.window) * min(_FOLDS, len(windows)) // len(windows)


_Part = Callable[[pa.Table, str], Floats]
"""What a summand adds to the score of each row."""


def _labelled(windows: Sequence[pa.Table], names: tuple[str, ...], part: _Part, seed: int) -> LabelledScores:
    parts = [_window(rows, names, part, seed) for rows in windows]
    width = max((scores.shape[2] for scores, _, _ in parts), default=0)

    def padded(array: NDArray[Any]) -> NDArray[Any]:
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, width - array.shape[-1])])

    if not parts:
        nothing = np.zeros((0, 0), np.bool_)
        return LabelledScores(names, np.zeros((len(names), 0, 0)), nothing, nothing, np.zeros(0, np.int64))
    return LabelledScores(
        names,
        np.concatenate([padded(scores) for scores, _, _ in parts], axis=1),
        np.concatenate([padded(positive) for _, positive, _ in parts]),
        np.concatenate([padded(valid) for _, _, valid in parts]),
        np.repeat(np.arange(len(parts)), [len(positive) for _, positive, _ in parts]),
    )


def _window(rows: pa.Table, names: tuple[str, ...], part: _Part, seed: int) -> tuple[Floats, Bools, Bools]:
    """Scores, labels and places of the users of one window who have a positive."""
    rows = rows.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    _, user = positions(rows["user_id"])
    label = rows["label"].to_numpy() > 0
    useful = np.bincount(user[label], minlength=int(user.max(initial=-1)) + 1) > 0
    ids = rows["user_id"].unique().filter(pa.array(useful)).to_pylist()
    if len(ids) > MOST_USERS:
        useful[useful] = held_out(ids, MOST_USERS / len(ids), seed)
    used = useful[user]
    rows, user, label = rows.filter(pa.array(used)), (useful.cumsum() - 1)[user[used]], label[used]
    sizes = np.bincount(user, minlength=int(useful.sum()))
    column = np.arange(len(user)) - np.repeat(sizes.cumsum() - sizes, sizes)
    shape = (len(sizes), int(sizes.max(initial=0)))
    scores = np.zeros((len(names), *shape))
    for at, name in enumerate(names):
        scores[at, user, column] = part(rows, name)
    positive, valid = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    positive[user, column], valid[user, column] = label, True
    return scores, positive, valid
