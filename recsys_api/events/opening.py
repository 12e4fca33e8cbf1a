"""Opens the store that a URL names."""

from __future__ import annotations

from pathlib import Path

from recsys_api.events.sqlite import SqliteEvents
from recsys_api.events.store import EventStore, Limits


async def open_events(url: str, limits: Limits) -> EventStore:
    """Open a store; what it needs is created.

    Args:
        url: ``sqlite:///relative/path``, ``sqlite:////absolute/path`` or ``postgresql://…``.
        limits: what it keeps.

    Raises:
        StoreError: it cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return await SqliteEvents.open(Path(rest.removeprefix("/")).absolute(), limits)
    from recsys_api.events.postgres import PostgresEvents  # its driver takes memory in every worker

    return await PostgresEvents.open(url, limits)
