"""The next items of a session: items of similar sessions, linked items and returns to items of the session, fused.

:mod:`~recsys_assets.core.models.sessions` describes the parts. Neighbours and links each distribute a share over the
items that are new to the session. The weighted mean of both is scaled to the probability that the repeat rates leave.
So a score approximates the probability of the next click, and scores of different sessions are comparable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.ids import Ints, lookup
from recsys_assets.core.models.session_model import Doubles, SessionModel
from recsys_assets.core.models.session_parts import Visits, repeat_cells, spans, visits
from recsys_assets.core.models.sessions import time_ordered

Scored = tuple[Ints, Ints, Doubles]

# Sessions of a block, and visits of the log that it reads: some hundred MB at most.
_SESSIONS, _VISITS = 256, 500_000
# Least probability of all items new to the session together.
_LEAST_NEW = 0.05
_NOTHING: Scored = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def recommend(model: SessionModel, sessions: pa.Table, k: int, exclude: pa.Array | None = None) -> pa.Table:
    """The ``k`` items that are most likely to be clicked next in each session.

    A session's list depends on nothing but the model and its own clicks, and equal scores go by item_id.

    Args:
        model: fitted.
        sessions: unfinished ones, as for :func:`~recsys_assets.core.models.sessions.fit`. Clicks on items that the
            model does not know are ignored.
        k: items per session; fewer where the model has fewer, and none for a session without a known item.
        exclude: item_id of items not to recommend. They keep their share, so the scores of other items do not change.

    Returns:
        session_id, item_id, score (float64) and rank (int64, 1 is the best), ordered by session_id and rank.
    """
    clicked = lookup(sessions["item_id"], model.items)
    ids, rows, _, order = time_ordered(sessions, clicked)
    clicked = clicked[order]
    query = visits(rows[clicked >= 0], clicked[clicked >= 0], model.params.session_clicks)
    excluded = None
    if exclude is not None and len(exclude):
        excluded = np.zeros(len(model.items), np.bool_)
        positions = lookup(exclude, model.items)
        excluded[positions[positions >= 0]] = True
    blocks = [_best(model, block, k, excluded) for block in _blocks(model, query)]
    rows, items, scores = (np.concatenate(part) for part in zip(_NOTHING, *blocks, strict=True))
    return pa.table(
        {
            "session_id": ids.take(pa.array(rows)),
            "item_id": model.items.take(pa.array(items)),
            "score": pa.array(scores),
            "rank": pa.array(np.arange(len(rows)) - np.searchsorted(rows, rows) + 1),
        }
    )


class NextItems:
    """:func:`recommend` for one session at a time, without the cost of tables.

    Holds the ids as Python objects, about 100 bytes each.
    """

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._ids: list[int | str] = model.items.to_pylist()
        self._places = {item: place for place, item in enumerate(self._ids)}

    def __call__(self, items: Sequence[int | str], k: int) -> list[tuple[int | str, float]]:
        """The ``k`` best items and their scores, given the ids of the clicked items in order of time."""
        clicked = np.array([place for item in items if (place := self._places.get(item)) is not None], np.int64)
        query = visits(np.zeros(len(clicked), np.int64), clicked, self._model.params.session_clicks)
        _, best, scores = _best(self._model, query, k)
        return [(self._ids[item], score) for item, score in zip(best.tolist(), scores.tolist(), strict=True)]


def _blocks(model: SessionModel, query: Visits) -> Iterator[Visits]:
    """Whole sessions, as many at a time as memory allows."""
    visits_read = np.minimum(np.diff(model.item_starts)[query.items], model.params.recent_sessions)
    first = np.searchsorted(query.rows, query.rows)
    before = (np.cumsum(visits_read) - visits_read)[first]
    session = np.cumsum(first == np.arange(len(first)))
    # Neither term ever decreases, so their sum changes wherever one of them does.
    block = before // _VISITS + session // _SESSIONS
    for start, stop in pairwise((0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(block))):
        yield Visits(*(part[start:stop] for part in (query.rows, query.items, query.lags, query.counts)))


def _best(model: SessionModel, query: Visits, k: int, excluded: npt.NDArray[np.bool_] | None = None) -> Scored:
    """The k best items of each session that are not excluded, ordered by session, then score descending, then item."""
    params, width = model.params, len(model.items)
    sessions, rows = np.unique(query.rows, return_inverse=True)
    query = replace(query, rows=rows)
    seen = np.sort(rows * width + query.items)
    rates = model.repeat_rates[repeat_cells(query)] if params.repeats else np.zeros(len(rows))
    share_of_new = np.maximum(1 - np.bincount(rows, rates), _LEAST_NEW)
    clicks = np.exp(-query.lags / params.click_decay)

    parts: list[tuple[Ints, Doubles]] = []
    quotas = np.zeros(len(sessions))
    for quota, candidates_of in ((params.neighbour_weight, _neighbours), (params.link_weight, _linked)):
        if quota > 0:
            candidate_rows, items, weights = candidates_of(model, query, clicks)
            keys = candidate_rows * width + items
            new = (weights > 0) & (seen.take(np.searchsorted(seen, keys), mode="clip") != keys)
            candidate_rows, keys, weights = candidate_rows[new], keys[new], weights[new]
            total = np.bincount(candidate_rows, weights, len(sessions))
            quotas += quota * (total > 0)
            parts.append((keys, quota * weights / total[candidate_rows]))
    scale = share_of_new / np.where(quotas > 0, quotas, 1)
    keys, scores = _summed(
        np.concatenate([rows * width + query.items, *(keys for keys, _ in parts)]),
        np.concatenate([rates, *(share * scale[keys // width] for keys, share in parts)]),
    )
    allowed = scores > 0 if excluded is None else (scores > 0) & ~excluded[keys % width]
    keys, scores = keys[allowed], scores[allowed]
    candidate_rows = keys // width
    # Keys are ascending and the sort is stable: equal scores go by item.
    order = np.lexsort((-scores, candidate_rows))
    order = order[np.arange(len(order)) - np.searchsorted(candidate_rows, candidate_rows) < k]
    return sessions[candidate_rows[order]], keys[order] % width, scores[order]


def _neighbours(model: SessionModel, query: Visits, clicks: Doubles) -> Scored:
    """Items of the most similar sessions of the log; pairs of session and item may repeat."""
    params, count = model.params, len(model.session_starts) - 1
    starts = model.item_starts[query.items]
    sizes = np.minimum(model.item_starts[query.items + 1] - starts, params.recent_sessions)
    shared_visits = model.item_visits[spans(starts, sizes)]
    keys = np.repeat(query.rows * count, sizes) + model.visit_sessions[shared_visits]
    # The latest clicks come first and the sort is stable: the shared visit is that of the latest shared click.
    order = np.argsort(keys, kind="stable")
    shared_visits = shared_visits[order][_new(keys[order])]
    keys, similar = _summed(keys, np.repeat(clicks * model.rarity[query.items], sizes))
    rows, sessions = np.divmod(keys, count)
    similar = similar * params.age_weights(sessions, count)
    order = np.lexsort((-sessions, -similar, rows))
    order = order[np.arange(len(order)) - np.searchsorted(rows, rows) < params.neighbours]
    rows, sessions, similar, shared_visits = rows[order], sessions[order], similar[order], shared_visits[order]
    starts = model.session_starts[sessions]
    sizes = model.session_starts[sessions + 1] - starts
    visited = spans(starts, sizes)
    items = model.visit_items[visited].astype(np.int64)
    distance = np.abs(model.visit_lags[visited] - np.repeat(model.visit_lags[shared_visits], sizes))
    return (
        np.repeat(rows, sizes),
        items,
        np.repeat(similar, sizes) * np.exp(-distance / params.distance_decay) * model.rarity[items],
    )


def _linked(model: SessionModel, query: Visits, clicks: Doubles) -> Scored:
    """Items linked to those of the session; pairs of session and item may repeat."""
    starts = model.link_starts[query.items]
    sizes = model.link_starts[query.items + 1] - starts
    ends = spans(starts, sizes)
    weights = np.repeat(clicks, sizes) * model.link_weights[ends]
    return np.repeat(query.rows, sizes), model.link_items[ends].astype(np.int64), weights


def _new(ordered: Ints) -> npt.NDArray[np.bool_]:
    """Mask of the values that differ from the one before."""
    return np.diff(ordered, prepend=-1) != 0


def _summed(keys: Ints, values: Doubles) -> tuple[Ints, Doubles]:
    """The distinct keys (not negative), ascending, and the sum of the values of each, added in the order given."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = _new(keys)
    sums: Doubles = np.bincount(np.cumsum(new) - 1, values[order]).astype(np.float64, copy=False)
    return keys[new], sums
