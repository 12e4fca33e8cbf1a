"""The session model: an index of past sessions, links between items and rates of returning to an item.

:mod:`~recsys_assets.core.models.next_items` predicts the next items of a session with it.

Similar sessions are retrieved and weighted as in VMIS-kNN (Kersbergen, Sprangers and Schelter, Serenade, SIGMOD 2022):
clicks weigh more if they are late and their items rare, and only the newest sessions of each item are candidates.
Items of a neighbour are discounted by their distance from the click that it shares with the session (Garg et al., STAN,
SIGIR 2019). Two-step links add items that no similar session contains. The rate of returning to an item is counted, by
the state of the session. :mod:`~recsys_assets.core.models.session_weights` chooses weights of the prediction.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recsys_assets.core.ids import Ints, positions
from recsys_assets.core.models.session_model import SessionModel, SessionParams
from recsys_assets.core.models.session_parts import (
    NO_REPEATS,
    co_occurrences,
    fit_repeat_rates,
    two_step_links,
    visits,
)


def fit(sessions: pa.Table, params: SessionParams | None = None) -> SessionModel:
    """Fit the model to a log of sessions. The order of its rows does not matter.

    Args:
        sessions: session_id, item_id (int64 or string) and ts (int64 or timestamp), a row per click, no nulls; equal
            times of a session go by item_id. A session is as old as its last click.
        params: see :class:`SessionParams`.

    Returns:
        The model. That of an empty log recommends nothing.
    """
    params = params or SessionParams()
    items, clicked = positions(sessions["item_id"])
    ids, rows, times, order = time_ordered(sessions, clicked)
    count = len(ids)
    last = times[np.searchsorted(rows, np.arange(count), side="right") - 1]
    rows = np.argsort(np.argsort(last, kind="stable"))[rows]
    newest = np.argsort(rows, kind="stable")
    rows, clicked = rows[newest], clicked[order[newest]]

    log = visits(rows, clicked, params.session_clicks)
    by_item = np.lexsort((-np.arange(len(log.items)), log.items))
    item_starts = np.searchsorted(log.items[by_item], np.arange(len(items) + 1))
    weights = params.age_weights(np.arange(count), count)
    links = two_step_links(
        co_occurrences(log, weights, len(items), params.link_decay, params.first_links), params.links
    )
    repeat_rates = (
        fit_repeat_rates(rows, clicked, params.session_clicks, params.repeat_sample, params.repeat_prior)
        if params.repeats
        else NO_REPEATS
    )
    return SessionModel(
        params=params,
        items=items,
        rarity=np.log1p(count / np.maximum(np.diff(item_starts), 1)),
        session_starts=np.searchsorted(log.rows, np.arange(count + 1)),
        visit_items=log.items.astype(np.int32),
        visit_lags=log.lags.astype(np.int32),
        visit_sessions=log.rows.astype(np.int32),
        item_starts=item_starts,
        item_visits=by_item.astype(np.int32),
        link_starts=links.indptr.astype(np.int64),
        link_items=links.indices.astype(np.int32),
        link_weights=links.data.astype(np.float32),
        repeat_rates=repeat_rates,
    )


def time_ordered(sessions: pa.Table, items: Ints) -> tuple[pa.Array, Ints, Ints, Ints]:
    """Clicks ordered by session and time.

    Args:
        sessions: session_id, ts.
        items: position of each row's item; breaks ties in time.

    Returns:
        The distinct session ids; then, for each click in order, the position of its session, its time and its row.
    """
    ids, rows = positions(sessions["session_id"])
    times = sessions["ts"].cast(pa.int64()).to_numpy()
    order = np.lexsort((items, times, rows))
    return ids, rows[order], times[order], order
