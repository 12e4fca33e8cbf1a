"""The session model: an index of past sessions, links between items and rates of returning to an item.

:mod:`~recsys_assets.core.models.next_items` predicts the next items of a session with it.

Similar sessions are retrieved and weighted as in VMIS-kNN (Kersbergen, Sprangers and Schelter, Serenade, SIGMOD 2022):
clicks weigh more if they are late and their items rare, and only the newest sessions of each item are candidates.
Items of a neighbour are discounted by their distance from the click that it shares with the session (Garg et al., STAN,
SIGIR 2019). Two-step links add items that no similar session contains. The rate of returning to an item is counted, by
the state of the session.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys_assets.core.ids import Ints, positions
from recsys_assets.core.models.session_parts import (
    Doubles,
    Floats,
    Indices,
    co_occurrences,
    fit_repeat_rates,
    two_step_links,
    visits,
)


@dataclass(frozen=True)
class SessionParams:
    """Parameters of the fit and of the prediction.

    Args:
        session_clicks: how many of a session's last clicks count; a longer session is hardly a person's.
        recent_sessions: newest sessions of each item that are candidates for neighbours.
        neighbours: most similar candidates that are used.
        click_decay: clicks after which a click's weight has fallen to 1/e.
        distance_decay: clicks between a neighbour's item and the click that it shares with the session, after which
            the item's weight has fallen to 1/e.
        link_decay: the same between two items of a session.
        age_decay: age of a session, as a share of all sessions, at which its weight has fallen to 1/e.
        first_links: links per item that are followed to further items.
        links: links per item in the model.
        neighbour_weight: weight of the neighbours in scores of items new to the session.
        link_weight: weight of the links.
        repeats: whether items of the session may be recommended.
        repeat_sample: newest pairs of a click and an earlier one on which the repeat rates are counted.
        repeat_prior: weight of the prior of a rate, in examples.
    """

    session_clicks: int = 50
    recent_sessions: int = 500
    neighbours: int = 200
    click_decay: float = 1.5
    distance_decay: float = 4.0
    link_decay: float = 3.0
    age_decay: float = 1.0
    first_links: int = 60
    links: int = 100
    neighbour_weight: float = 1.0
    link_weight: float = 1.5
    repeats: bool = True
    repeat_sample: int = 2_000_000
    repeat_prior: float = 10.0

    def age_weights(self, sessions: Ints, count: int) -> Doubles:
        """Weight of each session by its age. ``sessions`` are positions among ``count``; the last is the newest."""
        return np.exp((sessions + 1 - count) / (count * self.age_decay))


@dataclass(frozen=True)
class SessionModel:
    """A fitted model. Every field but the first is one Arrow or numpy array, which can be stored and memory-mapped.

    Attributes:
        params: of the fit; those that only prediction uses may be replaced.
        items: ids, ascending; other fields refer to an item by its position here.
        rarity: log(1 + sessions / sessions with it) of each item.
        session_starts: offsets of the visits of each session, the oldest session first.
        visit_items: item of each visit.
        visit_lags: clicks of the session after the visit.
        visit_sessions: session of each visit.
        item_starts: offsets of each item in ``item_visits``.
        item_visits: visits of each item, the newest first.
        link_starts: offsets of the links of each item.
        link_items: the linked item.
        link_weights: weight of each link.
        repeat_rates: see :func:`~recsys_assets.core.models.session_parts.fit_repeat_rates`.
    """

    params: SessionParams
    items: pa.Array
    rarity: Doubles
    session_starts: Ints
    visit_items: Indices
    visit_lags: Indices
    visit_sessions: Indices
    item_starts: Ints
    item_visits: Indices
    link_starts: Ints
    link_items: Indices
    link_weights: Floats
    repeat_rates: Doubles


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
        repeat_rates=fit_repeat_rates(rows, clicked, params.session_clicks, params.repeat_sample, params.repeat_prior),
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
