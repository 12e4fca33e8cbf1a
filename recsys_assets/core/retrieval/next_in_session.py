"""The generator 'sessions': next items of each active user, by sessions that are similar to the last clicks."""

from __future__ import annotations

from dataclasses import replace

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.ids import Ints, lookup, positions
from recsys_assets.core.models import next_items
from recsys_assets.core.models.sessions import SessionParams, fit
from recsys_assets.core.retrieval.protocol import FitContext


def recommend(context: FitContext, params: SessionParams | None = None) -> pa.Table:
    """The items that follow in sessions similar to a user's last clicks.

    The model is fitted on the sessions of known users within the window. The query is the last clicks of each active
    user, over all of the user's sessions. Items of these clicks are left out: 'repeat' recommends them. So are users
    with one item: 'covisit' recommends its neighbours, and most users of a shop are such.

    Args:
        context: with ``clean_events``.
        params: of the session model.

    Returns:
        user_id, item_id, score and at most ``context.k`` rows a user.
    """
    params = replace(params or SessionParams(), repeats=False)
    clicks = _clicks(context)
    users, rows = positions(clicks["user_id"])
    log = pa.table(
        {
            "session_id": pa.array(_numbered(rows, clicks["session_id"].to_numpy())),
            "item_id": clicks["item_id"],
            "ts": clicks["ts"],
        }
    )
    several = np.flatnonzero(_items_of(rows, clicks["item_id"], len(users)) >= LEAST_ITEMS)
    queried = pa.array(np.isin(rows, np.intersect1d(several, lookup(context.users(), users))))
    last = log.set_column(0, "session_id", pa.array(rows)).filter(queried)
    best = next_items.recommend(fit(log, params), last, context.k, context.unavailable_items().combine_chunks())
    return pa.table(
        {"user_id": users.take(best["session_id"].combine_chunks()), "item_id": best["item_id"], "score": best["score"]}
    )


LEAST_ITEMS = 2
"""Fewest distinct items of a user; with fewer, similar sessions add nothing to the neighbours of the item."""


def _items_of(users: Ints, items: pa.ChunkedArray, count: int) -> Ints:
    """Distinct items of each user."""
    _, places = positions(items)
    pairs = np.unique(users * (places.max(initial=0) + 1) + places)
    return np.bincount(pairs // (places.max(initial=0) + 1), minlength=count)


def _clicks(context: FitContext) -> pa.Table:
    """user_id, session_id, item_id, ts (int64, microseconds) of known users, in a total order."""
    events = context.frames["clean_events"].filter(~nw.col("user_id").is_null())
    rows = events.select("user_id", "session_id", "item_id", "ts").sort("user_id", "ts", "item_id")
    clicks = rows.collect(backend="polars").to_arrow()
    return clicks.set_column(3, "ts", clicks["ts"].cast(pa.int64()))


def _numbered(users: Ints, sessions: Ints) -> Ints:
    """A number for each pair of a user and a session of the user."""
    order = np.lexsort((sessions, users))
    new = np.ones(len(order), np.int64)
    new[1:] = (np.diff(users[order]) != 0) | (np.diff(sessions[order]) != 0)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers
