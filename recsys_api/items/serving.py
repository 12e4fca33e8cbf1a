"""A release with changes of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from recsys_api.events.item_change import ItemChange
from recsys_api.expressions import Filters
from recsys_api.items.catalogue import ChangedCatalogue
from recsys_api.snapshot import Snapshot
from recsys_assets.storage.lists import Key


def with_changes(snapshot: Snapshot, changes: Sequence[ItemChange]) -> Snapshot:
    """A release in which items have changed, or one with earlier changes in which more have.

    Changes from before the end of the release's last day are left out: the graph had them when it made the release.

    Args:
        snapshot: what is served.
        changes: in the order of arrival.
    """
    changes = [change for change in changes if change.ts >= snapshot.rules.end]
    if not changes:
        return snapshot
    catalogue = ChangedCatalogue(snapshot.catalogue, changes)
    changed: dict[Key, Mapping[str, int]] = dict(snapshot.changed)
    for change in changes:
        changed[change.item_id] = {**changed.get(change.item_id, {}), change.field: change.ts}
    withdrawn, online = snapshot.withdrawn, snapshot.online
    if snapshot.rules.exclude_unavailable:
        available = {change.item_id: bool(change.value) for change in changes if change.field == "available"}
        back = {item for item, is_available in available.items() if is_available}
        withdrawn = (withdrawn | available.keys()) - back
        online = online.over(catalogue, catalogue.added)
    return replace(
        snapshot,
        catalogue=catalogue,
        filters=Filters(catalogue, date.fromisoformat(snapshot.as_of)),
        online=online,
        changed=changed,
        withdrawn=withdrawn,
    )
