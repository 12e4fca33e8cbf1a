"""What comes next in a session: items of similar sessions, linked items, and returns to what it has seen, fused.

:mod:`~recsys_assets.core.models.sessions` says where the parts come from. Neighbours and links each give the items
that the session has not seen a share; the shares are averaged by the parts' weights and scaled to what the rates of
returns leave. So a score is near the probability of being clicked next, and scores of different sessions compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.ids import Ints, lookup
from recsys_assets.core.models.session_parts import Doubles, Visits, repeat_cells, spans, visits
from recsys_assets.core.models.sessions import SessionModel, in_time

Scored = tuple[Ints, Ints, Doubles]

# Sessions and visits of others that are looked at together: some hundred MB at most.
_SESSIONS, _VISITS = 256, 500_000
# What returns leave to items not seen before, at least.
_LEAST_NEW = 0.05
_NOTHING: Scored = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))


def recommend(model: SessionModel, sessions: pa.Table, k: int, gone: pa.Array | None = None) -> pa.Table:
    """The ``k`` items that are most likely to be clicked next in each session.

    A session's list depends on nothing but the model and its own clicks, and equal scores go by item_id.

    Args:
        model: fitted.
        sessions: unfinished ones, as for :func:`~recsys_assets.core.models.sessions.fit`. Items that the model does
            not know count as not clicked.
        k: items per session; sessions get fewer where the model knows fewer, and none without a known item.
        gone: item_id of what is not to be recommended; it keeps its share, so that no other item's score changes.

    Returns:
        session_id, item_id, score (float64) and rank (int64, 1 is the best), ordered by session_id and rank.
    """
    clicked = lookup(sessions["item_id"], model.items)
    ids, rows, _, order = in_time(sessions, clicked)
    clicked = clicked[order]
    asked = visits(rows[clicked >= 0], clicked[clicked >= 0], model.params.session_clicks)
    barred = None
    if gone is not None and len(gone):
        barred = np.zeros(len(model.items), np.bool_)
        places = lookup(gone, model.items)
        barred[places[places >= 0]] = True
    found = [_best(model, block, k, barred) for block in _blocks(model, asked)]
    rows, items, scores = (np.concatenate(part) for part in zip(_NOTHING, *found, strict=True))
    return pa.table(
        {
            "session_id": ids.take(pa.array(rows)),
            "item_id": model.items.take(pa.array(items)),
            "score": pa.array(scores),
            "rank": pa.array(np.arange(len(rows)) - np.searchsorted(rows, rows) + 1),
        }
    )


class NextItems:
    """Answers for one session at a time, as :func:`recommend` does for many, without the cost of tables.

    It holds the ids as Python objects, some hundred bytes each.
    """

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._ids: list[int | str] = model.items.to_pylist()
        self._places = {item: place for place, item in enumerate(self._ids)}

    def __call__(self, items: Sequence[int | str], k: int) -> list[tuple[int | str, float]]:
        """The ``k`` best items and their scores, given the ids of what was clicked, in order of time."""
        known = np.array([place for item in items if (place := self._places.get(item)) is not None], np.int64)
        asked = visits(np.zeros(len(known), np.int64), known, self._model.params.session_clicks)
        _, found, scores = _best(self._model, asked, k)
        return [(self._ids[item], score) for item, score in zip(found.tolist(), scores.tolist(), strict=True)]


def _blocks(model: SessionModel, asked: Visits) -> Iterator[Visits]:
    """Whole sessions, as many at a time as memory allows."""
    looked_at = np.minimum(np.diff(model.item_starts)[asked.items], model.params.recent_sessions)
    first = np.searchsorted(asked.rows, asked.rows)
    before = (np.cumsum(looked_at) - looked_at)[first]
    session = np.cumsum(first == np.arange(len(first)))
    # Neither ever falls, so that their sum changes where one of them does.
    block = before // _VISITS + session // _SESSIONS
    for start, stop in pairwise((0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(block))):
        yield Visits(*(part[start:stop] for part in (asked.rows, asked.items, asked.lags, asked.counts)))


def _best(model: SessionModel, asked: Visits, k: int, barred: npt.NDArray[np.bool_] | None = None) -> Scored:
    """The k best items of each session that are not barred, ordered by session, then score descending, then item."""
    params, width = model.params, len(model.items)
    sessions, rows = np.unique(asked.rows, return_inverse=True)
    asked = replace(asked, rows=rows)
    seen = np.sort(rows * width + asked.items)
    rates = model.repeat_rates[repeat_cells(asked)] if params.repeats else np.zeros(len(rows))
    left = np.maximum(1 - np.bincount(rows, rates), _LEAST_NEW)
    clicks = np.exp(-asked.lags / params.click_decay)

    found: list[tuple[Ints, Doubles]] = []
    quotas = np.zeros(len(sessions))
    for quota, part in ((params.neighbour_weight, _neighbours), (params.link_weight, _linked)):
        if quota > 0:
            near, items, weights = part(model, asked, clicks)
            keys = near * width + items
            new = (weights > 0) & (seen.take(np.searchsorted(seen, keys), mode="clip") != keys)
            near, keys, weights = near[new], keys[new], weights[new]
            total = np.bincount(near, weights, len(sessions))
            quotas += quota * (total > 0)
            found.append((keys, quota * weights / total[near]))
    scale = left / np.where(quotas > 0, quotas, 1)
    keys, scores = _summed(
        np.concatenate([rows * width + asked.items, *(keys for keys, _ in found)]),
        np.concatenate([rates, *(share * scale[keys // width] for keys, share in found)]),
    )
    kept = scores > 0 if barred is None else (scores > 0) & ~barred[keys % width]
    keys, scores = keys[kept], scores[kept]
    near = keys // width
    # Keys are ascending and the sort is stable: equal scores go by item.
    order = np.lexsort((-scores, near))
    order = order[np.arange(len(order)) - np.searchsorted(near, near) < k]
    return sessions[near[order]], keys[order] % width, scores[order]


def _neighbours(model: SessionModel, asked: Visits, clicks: Doubles) -> Scored:
    """Items of the most similar sessions of the log; a pair of session and item may come many times."""
    params, count = model.params, len(model.session_starts) - 1
    starts = model.item_starts[asked.items]
    sizes = np.minimum(model.item_starts[asked.items + 1] - starts, params.recent_sessions)
    met = model.item_visits[spans(starts, sizes)]
    keys = np.repeat(asked.rows * count, sizes) + model.visit_sessions[met]
    # The latest clicks come first and the order is stable: a session is met at the latest click that it shares.
    order = np.argsort(keys, kind="stable")
    met = met[order][_new(keys[order])]
    keys, similar = _summed(keys, np.repeat(clicks * model.rarity[asked.items], sizes))
    rows, sessions = np.divmod(keys, count)
    similar = similar * params.ages(sessions, count)
    order = np.lexsort((-sessions, -similar, rows))
    order = order[np.arange(len(order)) - np.searchsorted(rows, rows) < params.neighbours]
    rows, sessions, similar, met = rows[order], sessions[order], similar[order], met[order]
    starts = model.session_starts[sessions]
    sizes = model.session_starts[sessions + 1] - starts
    visited = spans(starts, sizes)
    items = model.visit_items[visited].astype(np.int64)
    apart = np.abs(model.visit_lags[visited] - np.repeat(model.visit_lags[met], sizes))
    return (
        np.repeat(rows, sizes),
        items,
        np.repeat(similar, sizes) * np.exp(-apart / params.distance_decay) * model.rarity[items],
    )


def _linked(model: SessionModel, asked: Visits, clicks: Doubles) -> Scored:
    """Items linked to those of the session; a pair of session and item may come many times."""
    starts = model.link_starts[asked.items]
    sizes = model.link_starts[asked.items + 1] - starts
    ends = spans(starts, sizes)
    weights = np.repeat(clicks, sizes) * model.link_weights[ends]
    return np.repeat(asked.rows, sizes), model.link_items[ends].astype(np.int64), weights


def _new(ordered: Ints) -> npt.NDArray[np.bool_]:
    """Where a value differs from the one before it."""
    return np.diff(ordered, prepend=-1) != 0


def _summed(keys: Ints, values: Doubles) -> tuple[Ints, Doubles]:
    """The distinct keys (not negative), ascending, and the sum of each, taken in the order given."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    new = _new(keys)
    sums: Doubles = np.bincount(np.cumsum(new) - 1, values[order]).astype(np.float64, copy=False)
    return keys[new], sums
