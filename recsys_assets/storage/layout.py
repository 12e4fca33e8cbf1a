"""The layout of a store: the version of the names under which assets, columns and decisions are stored.

::

    layout.json    {"layout": 2}; create-only

A store of another layout is refused, since its columns would be looked for under names that it does not have.
"""

from __future__ import annotations

import json
from contextlib import suppress

from recsys_assets.storage.objects import AlreadyExists, NotFound, ObjectStore, canonical_json

LAYOUT = 3
"""Raise it when the name of a stored column, of a stored value or of a folder of the store changes.

1 had no marker: generators ``factors``, ``collaborative``, ``view_buy`` and ``buy_buy``, contender ``listed``, folder
``rulings``.
"""

KEY = "layout.json"


class LayoutError(ValueError):
    """A store was written by another version of the platform."""


def check_layout(store: ObjectStore) -> None:
    """Refuse a store of another layout; mark a store that holds no asset yet with the current one.

    A marked store costs one small read. Only a store without the marker is listed.

    Args:
        store: to be written or read by this version.

    Raises:
        LayoutError: the store has another layout, or assets and no marker.
    """
    found = _stored_layout(store)
    if found is None:
        if not store.list("assets"):
            with suppress(AlreadyExists):  # another process marks it at the same moment
                store.create(KEY, canonical_json({"layout": LAYOUT}))
        found = _stored_layout(store)
    if found != LAYOUT:
        layout = found or 1
        age = "an earlier" if layout < LAYOUT else "a later"
        raise LayoutError(
            f"store {store.uri()} was written by {age} version: it has layout {layout}, this version has {LAYOUT} "
            "(names of stored columns have changed). Landing files are not concerned. Set RECSYS_STORAGE_URI to "
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
