"""From the lists and models of a release to an answer: gather, leave out, blend, fill up, rotate, apply rules, cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, cast

from recsys_api.blend import blend, by_shares
from recsys_api.gathering import Gather, item_of
from recsys_api.live import Now
from recsys_api.rotation import rotate
from recsys_api.rules import Candidate, Placed, apply_rules
from recsys_api.visitor import Quiet, Visitor
from recsys_assets.core.placements.config import Mode, Placement
from recsys_assets.core.placements.rules import Boost, BoostRule, BuryRule, Rule
from recsys_assets.storage.lists import Key

if TYPE_CHECKING:
    from recsys_api.snapshot import Snapshot

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

    @property
    def answered_by(self) -> Mode:
        """Which part answers where no sources are stated."""
        return self.mode or self.placement.mode

    @property
    def sources(self) -> Mapping[str, float]:
        """The shares that the placement states, unless the request itself says which part answers."""
        return {**self.placement.sources} if self.mode is None else {}

    @cached_property
    def as_listed(self) -> bool:
        """Whether it asks for no more than the list of last night, as far as there is nothing new of the visitor."""
        narrowed = self.filters or self.exclude or self.exclude_seen or self.current is not None
        return self.answered_by != "online" and not self.sources and not self.rules and not narrowed

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
    gather = Gather(snapshot, user, visitor, forbidden, wanted.filters, most, live.items)
    merged, used, not_nightly = _merged(gather, wanted, live)
    if place.rotate_after:
        half_life = timedelta(days=place.rotate_half_life_days)
        merged = rotate(merged, visitor.shown, {}, now, place.rotate_after, half_life, key=item_of)
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


def _merged(gather: Gather, wanted: Wanted, live: Now) -> tuple[list[Candidate], str, set[Key]]:
    """What is personal, best first; which parts it is made of; and the items that no list of last night put there."""
    sources, mode, most = wanted.sources, wanted.answered_by, gather.most
    if sources:
        lists = {source: gather.of(source) for source in sources}
        merged = by_shares(lists, sources, most, key=item_of)
        online = lists.get("online", [])
        return merged, "blend" if online else "offline", _taken_from(online, merged)
    # Without news, the lists of last night are what the models have to say.
    asked_online = mode == "online" or (mode == "blend" and gather.has_news)
    online = gather.of("online") if asked_online else []
    offline = gather.of("recommendations") if mode != "online" else []
    # Where popularity changes within hours, the list of last night has had its day.
    trending = gather.of_now() if live.for_known and mode == "blend" and (online or offline) else []
    last = blend(trending, offline, most, key=item_of) if trending else offline
    merged = blend(online, last, most, key=item_of)
    used = "blend" if offline and (online or trending) else "online" if online else "offline"
    return merged, used, _taken_from([*online, *trending], merged)


def _as_listed(snapshot: Snapshot, user: Key | None, visitor: Visitor, wanted: Wanted) -> list[Placed] | None:
    """The list of last night where it is the answer as it is; None where anything may change it.

    Most requests are of this kind. All that follows would change nothing, and cost twice as much as the list.
    """
    if user is None or not isinstance(visitor, Quiet) or not wanted.as_listed or not snapshot.as_listed:
        return None
    rows = snapshot.recommendations.get(user, wanted.depth)
    if len(set(map(item_of, rows))) < wanted.depth:
        return None
    return list(map(_placed, zip(rows[wanted.offset :], repeat(()))))


def _taken_from(source: Sequence[Candidate], merged: Sequence[Candidate]) -> set[Key]:
    """The items of a merged list that come from a source: where several have an item, only one gave it its place."""
    given = set(map(id, source))
    return {item.item_id for item in merged if id(item) in given} if given else set()


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
