"""Lists of several sources as one: the blend of online and offline items, and shares of any number of sources.

Both are pure functions. An item that several lists hold comes once, at the first place that it gets. Each answer is the
beginning of every longer one, so a later page repeats nothing and is the slice of the longer answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def _itself(item: object) -> Hashable:
    return item


def blend(
    online: Sequence[Item],
    offline: Sequence[Item],
    k: int,
    offset: int = 0,
    *,
    key: Callable[[Item], Hashable] = _itself,
) -> list[Item]:
    """Online items at the odd places (1, 3, …), offline ones at the even places, then the rest of the longer list.

    Args:
        online: best first.
        offline: best first.
        k: length of the page.
        offset: items before the page.
        key: of an item; two of one key are the same.

    Returns:
        ``k`` items, no two of one key; fewer only where the lists hold fewer.
    """
    if not online or not offline:  # most requests: what follows would cost several times as much
        only = online or offline
        keys = list(map(key, only))
        if len(set(keys)) < len(keys):
            only = [item for place, item in enumerate(only) if keys.index(keys[place]) == place]
        return list(only[offset : offset + k])
    feeds = _feeds([online, offline], key)

    def merged() -> Iterator[Item]:
        place = 0
        while feeds:
            item = next(feeds[place % len(feeds)], None)
            if item is None:
                del feeds[place % len(feeds)]
            else:
                yield item
                place += 1

    return list(islice(merged(), offset, offset + k))


def by_shares(
    lists: Mapping[str, Sequence[Item]],
    shares: Mapping[str, float],
    k: int,
    offset: int = 0,
    *,
    key: Callable[[Item], Hashable] = _itself,
) -> list[Item]:
    """Lists interleaved by the shares of their sources.

    The places are apportioned by the quota method: among the sources that are not ahead of their share yet, a place
    goes to the one whose next item is due first (ties: the one stated first). So at each place every source has its
    share of the places so far, rounded down or up, and a longer answer only appends. Once a source has no more, the
    others share the places that follow. Shares are reckoned as exact fractions: no rounding decides.

    Source: Balinski and Young, The quota method of apportionment, 1975.

    Args:
        lists: by source, best first; a source without a list has an empty one.
        shares: by source, positive; only their ratios count.
        k: length of the page.
        offset: items before the page.
        key: as for :func:`blend`.

    Returns:
        ``k`` items, no two of one key; fewer only where the lists hold fewer.
    """
    weights = [Fraction(share) for share in shares.values()]
    feeds = _feeds([lists.get(source, ()) for source in shares], key)

    def merged() -> Iterator[Item]:
        while feeds:
            whole, given, place = sum(weights), [0] * len(feeds), 1
            while True:
                quotas = [weight / whole for weight in weights]
                not_ahead = [i for i in range(len(feeds)) if given[i] < quotas[i] * place]
                source = min(not_ahead, key=lambda i: (given[i] + 1) / quotas[i])
                item = next(feeds[source], None)
                if item is None:
                    del feeds[source], weights[source]
                    break
                yield item
                given[source] += 1
                place += 1

    return list(islice(merged(), offset, offset + k))


def _feeds(lists: Sequence[Sequence[Item]], key: Callable[[Item], Hashable]) -> list[Iterator[Item]]:
    """The items of each list that no list has given before."""
    seen: set[Hashable] = set()

    def feed(items: Sequence[Item]) -> Iterator[Item]:
        for item in items:
            if key(item) not in seen:
                seen.add(key(item))
                yield item

    return [feed(items) for items in lists]
