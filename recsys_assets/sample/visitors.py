"""Visitors: their arrival, tastes, memory and return.

The state is one record for each visitor who will return, in the calendar under the time slice of the next visit. Other
visitors have no state, so memory grows with the number of visitors between two visits and not with the events.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_assets.sample.catalog import STYLES, Floats, Ints
from recsys_assets.sample.config import DAY_MS, SampleConfig

MEMORY = 6
"""Items that a visitor remembers."""
CASUAL, RETURNING, BUYER, BOT = range(4)

Visitors = NDArray[Any]
VISITOR = np.dtype(
    [
        ("user", "i8"),
        ("kind", "i1"),
        ("taste", "i4", 2),
        ("style", "i1"),
        ("visits_left", "i4"),
        ("last_ms", "i8"),
        ("order", "i8"),
        ("items", "i4", MEMORY),
        ("carted", "?", MEMORY),
    ]
)
SLICE_MS = DAY_MS // 2
"""Time is generated half a day at a time."""


class Calendar:
    """Visitors by the slice of their next visit; a slice is taken once, in order."""

    def __init__(self, slices: int) -> None:
        self._due: list[list[Visitors]] = [[] for _ in range(slices)]

    def add(self, visitors: Visitors, slices: Ints) -> None:
        """Add visitors; those whose next visit is after the range are dropped."""
        inside = slices < len(self._due)
        visitors, slices = visitors[inside], slices[inside]
        order = np.argsort(slices, kind="stable")
        values, starts = np.unique(slices[order], return_index=True)
        for value, group in zip(values.tolist(), np.split(order, starts[1:]), strict=False):
            self._due[value].append(visitors[group])

    def take(self, index: int) -> Visitors:
        """All visitors of a slice, in the order in which they were added."""
        due, self._due[index] = self._due[index], []
        return np.concatenate([np.empty(0, VISITOR), *due])


def arrivals(
    config: SampleConfig, rng: np.random.Generator, first_user: int, count: int, taste_shares: Floats
) -> Visitors:
    """Draw new visitors with consecutive numbers; numbers 1 and 2 are a buyer and a bot in every sample."""
    visitors = np.zeros(count, VISITOR)
    visitors["user"] = first_user + np.arange(count)
    draw = rng.random(count)
    heavy, returning = config.heavy_share, config.heavy_share + config.returning_share
    visitors["kind"] = np.select([draw < heavy / 2, draw < heavy, draw < returning], [BUYER, BOT, RETURNING], CASUAL)
    for number, kind in ((1, BUYER), (2, BOT)):
        visitors["kind"][visitors["user"] == number] = kind
    visitors["taste"] = np.searchsorted(np.cumsum(taste_shares), rng.random((count, 2)))
    visitors["style"] = rng.integers(0, STYLES, count)
    # Pareto tails: most returning visitors return once or twice, a few over the whole range.
    tail = rng.random(count) ** (-1 / 1.5)
    visits = np.select(
        [visitors["kind"] == CASUAL, visitors["kind"] == RETURNING], [0, np.minimum(1.3 * tail, 80)], 6 * tail
    )
    visitors["visits_left"] = np.minimum(visits, 2000)
    visitors["last_ms"] = -1
    visitors["order"] = -1
    visitors["items"] = -1
    return visitors


def next_slice(rng: np.random.Generator, visitors: Visitors, now: int) -> Ints:
    """Slice of each visitor's next visit: days later, half a day to two for heavy users."""
    days = rng.lognormal(np.log(2.2), 1.1, len(visitors))
    slices = np.where(visitors["kind"] >= BUYER, rng.integers(1, 5, len(visitors)), np.maximum(1, 2 * days))
    return now + slices.astype(np.int64)


def remember(
    visitors: Visitors, visit: Ints, item: Ints, carted: NDArray[np.bool_], purchased: NDArray[np.bool_]
) -> None:
    """Update what visitors remember after a visit: carted items first, then the latest; purchased items are dropped.

    Args:
        visitors: changed in place.
        visit: position in ``visitors`` of each view, views in order of time.
        item: item of each view.
        carted: whether the view led to a cart.
        purchased: whether the view led to a purchase.
    """
    old_visit, slot = np.nonzero(visitors["items"] >= 0)
    who = np.concatenate([old_visit, visit])
    what = np.concatenate([visitors["items"][old_visit, slot], item])
    in_cart = np.concatenate([visitors["carted"][old_visit, slot], carted])
    dropped = np.concatenate([np.zeros(len(slot), np.bool_), purchased])
    # Newest first: views of this visit by position, then the old slots in their order.
    age = np.concatenate([slot + len(item), len(item) - 1 - np.arange(len(item))])
    group = np.lexsort((age, what, who))
    who, what, in_cart, dropped, age = who[group], what[group], in_cart[group], dropped[group], age[group]
    first = np.flatnonzero(np.diff(who, prepend=-1).astype(bool) | np.diff(what, prepend=-1).astype(bool))
    in_cart, dropped = np.logical_or.reduceat(in_cart, first), np.logical_or.reduceat(dropped, first)
    who, what, age = who[first][~dropped], what[first][~dropped], age[first][~dropped]
    in_cart = in_cart[~dropped]
    best = np.lexsort((age, ~in_cart, who))
    who, what, in_cart = who[best], what[best], in_cart[best]
    place = np.arange(len(who)) - np.searchsorted(who, who)
    inside = place < MEMORY
    visitors["items"], visitors["carted"] = -1, False
    visitors["items"][who[inside], place[inside]] = what[inside]
    visitors["carted"][who[inside], place[inside]] = in_cart[inside]
