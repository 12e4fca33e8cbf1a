"""The generator 'sessions': next items of each user, by sessions that are similar to the user's last clicks.

The session model does not depend on who gets candidates: it is an asset, and recommends to any clicks.
"""

from __future__ import annotations

from dataclasses import replace

import narwhals as nw
import numpy as np
import pyarrow as pa

from recsys_assets.core.engine import Frame
from recsys_assets.core.ids import Ints, distinct, positions
from recsys_assets.core.models import next_items
from recsys_assets.core.models.interactions import LEAST_ITEMS
from recsys_assets.core.models.session_model import SessionModel, SessionParams
from recsys_assets.core.models.session_weights import ChosenParams, choose_params
from recsys_assets.core.models.sessions import fit
from recsys_assets.core.models.stored_arrays import rounded


def fit_session_model(events: Frame, params: SessionParams | None = None) -> SessionModel:
    """Fit the session model.

    Args:
        events: clean events of the window, without bots; those without a user are left out.
        params: of the model; it never recommends items of the clicks, since 'repeat' does.
    """
    return fit(_session_clicks(events), replace(params or SessionParams(), repeats=False))


def fit_with_chosen_params(events: Frame) -> tuple[SessionModel, ChosenParams]:
    """Like :func:`fit_session_model`, with the weights whose lists of a past night find the clicks since best.

    Weights of links are rounded, as they are stored.

    Args:
        events: as for :func:`fit_session_model`.
    """
    clicks = _session_clicks(events)
    chosen = choose_params(clicks, SessionParams(repeats=False), LEAST_ITEMS, nightly=True)
    model = fit(clicks, chosen.params)
    return replace(model, link_weights=rounded(model.link_weights)), chosen


def recommend(model: SessionModel, events: Frame, k: int, exclude: pa.Array | None = None) -> pa.Table:
    """The items that follow in sessions similar to a user's last clicks, over all of the user's sessions.

    Items of these clicks are left out: 'repeat' recommends them. So are users with one item: 'covisit' recommends its
    neighbours, and most users of a shop are such. A user's items do not depend on the other users of ``events``.

    Args:
        model: fitted by :func:`fit_session_model`.
        events: clean events of the users who get candidates.
        k: items per user.
        exclude: item_id of items not to recommend.

    Returns:
        user_id, item_id, score and at most ``k`` rows a user.
    """
    clicks = _clicks(events)
    users, rows = positions(clicks["user_id"])
    several = _items_of(rows, clicks["item_id"], len(users)) >= LEAST_ITEMS
    last = clicks.select(["session_id", "item_id", "ts"]).set_column(0, "session_id", pa.array(rows))
    best = next_items.recommend(model, last.filter(pa.array(several[rows])), k, exclude)
    return pa.table(
        {"user_id": users.take(best["session_id"].combine_chunks()), "item_id": best["item_id"], "score": best["score"]}
    )


def _items_of(users: Ints, items: pa.ChunkedArray, count: int) -> Ints:
    """Distinct items of each user."""
    _, places = positions(items)
    pairs = distinct(users * (places.max(initial=0) + 1) + places)
    return np.bincount(pairs // (places.max(initial=0) + 1), minlength=count)


def _clicks(events: Frame) -> pa.Table:
    """user_id, session_id, item_id, ts (int64, microseconds) of known users, in a total order."""
    known = events.filter(~nw.col("user_id").is_null())
    rows = known.select("user_id", "session_id", "item_id", "ts").sort("user_id", "ts", "item_id")
    clicks = rows.collect(backend="polars").to_arrow()
    return clicks.set_column(3, "ts", clicks["ts"].cast(pa.int64()))


def _session_clicks(events: Frame) -> pa.Table:
    """The rows of :func:`_clicks` with sessions numbered over all users."""
    clicks = _clicks(events)
    _, users = positions(clicks["user_id"])
    return clicks.set_column(1, "session_id", pa.array(_numbered(users, clicks["session_id"].to_numpy())))


def _numbered(users: Ints, sessions: Ints) -> Ints:
    """A number for each pair of a user and a session of the user."""
    order = np.lexsort((sessions, users))
    new = np.ones(len(order), np.int64)
    new[1:] = (np.diff(users[order]) != 0) | (np.diff(sessions[order]) != 0)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers
