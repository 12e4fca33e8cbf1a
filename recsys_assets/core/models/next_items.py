"""The next items of a session: items of similar sessions, linked items and returns to items of the session, fused.

:mod:`~recsys_assets.core.models.sessions` describes the parts, and
:mod:`~recsys_assets.core.models.session_scores` fuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recsys_assets.core.ids import IdIndex, Ints, lookup
from recsys_assets.core.models.session_model import Doubles, SessionModel
from recsys_assets.core.models.session_parts import Visits, visits
from recsys_assets.core.models.session_scores import SessionScores
from recsys_assets.core.models.sessions import time_ordered
from recsys_assets.core.threads import FEW, in_threads

Scored = tuple[Ints, Ints, Doubles]

# Sessions of a block, and visits of the log that it reads: some hundred MB at most.
_SESSIONS, _VISITS = 256, 500_000
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
    blocks = in_threads(lambda block: _best(model, block, k, excluded), blocks_of(model, query), FEW)
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

    Args:
        model: fitted.
    """

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self.items = IdIndex(model.items)

    def __call__(
        self, items: Iterable[int | str], k: int, excluded: npt.NDArray[np.bool_] | None = None
    ) -> list[tuple[int | str, float]]:
        """The ``k`` best items and their scores.

        Args:
            items: ids of the clicked items in order of time; unknown ones are ignored.
            k: items.
            excluded: [items of the model] True where an item is left out.
        """
        clicked = self.items.places(items)
        clicked = clicked[clicked >= 0]
        query = visits(np.zeros(len(clicked), np.int64), clicked, self._model.params.session_clicks)
        _, best, scores = _best(self._model, query, k, excluded)
        return list(zip(self.items.take(best.tolist()), scores.tolist(), strict=True))


def blocks_of(model: SessionModel, query: Visits) -> Iterator[Visits]:
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
    width = len(model.items)
    candidates = SessionScores(model, query)
    keys, scores = candidates.keys, candidates.scores(model.params)
    allowed = scores > 0 if excluded is None else (scores > 0) & ~excluded[keys % width]
    if len(candidates.sessions) == 1 and np.count_nonzero(allowed) > k > 0:
        # What is below the k-th best need not be sorted.
        allowed &= scores >= np.partition(np.where(allowed, scores, 0.0), -k)[-k]
    keys, scores = keys[allowed], scores[allowed]
    candidate_rows = keys // width
    # Keys are ascending and the sort is stable: equal scores go by item.
    order = np.lexsort((-scores, candidate_rows))
    order = order[np.arange(len(order)) - np.searchsorted(candidate_rows, candidate_rows) < k]
    return candidates.sessions[candidate_rows[order]], keys[order] % width, scores[order]
