"""Visits: views, carts and purchases of visitors, and their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from recsys_assets.sample.catalog import STYLES, Catalog, Floats, Ints
from recsys_assets.sample.config import DAY_MS
from recsys_assets.sample.visitors import BOT, BUYER, CASUAL, RETURNING, SLICE_MS, Visitors

VIEW, CART, PURCHASE = range(3)
_MAX_GAP_MS = 25 * 60_000
_CHECKOUT_MS = 8 * 60_000
_NEW_SESSION_MS = 31 * 60_000
_HOURS = np.array([3, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6, 6, 6, 6, 6, 5, 5, 4, 4, 3, 3, 3], np.float64)
"""Relative traffic by hour since 03:00 UTC."""
_SAME_ORDER = 0.02
_ONE_CLICK = 0.018
_KEPT_CART = 0.8
"""Chance to buy on a later view of a carted item, relative to a view that has just been carted."""


def hours_until(slice_index: int) -> Floats:
    """Running share of traffic over the hours of a slice."""
    hours = len(_HOURS) * SLICE_MS // DAY_MS
    part = (slice_index * hours) % len(_HOURS)
    return np.cumsum(_HOURS[part : part + hours]) / _HOURS[part : part + hours].sum()


def slice_share(slice_index: int) -> float:
    """Share of a day's traffic that falls into a slice."""
    hours = len(_HOURS) * SLICE_MS // DAY_MS
    part = (slice_index * hours) % len(_HOURS)
    return float(_HOURS[part : part + hours].sum() / _HOURS.sum())


@dataclass(frozen=True)
class Views:
    """Views of many visits, in order of visit and time.

    Attributes:
        visit: position of the visitor of each view.
        item: item number.
        ms: time.
        room: milliseconds until the next view of the visit.
        revisited: whether the item was remembered from an earlier visit.
        in_cart: whether it was in the cart already.
    """

    visit: Ints
    item: Ints
    ms: Ints
    room: Ints
    revisited: NDArray[np.bool_]
    in_cart: NDArray[np.bool_]


def browse(catalog: Catalog, until: Floats, rng: np.random.Generator, visitors: Visitors, index: int) -> Views:
    """Views of one visit of every visitor in a slice.

    Args:
        catalog: items.
        until: the day's running sum of weights.
        rng: source of randomness.
        visitors: the visitors.
        index: the slice.
    """
    config, kind = catalog.config, visitors["kind"]
    length = _lengths(rng, kind, visitors["last_ms"] < 0)
    visit = np.repeat(np.arange(len(visitors)), length)
    begin = np.cumsum(length) - length
    position = np.arange(len(visit)) - begin[visit]

    # A visit: a taste of its visitor's two, or any; an anchor item in the visitor's style; a shelf around it.
    draw = rng.random(len(visitors))
    strength = np.where(kind == BOT, 0.0, config.taste_strength)
    anywhere = rng.integers(0, catalog.tastes, len(visitors))
    taste = np.select([draw < 0.8 * strength, draw < strength], visitors["taste"].T, anywhere).astype(np.int64)
    per_style = len(catalog.category) // (catalog.tastes * STYLES)
    styled = (taste * STYLES + visitors["style"]) * per_style
    anchor = _draw(catalog, until, rng.random(len(visitors)), styled, styled + per_style)
    shelf = catalog.shelf(anchor)

    # Further views: the anchor's shelf, the same style in all of the taste, or the whole taste (always so for bots).
    bot = kind[visit] == BOT
    scope = np.where(bot, 2, np.searchsorted([0.8, 0.9], rng.random(len(visit)), side="right"))
    low = np.choose(scope, [shelf[visit], styled[visit], taste[visit] * STYLES * per_style])
    high = low + np.array([1, per_style, STYLES * per_style])[scope]
    item = _draw(catalog, until, rng.random(len(visit)), low, high)
    item[begin] = anchor

    # Views of remembered items, the first slots first.
    remembered = (visitors["items"] >= 0).sum(axis=1)
    slot = (rng.random(len(visit)) ** 1.5 * remembered[visit]).astype(np.int64)
    revisited = (rng.random(len(visit)) < config.revisit_share) & (remembered[visit] > 0) & ~bot
    item = np.where(revisited, visitors["items"][visit, slot], item)
    in_cart = revisited & visitors["carted"][visit, slot]
    # Views of an earlier item of the same visit.
    again = (rng.random(len(visit)) < 0.15) & (position > 0) & ~bot
    source = np.where(again, begin[visit] + (rng.random(len(visit)) * position).astype(np.int64), np.arange(len(visit)))
    item, revisited, in_cart = item[source], revisited[source], in_cart[source]

    ms, room = _times(config.start_ms, config.end_ms, rng, visitors, index, visit, position, begin)
    return Views(visit, item, ms, room, revisited, in_cart)


def _lengths(rng: np.random.Generator, kind: NDArray[np.int8], new: NDArray[np.bool_]) -> Ints:
    """Views of each visit: mostly one for casual visitors, long for buyers and bots."""
    casual = np.where(rng.random(len(kind)) < 0.8, 1, 1 + rng.geometric(0.55, len(kind)))
    returning = np.where(new, rng.geometric(0.65, len(kind)), rng.geometric(0.45, len(kind)))
    heavy = np.where(kind == BUYER, rng.geometric(1 / 12, len(kind)), rng.geometric(1 / 40, len(kind)))
    return np.select([kind == CASUAL, kind == RETURNING], [casual, returning], heavy)


def _draw(catalog: Catalog, until: Floats, u: Floats, low: Ints, high: Ints) -> Ints:
    """Draw an item by weight from the shelves ``low`` to ``high`` (not included)."""
    first, last = catalog.bounds[low], catalog.bounds[high]
    point = until[first] + u * (until[last] - until[first])
    return np.clip(np.searchsorted(until, point, side="right") - 1, first, last - 1)


def _times(
    start_ms: int,
    end_ms: int,
    rng: np.random.Generator,
    visitors: Visitors,
    index: int,
    visit: Ints,
    position: Ints,
    begin: Ints,
) -> tuple[Ints, Ints]:
    hours = hours_until(index)
    u = rng.random(len(visitors))
    hour = np.searchsorted(hours, u, side="right")
    start = start_ms + index * SLICE_MS + ((hour + rng.random(len(u))) * 3_600_000).astype(np.int64)
    earliest = visitors["last_ms"] + _NEW_SESSION_MS + (rng.exponential(3_600_000, len(u))).astype(np.int64)
    start = np.where(visitors["last_ms"] < 0, start, np.maximum(start, earliest))
    pace = np.where(visitors["kind"] == BOT, 2_000.0, 45_000.0)
    gap = np.clip(pace[visit] * rng.lognormal(0, 1.1, len(visit)), 500, _MAX_GAP_MS).astype(np.int64)
    gap[position == 0] = 0
    passed = np.cumsum(gap)
    passed -= passed[begin][visit]
    # The last minutes of the range: a visit that would exceed it is compressed.
    longest = np.maximum.reduceat(passed, begin) + _CHECKOUT_MS
    start = np.minimum(start, end_ms - 60_000)
    hurry = np.minimum(1.0, (end_ms - 1 - start) / longest)
    ms = start[visit] + (passed * hurry[visit]).astype(np.int64)
    room = np.diff(ms, append=0)
    last = np.diff(visit, append=-1) != 0
    room[last] = (_CHECKOUT_MS * hurry).astype(np.int64)
    return ms, room


def cart_appeal(catalog: Catalog, visitors: Visitors, views: Views, snapshot: int) -> Floats:
    """Relative chance that a view leads to a cart: remembered items above fresh ones, first visits and bots below."""
    kind = visitors["kind"][views.visit]
    appeal = np.where(views.revisited, 1.4, 1.0)
    appeal[(visitors["last_ms"] < 0)[views.visit] & (kind != BUYER)] = catalog.config.first_visit_conversion
    appeal *= np.where(catalog.is_available(views.item, snapshot), 1.0, 0.4)
    return np.where((kind == BOT) | views.in_cart, 0.0, appeal)


def purchase_appeal(
    catalog: Catalog, views: Views, appeal: Floats, carted: NDArray[np.bool_] | Floats, snapshot: int
) -> Floats:
    """Relative chance that a view ends in a purchase: just carted (or how likely that is), carted before, one click."""
    chance = np.where(views.in_cart, _KEPT_CART, np.maximum(carted, _ONE_CLICK * appeal))
    return chance * np.where(catalog.is_available(views.item, snapshot), 1.0, 0.3)


def decide(rng: np.random.Generator, visit: Ints, chance: Floats, together: float) -> NDArray[np.bool_]:
    """Draw yes or no for each view; a share of the views uses one draw per visit, which makes larger baskets."""
    own, shared = rng.random(len(visit)), rng.random(int(visit.max(initial=-1)) + 1)[visit]
    return np.where(rng.random(len(visit)) < together, shared, own) < chance


@dataclass(frozen=True)
class Rows:
    """Events before they are written as text; sorted by visit, then time."""

    visit: Ints
    item: Ints
    kind: Ints
    ms: Ints
    order: Ints

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, one after another."""
        return cls(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(cls)))

    def take(self, rows: Ints | slice) -> Rows:
        """The rows at the given positions."""
        return Rows(self.visit[rows], self.item[rows], self.kind[rows], self.ms[rows], self.order[rows])


def to_rows(
    rng: np.random.Generator,
    visitors: Visitors,
    views: Views,
    carted: NDArray[np.bool_],
    purchased: NDArray[np.bool_],
    first_order: int,
) -> Rows:
    """Turn views, carts and purchases into events: a cart follows its view, one checkout ends the visit.

    Args:
        rng: source of randomness.
        visitors: the visitors; their latest order is changed in place.
        views: their views.
        carted: views that led to a cart.
        purchased: views that led to a purchase.
        first_order: number of the next order.
    """
    cart, buy = np.flatnonzero(carted), np.flatnonzero(purchased)
    # An item is purchased once in an order.
    pair = views.visit[buy] * (int(views.item.max(initial=0)) + 1) + views.item[buy]
    buy = np.sort(buy[np.unique(pair, return_index=True)[1]])
    # A cart comes in the first part of the time until the next view, the checkout in the last part of the time left.
    wait = np.minimum(0.45 * views.room[cart], 90_000)
    cart_ms = views.ms[cart] + (wait * rng.random(len(cart))).astype(np.int64)
    buyers, buyer = np.unique(views.visit[buy], return_inverse=True)
    last_view = np.searchsorted(views.visit, buyers, side="right") - 1
    checkout = views.ms[last_view] + (views.room[last_view] * (0.5 + 0.4 * rng.random(len(buyers)))).astype(np.int64)
    old = visitors["order"][buyers]
    orders = np.where((old >= 0) & (rng.random(len(buyers)) < _SAME_ORDER), old, first_order + np.arange(len(buyers)))
    visitors["order"][buyers] = orders
    visit = np.concatenate([views.visit, views.visit[cart], views.visit[buy]])
    ms = np.concatenate([views.ms, cart_ms, checkout[buyer]])
    kind = np.repeat([VIEW, CART, PURCHASE], [len(views.visit), len(cart), len(buy)])
    order = np.concatenate([np.full(len(views.visit) + len(cart), -1), orders[buyer]])
    rows = Rows(visit, np.concatenate([views.item, views.item[cart], views.item[buy]]), kind, ms, order)
    return rows.take(np.lexsort((kind, ms, visit)))
