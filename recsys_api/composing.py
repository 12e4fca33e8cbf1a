"""From the lists and models of a release to an answer: gather, leave out, blend, fill up, rotate, apply rules, cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial, reduce
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from recsys_api.blend import blend, by_shares
from recsys_api.live import Now
from recsys_api.online import FILTERED, SIMILAR
from recsys_api.rotation import rotate
from recsys_api.rules import Candidate, Placed, apply_rules
from recsys_api.visitor import Quiet, Visitor
from recsys_assets.core.placements.config import Mode, Placement
from recsys_assets.core.placements.rules import Boost, BoostRule, BuryRule, Rule
from recsys_assets.storage.lists import Key
from recsys_assets.storage.served_lists import TRENDING

if TYPE_CHECKING:
    from recsys_api.snapshot import Snapshot

DEPTH = 200
"""Most items of an answer and those before it: ``k`` and ``offset`` together."""
CATALOGUE = "catalogue"
"""Source of items that fill an answer up because they pass the filter, in no order of merit."""
_item = attrgetter("item_id")
_NOTHING_NEW = Now()
_placed = cast("Callable[[tuple[Candidate, tuple[str, ...]]], Placed]", partial(tuple.__new__, Placed))
"""``Placed`` of a pair, in a third of its time."""
_SLACK = 20
"""Items gathered beyond those asked for where there are rules, which may leave some out."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        k: items.
        offset: items before them, on earlier pages.
        mode: which part answers; None as the placement says, or a blend.
        placement: what holds where the answer is shown.
        category: only items of this category, or below this root.
        filter: only items that pass it.
        boosts: factors for items.
        exclude: items that are left out.
        exclude_seen: leave out whatever the visitor touched.
        current: the item that the visitor looks at, which is never recommended.
    """

    k: int = 10
    offset: int = 0
    mode: Mode | None = None
    placement: Placement = field(default_factory=Placement)
    category: str | None = None
    filter: str | None = None
    boosts: tuple[Boost, ...] = ()
    exclude: frozenset[Key] = frozenset()
    exclude_seen: bool = False
    current: Key | None = None

    @property
    def depth(self) -> int:
        """Items of this page and of those before it."""
        return self.k + self.offset

    @cached_property
    def filters(self) -> Sequence[str]:
        """What items have to pass, of the request and of where it is shown."""
        stated = (self.placement.filter, self.filter, _category_filter(self.category))
        return [text for text in stated if text]

    @cached_property
    def as_listed(self) -> bool:
        """Whether it asks for no more than the list of last night, as far as there is nothing new of the visitor."""
        mode = self.mode or self.placement.mode
        mixed = self.placement.sources and self.mode is None
        narrowed = self.filters or self.exclude or self.exclude_seen or self.current is not None
        return mode != "online" and not mixed and not self.rules and not narrowed

    @cached_property
    def rules(self) -> Sequence[Rule]:
        """The rules of where it is shown, and the boosts as rules."""
        return [*self.placement.rules, *_boosted_rules(self.placement.boosts, self.boosts)]


class Composed(NamedTuple):
    """An answer.

    Attributes:
        items: best first, none twice.
        mode: which parts it is made of: ``blend``, ``offline``, ``online``, or ``fallback`` where nothing is personal.
        fallbacks: reason to number of items that stand in for personal ones.
        offline: number of items that were put there by the lists of last night.
    """

    items: Sequence[Placed]
    mode: str
    fallbacks: Mapping[str, int]
    offline: int


def compose(
    snapshot: Snapshot, user: Key | None, visitor: Visitor, wanted: Wanted, now: int, live: Now = _NOTHING_NEW
) -> Composed:
    """Answer a request.

    Args:
        snapshot: the release.
        user: None for a visitor without an id.
        visitor: what is known of them.
        wanted: the request.
        now: microseconds since 1970, UTC.
        live: what trends right now: the list of those who get no personal items begins with it, and where the release
            says that popularity changes within hours, it takes turns with everybody's list of last night.

    Raises:
        FilterError: a filter of the request cannot be used.
    """
    if not live.for_known and (listed := _as_listed(snapshot, user, visitor, wanted)) is not None:
        return Composed(listed, "offline", {}, len(listed))
    place = wanted.placement
    forbidden = visitor.may_not_get(snapshot.rules, exclude_seen=wanted.exclude_seen)
    forbidden.update(wanted.exclude)
    if wanted.current is not None:
        forbidden.add(wanted.current)
    rules = [*snapshot.placements.rules, *wanted.rules]
    # What sinks by rotation makes room for others, and rules may leave some out.
    most = wanted.depth + (_SLACK if rules else 0) + (len(visitor.shown) if place.rotate_after else 0)
    gather = _Gather(snapshot, user, visitor, forbidden, wanted.filters, most, live.items)
    merged, used, not_nightly = _merged(gather, wanted, live)
    if place.rotate_after:
        half_life = timedelta(days=place.rotate_half_life_days)
        merged = rotate(merged, visitor.shown, {}, now, place.rotate_after, half_life, key=_item)
    personal = len(merged)
    filled = merged
    if personal < gather.most:
        filled = [*merged, *gather.fallback({item.item_id for item in merged}, wanted.category)]
    if rules:
        placed = apply_rules(
            filled, rules, snapshot.filters, now, wanted.depth, excluded=forbidden, passing=gather.mask
        )[wanted.offset :]
    else:
        placed = list(map(Placed, filled[wanted.offset : wanted.depth]))
    fallbacks: Mapping[str, int] = {}
    if len(filled) > personal:
        stand_in = {candidate.item_id for candidate in filled[personal:]}
        if count := sum(item.candidate.item_id in stand_in for item in placed):
            reason = "short_list" if personal else "unknown_user" if not visitor.clicks else "no_candidates"
            fallbacks = {reason: count}
    others = sum(fallbacks.values())
    if not_nightly:
        others += sum(item.candidate.item_id in not_nightly for item in placed)
    return Composed(placed, used if personal else "fallback", fallbacks, len(placed) - others)


def _merged(gather: _Gather, wanted: Wanted, live: Now) -> tuple[list[Candidate], str, set[Key]]:
    """What is personal, best first; which parts it is made of; and the items that no list of last night put there."""
    sources, most = wanted.placement.sources, gather.most
    mode = wanted.mode or wanted.placement.mode
    if sources and wanted.mode is None:
        lists = {source: gather.of(source) for source in sources}
        merged = by_shares(lists, {**sources}, most, key=_item)
        online = lists.get("online", [])
        return merged, "blend" if online else "offline", _taken_from(online, merged)
    # Without news, the lists of last night are what the models have to say.
    asked_online = mode == "online" or (mode == "blend" and gather.has_news)
    online = gather.of("online") if asked_online else []
    offline = gather.of("recommendations") if mode != "online" else []
    # Where popularity changes within hours, the list of last night has had its day.
    trending = gather.of_now() if live.for_known and mode == "blend" and (online or offline) else []
    last = blend(trending, offline, most, key=_item) if trending else offline
    merged = blend(online, last, most, key=_item)
    used = "blend" if offline and (online or trending) else "online" if online else "offline"
    return merged, used, _taken_from([*online, *trending], merged)


def _as_listed(snapshot: Snapshot, user: Key | None, visitor: Visitor, wanted: Wanted) -> list[Placed] | None:
    """The list of last night where it is the answer as it is; None where anything may change it.

    Most requests are of this kind. All that follows would change nothing, and cost twice as much as the list.
    """
    if user is None or not isinstance(visitor, Quiet) or not wanted.as_listed or not snapshot.as_listed:
        return None
    rows = snapshot.recommendations.get(user, wanted.depth)
    if len(set(map(_item, rows))) < wanted.depth:
        return None
    return list(map(_placed, zip(rows[wanted.offset :], repeat(()))))


def _taken_from(source: Sequence[Candidate], merged: Sequence[Candidate]) -> set[Key]:
    """The items of a merged list that come from a source: where several have an item, only one gave it its place."""
    given = set(map(id, source))
    return {item.item_id for item in merged if id(item) in given} if given else set()


class _Gather:
    """Lists of a release for one request, without what must not be shown.

    Args:
        snapshot: the release.
        user: None for a visitor without an id.
        visitor: what is known of them.
        forbidden: items that are left out.
        filters: items that do not pass all of them are left out.
        most: items of a list.
        live: what is popular right now.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        user: Key | None,
        visitor: Visitor,
        forbidden: Collection[Key],
        filters: Sequence[str],
        most: int,
        live: Sequence[Candidate],
    ) -> None:
        self._snapshot, self._user, self._visitor = snapshot, user, visitor
        self._forbidden, self.most, self._live = forbidden, most, live
        masks = [snapshot.filters.mask(text) for text in filters]
        self.mask = reduce(np.logical_and, masks) if masks else None

    @property
    def has_news(self) -> bool:
        """Whether the visitor did anything that the release does not know of."""
        return bool(self._visitor.fresh)

    def of(self, source: str) -> list[Candidate]:
        """The items of a source, best first."""
        snapshot, most = self._snapshot, self.most
        match source:
            case "recommendations":
                return self._recommendations()[:most]
            case "online":
                return self._kept(snapshot.online.recommend(self._visitor, most, self._forbidden, self.mask))
            case "similar_items":
                seeds = dict.fromkeys(reversed(self._visitor.clicks[-5:]))
                lists = {
                    str(seed): self._kept(
                        [Candidate(item, score, SIMILAR) for item, score, _ in snapshot.similar(seed, most)]
                    )
                    for seed in seeds
                }
                return by_shares(lists, dict.fromkeys(lists, 1.0), most, key=_item) if lists else []
            case "trending":
                return self._going_on(self._segment(TRENDING, most), most)
            case _:
                return self._segment("all", most)

    def _recommendations(self) -> list[Candidate]:
        """The user's list of the release, as much of it as is needed: making candidates of all of it took long."""
        if self._user is None:
            return []
        most = self.most if self.mask is None else FILTERED * self.most
        deep = min(most + len(self._forbidden), DEPTH)
        rows = self._snapshot.recommendations.get(self._user, deep)
        kept = self._kept(rows)
        if len(kept) < self.most and len(rows) == deep < DEPTH:  # more are left out than was reckoned with
            kept = self._kept(self._snapshot.recommendations.get(self._user, DEPTH))
        return kept

    def of_now(self) -> list[Candidate]:
        """What trends right now, best first."""
        return self._going_on([], self.most)

    def fallback(self, held: Collection[Key], category: str | None) -> list[Candidate]:
        """Items that are not personal, to fill an answer up.

        Args:
            held: items of the answer.
            category: to which the request is limited.
        """
        most = self.most + len(held)
        segment = f"category:{category}" if category else self._snapshot.fallback
        found = self._segment(segment, most)
        if not category:
            found = self._going_on(found, most)
        if len(found) < most and self.mask is not None:
            found += self._any_that_pass({*held, *(item.item_id for item in found)}, most - len(found))
        return [item for item in found if item.item_id not in held]

    def _going_on(self, found: list[Candidate], most: int) -> list[Candidate]:
        """What trends now, which continues what trended when the release was made; then a list of the release."""
        live = self._live
        if not live:
            return found
        some_out = self.mask is not None or self._snapshot.withdrawn
        now = self._kept([*live] if some_out else [*live[: most + len(self._forbidden)]])
        held = {item.item_id for item in now}
        return [*now, *(item for item in found if item.item_id not in held)][:most]

    def _segment(self, segment: str, k: int) -> list[Candidate]:
        # As many more as may be left out.
        wider = k + len(self._forbidden) if self.mask is None else len(self._snapshot.catalogue)
        return self._kept(self._snapshot.popular(wider, segment))[:k]

    def _any_that_pass(self, held: Collection[Key], count: int) -> list[Candidate]:
        """Available items that pass the filter and that no list has, by id."""
        catalogue = self._snapshot.catalogue
        if self.mask is None:
            return []
        found: list[Candidate] = []
        for row in np.flatnonzero(self.mask & catalogue.available).tolist():
            if len(found) == count:
                break
            item = catalogue.id_at(row)
            if item not in held and item not in self._forbidden:
                found.append(Candidate(item, 0.0, CATALOGUE))
        return found

    def _kept(self, candidates: list[Candidate]) -> list[Candidate]:
        forbidden = self._forbidden
        kept = (
            [candidate for candidate in candidates if candidate.item_id not in forbidden] if forbidden else candidates
        )
        if withdrawn := self._snapshot.withdrawn:
            kept = [candidate for candidate in kept if candidate.item_id not in withdrawn]
        if self.mask is None or not kept:
            return kept
        rows = self._snapshot.catalogue.positions([candidate.item_id for candidate in kept])
        passes = (rows >= 0) & self.mask[rows]
        return [candidate for candidate, passed in zip(kept, passes.tolist(), strict=True) if passed]


def _category_filter(category: str | None) -> str | None:
    if category is None:
        return None
    named = json.dumps(category, ensure_ascii=False)
    return f"category == {named} or root == {named}"


def _boosted_rules(*boosts: Sequence[Boost]) -> list[Rule]:
    """Boosts as rules: they act alike."""
    rules: list[Rule] = []
    for number, boost in enumerate((boost for some in boosts for boost in some), 1):
        name, about, factor = f"boost {number}", boost.filter, boost.factor
        if factor > 1:
            rules.append(BoostRule(name=name, action="boost", filter=about, factor=factor))
        elif factor < 1:
            rules.append(BuryRule(name=name, action="bury", filter=about, factor=factor))
    return rules
