"""What sessions teach: which sessions are similar, which items are linked, how often one returns to an item.

:mod:`~recsys_assets.core.models.next_items` tells from it what comes next in a session.

Similar sessions are found and weighed as by VMIS-kNN (Kersbergen, Sprangers and Schelter, Serenade, SIGMOD 2022):
clicks count by how late they came and how rare their items are, the newest sessions of each item are looked at, and
what a neighbour has to say weighs by its distance from where it meets the session (Garg et al., STAN, SIGIR 2019).
Links over two steps add what no similar session has seen. Whether one returns to an item is a matter of how the session
went so far, and is counted.
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
    meetings,
    repeats,
    two_steps,
    visits,
)


@dataclass(frozen=True)
class SessionParams:
    """How sessions are read and fused.

    Args:
        session_clicks: the last clicks of a session that count; what has more is hardly a person.
        recent_sessions: newest sessions of each item that are looked at.
        neighbours: most similar of them that are listened to.
        click_decay: clicks after which a click's weight has fallen to 1/e.
        distance_decay: clicks between the place where a neighbour meets the session and an item of the neighbour, at
            which the item's weight has fallen to 1/e.
        link_decay: the same between two items that met in a session.
        age_decay: age of a session, as a share of all sessions, at which its weight has fallen to 1/e.
        first_links: links of an item that are followed to further items.
        links: items linked to an item, at the end.
        neighbour_weight: weight of the neighbours among items new to the session.
        link_weight: weight of the links.
        repeats: whether an item of the session may be what comes next.
        repeat_sample: newest pairs of a click and an earlier one that the rates of returns are counted on.
        repeat_prior: examples that a rate borrows from similar ones.
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

    def ages(self, sessions: Ints, count: int) -> Doubles:
        """The weight of each session by its age, given its place among ``count``, of which the last is the newest."""
        return np.exp((sessions + 1 - count) / (count * self.age_decay))


@dataclass(frozen=True)
class SessionModel:
    """A fitted model. Every field but the first is one Arrow or numpy array, to be stored and mapped as it is.

    Attributes:
        params: it was fitted with; what only asking needs may be replaced.
        items: ids, ascending; an item's place here stands for it below.
        rarity: log(1 + sessions / sessions with it) of each item.
        session_starts: where the visits of each session begin, the oldest session first, and where the last end.
        visit_items: item of each visit.
        visit_lags: clicks of the session that came after the visit.
        visit_sessions: session of each visit.
        item_starts: where the visits of each item begin in ``item_visits``, and where the last end.
        item_visits: visits of each item, the newest first.
        link_starts: where the links of each item begin, and where the last end.
        link_items: item at the other end.
        link_weights: weight.
        repeat_rates: see :func:`~recsys_assets.core.models.session_parts.repeats`.
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
    """Learn from a log of sessions. The order of its rows does not matter.

    Args:
        sessions: session_id, item_id (int64 or string) and ts (int64 or timestamp), a row per click, no nulls; equal
            times of a session go by item_id. A session is as old as its last click.
        params: how.

    Returns:
        The model; of an empty log one that recommends nothing.
    """
    params = params or SessionParams()
    items, clicked = positions(sessions["item_id"])
    ids, rows, times, order = in_time(sessions, clicked)
    count = len(ids)
    last = times[np.searchsorted(rows, np.arange(count), side="right") - 1]
    rows = np.argsort(np.argsort(last, kind="stable"))[rows]
    newest = np.argsort(rows, kind="stable")
    rows, clicked = rows[newest], clicked[order[newest]]

    log = visits(rows, clicked, params.session_clicks)
    by_item = np.lexsort((-np.arange(len(log.items)), log.items))
    item_starts = np.searchsorted(log.items[by_item], np.arange(len(items) + 1))
    ages = params.ages(np.arange(count), count)
    links = two_steps(meetings(log, ages, len(items), params.link_decay, params.first_links), params.links)
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
        repeat_rates=repeats(rows, clicked, params.session_clicks, params.repeat_sample, params.repeat_prior),
    )


def in_time(sessions: pa.Table, items: Ints) -> tuple[pa.Array, Ints, Ints, Ints]:
    """Clicks ordered by session and time.

    Args:
        sessions: session_id, ts.
        items: position of each row's item, which orders clicks of equal times.

    Returns:
        The distinct session ids, and of each click in this order the session's place among them, the time and the row.
    """
    ids, rows = positions(sessions["session_id"])
    times = sessions["ts"].cast(pa.int64()).to_numpy()
    order = np.lexsort((items, times, rows))
    return ids, rows[order], times[order], order
