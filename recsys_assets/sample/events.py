"""The event stream, half a day at a time.

Returning visitors come first; new visitors fill the slice up to its exact size. Carts and purchases are drawn by
relative appeal, scaled so that their shares of all events equal those of the real data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys_assets.sample.catalog import Catalog, Floats, Ints
from recsys_assets.sample.config import DAY_MS, SampleConfig
from recsys_assets.sample.visitors import SLICE_MS, Calendar, Visitors, arrivals, next_slice, remember
from recsys_assets.sample.visits import (
    CART,
    PURCHASE,
    Rows,
    Views,
    browse,
    cart_appeal,
    decide,
    purchase_appeal,
    slice_share,
    to_rows,
)

CART_SHARE, PURCHASE_SHARE = 0.0252, 0.0081
_VIEW_SHARE = 1 - CART_SHARE - PURCHASE_SHARE
_TRAFFIC = np.array([1.03, 1.05, 1.05, 1.03, 1.0, 0.9, 0.94])
_BUYING = np.array([1.05, 1.08, 1.08, 1.05, 0.96, 0.87, 0.91])
"""Traffic, and carts and purchases per view, Monday to Sunday."""
_MAX_CHANCE = 0.6
_CARTS_TOGETHER, _PURCHASES_TOGETHER = 0.3, 0.8
_MEAN_NEW_VISIT = 1.3


@dataclass(frozen=True)
class _Slice:
    """A slice: its number, weights of items, property snapshot and source of randomness."""

    index: int
    until: Floats
    snapshot: int
    rng: np.random.Generator


@dataclass
class EventStream:
    """Generates all slices in order and counts their rows.

    Attributes:
        catalog: items.
        users: visitors so far; also the number of the next one.
        orders: number of the next order.
        kinds: rows of each kind so far.
        seen: items with an event.
    """

    catalog: Catalog
    users: int = 0
    orders: int = 0
    kinds: Ints = field(default_factory=lambda: np.zeros(3, np.int64))
    seen: NDArray[np.bool_] = field(init=False)
    _deficit: Floats = field(default_factory=lambda: np.zeros(2))
    _taste_shares: Floats = field(init=False)
    _calendar: Calendar = field(init=False)

    def __post_init__(self) -> None:
        config = self.catalog.config
        self.seen = np.zeros(self.catalog.size, np.bool_)
        shares = np.random.default_rng([config.seed, 3]).lognormal(0, 0.6, self.catalog.tastes)
        self._taste_shares = shares / shares.sum()
        self._calendar = Calendar(len(slice_sizes(config)))

    def slices(self) -> Iterator[tuple[Ints, Rows]]:
        """Yield the user numbers and the rows of each slice, shuffled."""
        config = self.catalog.config
        until = np.empty(0)
        for index, size in enumerate(slice_sizes(config).tolist()):
            start = index * SLICE_MS
            if start % DAY_MS == 0:
                until = self.catalog.weights_until(start // DAY_MS)
            snapshot = int(np.searchsorted(config.snapshots_ms, config.start_ms + start, side="right")) - 1
            rng = np.random.default_rng([config.seed, 4, index])
            copies = min(size // 2, int(rng.binomial(size, config.duplicate_share)) + (index == 0))
            buying = _BUYING[(config.start.weekday() + start // DAY_MS) % 7]
            self._deficit += np.array([CART_SHARE, PURCHASE_SHARE]) * size * buying
            parts = list(self._fill(_Slice(index, until, snapshot, rng), size - copies))
            users, rows = np.concatenate([user for user, _ in parts]), Rows.concat([rows for _, rows in parts])
            order = np.append(np.arange(len(users)), rng.integers(0, max(1, len(users)), copies))
            order = rng.permutation(order)
            self.kinds += np.bincount(rows.kind[order], minlength=3)
            self.seen[rows.item] = True
            yield users[order], rows.take(order)

    def _fill(self, now: _Slice, size: int) -> Iterator[tuple[Ints, Rows]]:
        visitors, missing = self._calendar.take(now.index), size
        views = browse(self.catalog, now.until, now.rng, visitors, now.index)
        rates = self._rates(visitors, views, now.snapshot, missing)
        while True:
            rows = self._convert(now, visitors, views, rates, missing)
            missing -= len(rows.visit)
            yield visitors["user"][rows.visit], rows
            if missing <= 0:
                return
            count = int(missing / _MEAN_NEW_VISIT) + 16
            visitors = arrivals(self.catalog.config, now.rng, self.users, count, self._taste_shares)
            views = browse(self.catalog, now.until, now.rng, visitors, now.index)
            if self.users == 0:
                views.item[(views.visit == 0) & (views.item == views.item[0])] = 0

    def _rates(self, visitors: Visitors, views: Views, snapshot: int, size: int) -> tuple[float, float]:
        """Carts and purchases per unit of appeal that make up the deficit, counting the new visitors to come."""
        new_views = max(0.0, size * _VIEW_SHARE - len(views.item))
        new_appeal = 0.8 * new_views * self.catalog.config.first_visit_conversion
        appeal = cart_appeal(self.catalog, visitors, views, snapshot)
        cart_rate = self._deficit[0] / (appeal.sum() + new_appeal + 1e-9)
        carts = np.minimum(appeal * cart_rate, _MAX_CHANCE)
        chances = purchase_appeal(self.catalog, views, appeal, carts, snapshot)
        new_carts = new_views and 0.8 * new_views * min(_MAX_CHANCE, cart_rate * new_appeal / new_views)
        return max(0.0, cart_rate), max(0.0, self._deficit[1] / (chances.sum() + new_carts + 1e-9))

    def _convert(self, now: _Slice, visitors: Visitors, views: Views, rates: tuple[float, float], room: int) -> Rows:
        """Turn views into at most ``room`` rows and schedule the next visits of their visitors."""
        rng = now.rng
        appeal = cart_appeal(self.catalog, visitors, views, now.snapshot)
        carted = decide(rng, views.visit, np.minimum(appeal * rates[0], _MAX_CHANCE), _CARTS_TOGETHER)
        chance = purchase_appeal(self.catalog, views, appeal, carted, now.snapshot)
        purchased = decide(rng, views.visit, np.minimum(chance * rates[1], _MAX_CHANCE), _PURCHASES_TOGETHER)
        all_rows = to_rows(rng, visitors, views, carted, purchased, self.orders)
        rows = all_rows.take(slice(room))
        visits = int(rows.visit[-1]) + 1 if len(rows.visit) else 0
        self.users = max(self.users, int(visitors["user"][:visits].max(initial=-1)) + 1)
        self.orders = max(self.orders, int(rows.order.max(initial=-1)) + 1)
        self._deficit -= [np.count_nonzero(rows.kind == CART), np.count_nonzero(rows.kind == PURCHASE)]

        # Visitors with visits left are scheduled, except the one whose visit was cut short.
        returning = visitors["visits_left"] > 0
        returning[visits - (len(rows.visit) < len(all_rows.visit)) :] = False
        last = np.searchsorted(rows.visit, np.flatnonzero(returning), side="right") - 1
        staying = visitors[returning]
        staying["visits_left"] -= 1
        staying["last_ms"] = rows.ms[last]
        seen = returning[views.visit]
        visit = (np.cumsum(returning) - 1)[views.visit[seen]]
        remember(staying, visit, views.item[seen], carted[seen], purchased[seen])
        self._calendar.add(staying, next_slice(rng, staying, now.index))
        return rows


def slice_sizes(config: SampleConfig) -> Ints:
    """Rows of each slice: they follow the weekdays and the hours and add up to ``config.events``."""
    slices = np.arange(config.days * DAY_MS // SLICE_MS)
    weekday = (config.start.weekday() + slices * SLICE_MS // DAY_MS) % 7
    share = _TRAFFIC[weekday] * np.array([slice_share(index) for index in slices.tolist()])
    return np.diff(np.round(np.cumsum(share) / share.sum() * config.events).astype(np.int64), prepend=0)
