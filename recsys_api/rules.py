"""Business rules, applied last to a list of candidates: block, boost and bury, pin, cap.

``apply_rules`` is a pure function of its arguments. In this order:

1. **block** leaves items out. Nothing brings them back: block beats pin.
2. **boost** and **bury** change the order. Scores of different sources are not comparable (a probability, a cosine, a
   count), but places are, so the factors act on places: a candidate at place ``r`` whose factors multiply to ``f``
   competes as if it stood at ``r / f``, which is the score ``1 / r`` times ``f``. A factor of 2 takes it to half its
   place, 0.5 to twice its place, whatever the source and the length of the list. Equal places keep the earlier order.
3. **pin** puts items at a place. The item of the first rule gets it; one that wants a taken place gets the next free
   one. A pinned item need not be a candidate, as long as the catalogue says that it is available, and it passes the
   filters and is not excluded. A place beyond the answer is no place: the item then stays where it is. If there are too
   few items to reach the place, the item closes up to the end.
4. **cap** lets at most so many items of one category or root into the answer. Pinned items count first, and a pin that
   would exceed a cap is dropped: cap beats pin. Items whose category is not known are not counted.

A rule holds from ``from`` on, and no longer from ``until`` on. Without rules the order is that of the candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from recsys_api.expressions import Filters, Mask, passes_mask
from recsys_assets.core.placements.rules import BlockRule, BoostRule, BuryRule, CapRule, PinRule, Rule
from recsys_assets.storage.catalogue import Catalogue
from recsys_assets.storage.lists import Key, RankedItem

PINNED = "pinned"
"""Source of an item that only a pin brought."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_Selecting = BlockRule | BoostRule | BuryRule | PinRule


Candidate = RankedItem
"""An item that may be shown, whether a list of the release brings it or a model."""


class Placed(NamedTuple):
    """An item of the answer; the place is the position in the list.

    Attributes:
        candidate: the item.
        rules: names of the rules that moved it, in their order.
    """

    candidate: Candidate
    rules: tuple[str, ...] = ()


def apply_rules(
    candidates: Sequence[Candidate],
    rules: Sequence[Rule],
    filters: Filters,
    now: int,
    k: int,
    *,
    excluded: Collection[Key] = (),
    passing: Mask | None = None,
) -> list[Placed]:
    """The answer: what the rules of this moment make of the candidates.

    For a later page, ask for all pages up to it and cut: caps and pins are of the whole answer.

    Args:
        candidates: best first; of an item that comes twice, the first counts.
        rules: in the order in which they are stated; see the module.
        filters: of the release.
        now: microseconds since 1970, UTC.
        k: length of the answer.
        excluded: items that are never shown, pinned or not: bought, disliked, or unavailable since the release.
        passing: bool [items of the catalogue]: items that pins may bring, by the filters of the request and of the
            place, which candidates have passed already; None: all.

    Returns:
        At most ``k`` items, best first, none twice.

    Raises:
        FilterError: a filter cannot be used on this release; a published ``placements.toml`` has none of that kind.
    """
    rules = [rule for rule in rules if holds(rule, now)]
    pins = [rule for rule in rules if isinstance(rule, PinRule)]
    own: dict[Key, Candidate] = {}
    for candidate in candidates:
        if candidate.item_id not in excluded:
            own.setdefault(candidate.item_id, candidate)
    brought = _brought(pins, {*excluded, *own}, filters.catalogue, passing)
    pool = _Pool([*own.values(), *brought], len(own), filters)
    blocked = np.zeros(len(pool.candidates), np.bool_)
    for rule in rules:
        if isinstance(rule, BlockRule):
            blocked |= pool.matches(rule)
    places, names = _places(pool, [rule for rule in rules if isinstance(rule, BoostRule | BuryRule)])
    order = [int(row) for row in np.argsort(places, kind="stable") if not blocked[row]]
    caps = _Caps(pool, [rule for rule in rules if isinstance(rule, CapRule)])
    pinned = _pin(pins, order, pool, caps, k)
    names |= {row: [name] for row, name in pinned.values()}
    rows = _fill(pinned, [row for row in order if row < pool.own], caps, k)
    return [Placed(pool.candidates[row], tuple(names.get(row, ()))) for row in rows]


def holds(rule: Rule, now: int) -> bool:
    """Whether a rule holds at an instant, in microseconds since 1970, UTC."""
    starts, until = _micros(rule.starts), _micros(rule.until)
    return (starts is None or starts <= now) and (until is None or now < until)


def _micros(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


class _Pool:
    """Candidates, then the items that only pins bring; each has a row.

    Attributes:
        candidates: by row.
        own: number of candidates; from this row on, items are brought by pins.
        positions: in the catalogue, by row; -1 is not known.
    """

    def __init__(self, candidates: Sequence[Candidate], own: int, filters: Filters) -> None:
        self.candidates = candidates
        self.own = own
        self.filters = filters
        self.positions = filters.catalogue.positions([candidate.item_id for candidate in candidates])

    def matches(self, rule: _Selecting) -> Mask:
        """Which rows a rule is about."""
        if rule.items is not None:
            named = set(rule.items)
            return np.array([candidate.item_id in named for candidate in self.candidates], np.bool_)
        return self.filters.passes(rule.filter or "", self.positions)


class _Caps:
    """Counts what enters the answer, and says what may."""

    def __init__(self, pool: _Pool, rules: Sequence[CapRule]) -> None:
        catalogue = pool.filters.catalogue
        self._caps = [((catalogue.category if r.per == "category" else catalogue.root).codes, r.at_most) for r in rules]
        self._positions = pool.positions
        self._counts: Counter[tuple[int, int]] = Counter()

    def admit(self, row: int) -> bool:
        """Count a row, unless a cap forbids it."""
        position = self._positions[row]
        if position < 0:
            return True
        keys = [(cap, int(codes[position])) for cap, (codes, _) in enumerate(self._caps) if codes[position] >= 0]
        if any(self._counts[key] >= self._caps[key[0]][1] for key in keys):
            return False
        self._counts.update(keys)
        return True


def _brought(
    pins: Iterable[PinRule], but: Collection[Key], catalogue: Catalogue, passing: Mask | None
) -> list[Candidate]:
    """Items that pins name and that are no candidates, as far as they are available and pass."""
    named = list(dict.fromkeys(item for rule in pins for item in rule.items or () if item not in but))
    if not named:
        return []
    mask = catalogue.available if passing is None else catalogue.available & passing
    shown = passes_mask(mask, catalogue.positions(named)).tolist()
    return [Candidate(item, 0.0, PINNED) for item, is_shown in zip(named, shown, strict=True) if is_shown]


def _places(pool: _Pool, rules: Sequence[BoostRule | BuryRule]) -> tuple[npt.NDArray[np.float64], dict[int, list[str]]]:
    """The place at which each row competes, and the names of the rules that moved it there."""
    factors, names = np.ones(len(pool.candidates)), dict[int, list[str]]()
    for rule in rules:
        matched = pool.matches(rule)
        factors[matched] *= rule.factor
        for row in np.flatnonzero(matched).tolist():
            names.setdefault(row, []).append(rule.name)
    return np.arange(1, len(factors) + 1) / factors, names


def _pin(pins: Sequence[PinRule], order: Sequence[int], pool: _Pool, caps: _Caps, k: int) -> dict[int, tuple[int, str]]:
    """The rows at fixed places (from 0), with the rule that put each there."""
    pinned: dict[int, tuple[int, str]] = {}
    taken: set[int] = set()
    for rule in pins:
        place = rule.position - 1
        for row in _wanted(rule, order, pool, taken):
            while place in pinned:
                place += 1
            if place >= k:
                break
            if caps.admit(row):
                pinned[place] = (row, rule.name)
                taken.add(row)
                if rule.items is None:
                    break
    return pinned


def _wanted(rule: PinRule, order: Sequence[int], pool: _Pool, taken: Collection[int]) -> list[int]:
    """The rows that a pin may place: the items that it names, in its order, or the candidates that pass, best first."""
    matched = pool.matches(rule)
    rows = [row for row in order if matched[row] and row not in taken]
    if rule.items is None:
        return [row for row in rows if row < pool.own]
    numbers = {item: number for number, item in reversed(list(enumerate(rule.items)))}
    return sorted(rows, key=lambda row: numbers[pool.candidates[row].item_id])


def _fill(pinned: Mapping[int, tuple[int, str]], order: Iterable[int], caps: _Caps, k: int) -> list[int]:
    """The rows of the answer: the pinned ones at their places, the others in their order between them."""
    fixed = {row for row, _ in pinned.values()}
    rest = (row for row in order if row not in fixed and caps.admit(row))
    rows: list[int] = []
    for place in range(k):
        row = pinned[place][0] if place in pinned else next(rest, None)
        if row is not None:
            rows.append(row)
    return rows
