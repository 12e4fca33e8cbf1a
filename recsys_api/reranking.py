"""A given list in a user's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsys_api.gathering import DEPTH
from recsys_api.snapshot import Snapshot
from recsys_api.visitor import Visitor
from recsys_assets.storage.lists import Key

FUSION = 10.0
"""c of 1 / (c + place), as for the fused lists of the graph: the first few places decide."""
GIVEN = "given"


def reranked(snapshot: Snapshot, user: Key | None, visitor: Visitor, items: Sequence[Key]) -> list[dict[str, Any]]:
    """The items by reciprocal rank fusion of the given order, the user's list and what follows from the user's clicks.

    Source: Cormack, Clarke and Büttcher, Reciprocal rank fusion outperforms Condorcet, SIGIR 2009.

    Args:
        snapshot: the release.
        user: None for a visitor without an id.
        visitor: what is known of them.
        items: best first; one that comes twice counts once.

    Returns:
        ``item_id``, ``score``, ``rank`` and ``source`` of each, best first; the source is what weighed most.
    """
    given = list(dict.fromkeys(items))
    own = [] if user is None else [item for item, _, _ in snapshot.recommendations.get(user, DEPTH)]
    online = [candidate.item_id for candidate in snapshot.online.recommend(visitor, DEPTH, ())]
    orders = {GIVEN: given, "recommendations": own, "online": online}
    places = {name: {item: place for place, item in enumerate(order, 1)} for name, order in orders.items()}
    scored: list[tuple[float, int, Key, str]] = []
    for place, item in enumerate(given):
        shares = {name: 1.0 / (FUSION + at[item]) for name, at in places.items() if item in at}
        personal = {name: share for name, share in shares.items() if name != GIVEN}
        source = max(personal or shares, key=lambda name: shares[name])
        scored.append((-sum(shares.values()), place, item, source))
    return [
        {"item_id": item, "score": -score, "rank": rank, "source": source}
        for rank, (score, _, item, source) in enumerate(sorted(scored, key=lambda row: row[:2]), 1)
    ]
