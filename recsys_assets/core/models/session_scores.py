"""Scores of the candidates of sessions: neighbours, links and returns, fused.

Neighbours and links each distribute a share over the items that are new to the session. The weighted mean of both is
scaled to the probability that the repeat rates leave. So a score approximates the probability of the next click, and
scores of different sessions are comparable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.session_model import Doubles, SessionModel, SessionParams
from recsys_assets.core.models.session_parts import Visits, repeat_cells, spans

# Least probability of all items new to the session together.
_LEAST_NEW = 0.05


@dataclass(frozen=True)
class _Part:
    """Candidates of one kind; pairs of session and item may repeat.

    Attributes:
        rows: position of the session.
        items: position of the item.
        weights: what does not depend on ``similarity_power`` and ``distance_decay``.
        neighbours: position of the neighbour in ``similar``; None for links.
        distances: clicks from the click that the neighbour shares; None for links.
        similar: similarity of each neighbour.
    """

    rows: Ints
    items: Ints
    weights: Doubles
    neighbours: Ints | None = None
    distances: Ints | None = None
    similar: Doubles | None = None

    def __getitem__(self, kept: npt.NDArray[np.bool_]) -> _Part:
        neighbours = self.neighbours[kept] if self.neighbours is not None else None
        distances = self.distances[kept] if self.distances is not None else None
        return _Part(self.rows[kept], self.items[kept], self.weights[kept], neighbours, distances, self.similar)

    def weighted(self, params: SessionParams) -> Doubles:
        """The weights by similarity and distance."""
        if self.neighbours is None or self.distances is None or self.similar is None:
            return self.weights
        decay = np.exp(-np.arange(self.distances.max(initial=0) + 1) / params.distance_decay)
        return (self.similar**params.similarity_power)[self.neighbours] * self.weights * decay[self.distances]


class SessionScores:
    """The candidates of a block of sessions.

    What depends on ``similarity_power``, ``distance_decay``, ``neighbour_weight`` and ``link_weight`` alone is left to
    :meth:`scores`, so that trying other values of these costs little.

    Args:
        model: fitted; a part of weight 0 is left out.
        query: visits of the sessions.

    Attributes:
        sessions: ``query.rows``, distinct and ascending.
        keys: position in ``sessions`` * number of items + position of the item, of each candidate; ascending.
    """

    def __init__(self, model: SessionModel, query: Visits) -> None:
        params, width = model.params, len(model.items)
        first = _new(query.rows)  # they ascend
        self.sessions, rows = query.rows[first], np.cumsum(first) - 1
        query = replace(query, rows=rows)
        own = rows * width + query.items
        seen = np.sort(own)
        self._rates = model.repeat_rates[repeat_cells(query)] if params.repeats else np.zeros(len(rows))
        self._share_of_new = np.maximum(1 - np.bincount(rows, self._rates), _LEAST_NEW)
        clicks = np.exp(-query.lags / params.click_decay)
        self._neighbours, neighbour_keys = _new_items(
            _neighbours(model, query, clicks) if params.neighbour_weight > 0 else _NOTHING, seen, width
        )
        self._links, link_keys = _new_items(
            _linked(model, query, clicks) if params.link_weight > 0 else _NOTHING, seen, width
        )
        self.keys, self._places = _distinct(np.concatenate([own, neighbour_keys, link_keys]))

    def scores(self, params: SessionParams) -> Doubles:
        """The score of each of ``keys``; 0 for what only a part of weight 0 proposes."""
        count = len(self.sessions)
        shares: list[Doubles] = []
        quotas = np.zeros(count)
        for quota, part in ((params.neighbour_weight, self._neighbours), (params.link_weight, self._links)):
            weights = part.weighted(params)
            total = np.bincount(part.rows, weights, count)
            quotas += quota * (total > 0)
            shares.append(quota * weights / np.where(total > 0, total, 1)[part.rows])
        scale = self._share_of_new / np.where(quotas > 0, quotas, 1)
        scaled = [share * scale[part.rows] for part, share in zip((self._neighbours, self._links), shares, strict=True)]
        return _sums(self._places, np.concatenate([self._rates, *scaled]), len(self.keys))


_NOTHING = _Part(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def _new_items(part: _Part, seen: Ints, width: int) -> tuple[_Part, Ints]:
    """The candidates that their session does not have yet, and their keys."""
    keys = part.rows * width + part.items
    new = (part.weights > 0) & (seen.take(np.searchsorted(seen, keys), mode="clip") != keys)
    return part[new], keys[new]


def _neighbours(model: SessionModel, query: Visits, clicks: Doubles) -> _Part:
    """Items of the most similar sessions of the log."""
    params, count = model.params, len(model.session_starts) - 1
    starts = model.item_starts[query.items]
    sizes = np.minimum(model.item_starts[query.items + 1] - starts, params.recent_sessions)
    shared_visits = model.item_visits[spans(starts, sizes)]
    keys = np.repeat(query.rows * count, sizes) + model.visit_sessions[shared_visits]
    # The latest clicks come first and the sort is stable: the shared visit is that of the latest shared click.
    order = np.argsort(keys, kind="stable")
    shared_visits = shared_visits[order][_new(keys[order])]
    keys, places = _distinct(keys, order)
    similar = _sums(places, np.repeat(clicks * model.rarity[query.items], sizes), len(keys))
    rows, sessions = np.divmod(keys, count)
    similar = similar * params.age_weights(sessions, count)
    kept = _most_similar(rows, sessions, similar, params.neighbours)
    rows, sessions, shared_visits = rows[kept], sessions[kept], shared_visits[kept]
    starts = model.session_starts[sessions]
    sizes = model.session_starts[sessions + 1] - starts
    visited = spans(starts, sizes)
    items = model.visit_items[visited].astype(np.int64)
    distances = np.abs(model.visit_lags[visited] - np.repeat(model.visit_lags[shared_visits], sizes))
    neighbours = np.repeat(np.arange(len(rows)), sizes)
    return _Part(rows[neighbours], items, model.rarity[items], neighbours, distances, similar[kept])


def _most_similar(rows: Ints, sessions: Ints, similar: Doubles, most: int) -> npt.NDArray[np.bool_]:
    """Mask of the ``most`` neighbours of each row (ascending) that are most similar; of equals, the newest."""
    kept = np.ones(len(rows), np.bool_)
    crowded = np.flatnonzero(np.bincount(rows)[rows] > most)
    order = crowded[np.lexsort((-sessions[crowded], -similar[crowded], rows[crowded]))]
    ranked = rows[order]
    kept[order[np.arange(len(order)) - np.searchsorted(ranked, ranked) >= most]] = False
    return kept


def _linked(model: SessionModel, query: Visits, clicks: Doubles) -> _Part:
    """Items linked to those of the session."""
    starts = model.link_starts[query.items]
    sizes = model.link_starts[query.items + 1] - starts
    ends = spans(starts, sizes)
    weights = np.repeat(clicks, sizes) * model.link_weights[ends]
    return _Part(np.repeat(query.rows, sizes), model.link_items[ends].astype(np.int64), weights)


def _new(ordered: Ints) -> npt.NDArray[np.bool_]:
    """Mask of the values that differ from the one before; ``numpy.diff`` takes several times as long for a few."""
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return new


def _distinct(keys: Ints, order: Ints | None = None) -> tuple[Ints, Ints]:
    """The distinct keys (not negative), ascending, and the place of each key among them.

    Args:
        keys: any.
        order: of the keys, ascending and stable, where it is known.
    """
    order = np.argsort(keys, kind="stable") if order is None else order
    new = _new(keys[order])
    places = np.empty(len(keys), np.int64)
    places[order] = np.cumsum(new) - 1
    return keys[order][new], places


def _sums(places: Ints, values: Doubles, count: int) -> Doubles:
    """The sum of the values at each of ``count`` places, added in the order given."""
    return np.bincount(places, values, count).astype(np.float64, copy=False)
