"""The layout of a store: the version of the names and types in which assets, lists and decisions are stored.

::

    layout.json    {"layout": 6}; create-only

A store of another layout is refused, because its columns or files are others.
"""

from __future__ import annotations

import json
from contextlib import suppress

from recsys_assets.storage.objects import AlreadyExists, NotFound, ObjectStore, canonical_json

ACCEPTED = "staging/accepted.json"
"""The object that lists the landing files which the graph has accepted."""
LAYOUT = 6
"""Raise it when the name or type of a stored column, a stored value, a folder or a file of a release changes.

Layout 1 had no marker file and these names: generators ``factors``, ``collaborative``, ``view_buy`` and ``buy_buy``,
contender ``listed``, folder ``rulings``. Layout 2 had the generators
``view_to_purchase`` and ``co_purchase``, and the kinds ``bent`` and ``corrected`` of rankers. Layout 3 stored what
models recommended, as ``user_factors``, ``cf_ensemble_scores`` and ``<generator>_items``, instead of the models.
Layout 4 stored scores of lists as float64 and had lists of format 1 in its releases. Layout 5 had no ``brand`` and
``title`` in ``item_features``.
"""

KEY = "layout.json"


class LayoutError(ValueError):
    """A store has another layout than this version of the platform."""


def check_layout(store: ObjectStore) -> None:
    """Refuse a store of another layout; mark a store without assets with the current one.

    A marked store costs one small read. Only an unmarked store is listed.

    Args:
        store: to check.

    Raises:
        LayoutError: the store has another layout, or assets and no marker.
    """
    layout = _stored_layout(store)
    if layout is None:
        if not store.list("assets"):
            with suppress(AlreadyExists):  # another process marked it at the same moment
                store.create(KEY, canonical_json({"layout": LAYOUT}))
        layout = _stored_layout(store)
    if layout != LAYOUT:
        stored = layout or 1
        age = "an earlier" if stored < LAYOUT else "a later"
        raise LayoutError(
            f"store {store.uri()} was written by {age} version: it has layout {stored}, this version has {LAYOUT} "
            "(stored columns or files have changed). Landing files are not concerned. Set RECSYS_STORAGE_URI to "
            "another place, or remove all of this store but its folder 'erasures'; then 'make run' rebuilds it. Erased "
            "persons stay erased only if the new store has that folder."
        )


def _stored_layout(store: ObjectStore) -> int | None:
    """The number in the marker; None without a marker."""
    try:
        data = store.get(KEY)
    except NotFound:
        return None
    try:
        return int(json.loads(data)["layout"])
    except (TypeError, KeyError, ValueError) as error:
        raise LayoutError(f'{store.uri(KEY)}: expected {{"layout": {LAYOUT}}}, found {data[:80]!r}') from error
