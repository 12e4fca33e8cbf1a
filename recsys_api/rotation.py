"""What was shown and not clicked sinks, so that a place shows something else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from math import floor
from typing import Any, TypeVar

Item = TypeVar("Item")
_MICROSECOND = timedelta(microseconds=1)


def _itself(item: object) -> Hashable:
    return item


def rotate(
    items: Sequence[Item],
    shown: Mapping[Any, Sequence[int]],
    clicked: Mapping[Any, int],
    now: int,
    after: int,
    half_life: timedelta,
    *,
    key: Callable[[Item], Hashable] = _itself,
) -> list[Item]:
    """The items in an order in which those shown too often without a click are below the others.

    An impression counts 1 at first and half after each half-life; those up to the last click of the item do not count.
    The sum is rounded to whole impressions, halves up, or else no number of them would ever quite add up to ``after``.
    With ``after`` of them the item is below all that have fewer, with twice as many below those, and so on: when all
    items of a place have been shown, the ones that rested come back first. Otherwise the order stays.

    Args:
        items: best first.
        shown: by key, times of impressions to this user at this place, in microseconds since 1970, UTC.
        clicked: by key, time of the last click, likewise.
        now: likewise; a later impression, by a clock that is ahead, counts 1.
        after: impressions after which an item sinks.
        half_life: of an impression.
        key: of an item in ``shown`` and ``clicked``.

    Returns:
        The same items.
    """

    def level(item: Item) -> int:
        last = clicked.get(key(item))
        since = [time for time in shown.get(key(item), ()) if last is None or time > last]
        # Added in order of time, so that the sum does not depend on the order in which impressions are read.
        count = sum(0.5 ** (max(0, now - time) * _MICROSECOND / half_life) for time in sorted(since))
        return floor(count + 0.5) // after

    return sorted(items, key=level)
