"""Follows the changes of items of all workers, and serves with them."""

from __future__ import annotations

import asyncio

from recsys_api.events.store import ItemLog
from recsys_api.reloader import Reloader

_BATCH = 10_000


async def follow_items(log: ItemLog, reloader: Reloader) -> None:
    """Serve with all changes that have arrived.

    Raises:
        StoreError: they cannot be read now.
    """
    while arrived := await log.since(reloader.followed, _BATCH):
        # Several may do this at once: what was taken already changes nothing.
        await asyncio.to_thread(reloader.change_items, arrived)
