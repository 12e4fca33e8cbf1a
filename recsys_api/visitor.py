"""What is known of a visitor at the moment of a request: the history in the release, and what happened since."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from recsys_api.events.event import DISLIKE, IMPRESSION, Event
from recsys_assets.storage.lists import Key, RankedItem
from recsys_assets.storage.manifest import Manifest
from recsys_assets.storage.served_lists import END_FACT, RULES_FACT

PURCHASE = "purchase"
"""Source of an item of a released history that the user purchased."""
VIEW_WEIGHT = 1.0
"""Weight of an item that a request names as seen, and of an event type that the release does not know."""


def known_types(facts: Mapping[str, object]) -> frozenset[str] | None:
    """The event types of a data set, by what the release states; None where it states none."""
    types = facts.get("event_types")
    return frozenset(cast("Mapping[str, object]", types)) if isinstance(types, Mapping) else None


@dataclass(frozen=True)
class EventRules:
    """What events mean, by the facts of a release.

    Attributes:
        weights: of event types.
        targets: the event types that recommendations should cause.
        purchase: the event types that are purchases: the deepest of the targets.
        repeats: whether items of the history may be recommended again.
        exclude_purchased: whether purchased items may not.
        exclude_unavailable: whether items that the catalogue knows as not available are left out.
        end: instant at which the day of the release ends; microseconds since 1970, UTC.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    targets: frozenset[str] = frozenset()
    purchase: frozenset[str] = frozenset()
    repeats: bool = True
    exclude_purchased: bool = False
    exclude_unavailable: bool = True
    end: int = 0

    @staticmethod
    def of(manifest: Manifest) -> EventRules:
        """The rules that a release states; the defaults where it is from before it stated any."""
        facts: Mapping[str, Any] = manifest.facts
        types: Mapping[str, Any] = facts.get("event_types") or {}
        targets = {name: float(kind["weight"]) for name, kind in types.items() if kind["target"]}
        deepest = max(targets.values(), default=math.inf)
        rules: Mapping[str, Any] = facts.get(RULES_FACT) or {}
        end = facts.get(END_FACT)
        return EventRules(
            weights={name: float(kind["weight"]) for name, kind in types.items()},
            targets=frozenset(targets),
            purchase=frozenset(name for name, weight in targets.items() if weight == deepest),
            repeats=bool(rules.get("repeats", True)),
            exclude_purchased=bool(rules.get("exclude_purchased", False)),
            exclude_unavailable=bool(rules.get("exclude_unavailable", True)),
            end=round(datetime.fromisoformat(end).timestamp() * 1e6) if end else 0,
        )


@dataclass(frozen=True)
class Visitor:
    """What is known of a visitor.

    Attributes:
        clicks: items in order of time, the newest last.
        weights: items to the weight of all that the visitor did with them, above 0.
        fresh: items that the release does not know of, the newest first.
        purchased: items.
        just_purchased: those that the release does not know as purchased.
        disliked: items.
        shown: items to the times of their impressions since the last click on them; microseconds since 1970.
        events: the newest events that were read, newest first.
    """

    clicks: tuple[Key, ...] = field(default_factory=tuple)
    weights: Mapping[Key, float] = field(default_factory=dict)
    fresh: tuple[Key, ...] = ()
    purchased: frozenset[Key] = field(default_factory=frozenset)
    just_purchased: frozenset[Key] = frozenset()
    disliked: frozenset[Key] = frozenset()
    shown: Mapping[Key, Sequence[int]] = field(default_factory=dict)
    events: Sequence[Event] = ()

    @staticmethod
    def of(
        released: Sequence[RankedItem], events: Sequence[Event], rules: EventRules, seen: Collection[Key] = ()
    ) -> Visitor:
        """Continue a released history with what happened since.

        An event of the release's days with an item of the released history is part of that history already.

        Args:
            released: the history in the release, newest first: item, weight, ``purchase`` or ``interaction``.
            events: of the visitor, newest first.
            rules: of the release.
            seen: items that the request names as seen, in order of time; they are newer than all events.
        """
        weights = {item: weight for item, weight, _ in released if weight > 0}
        before = frozenset([item for item, _, source in released if source == PURCHASE])
        purchased = set(before)
        held = {item for item, _, _ in released}
        clicks: list[Key] = [item for item, _, _ in reversed(released)]
        fresh: list[Key] = []
        disliked: set[Key] = set()
        shown: dict[Key, list[int]] = {}
        for event in reversed(events):
            item = event.item_id
            if event.event_type == IMPRESSION:
                shown.setdefault(item, []).append(event.ts)
                continue
            if event.event_type == DISLIKE:
                disliked.add(item)
                continue
            shown.pop(item, None)
            disliked.discard(item)
            if event.event_type in rules.purchase:
                purchased.add(item)
            if event.ts >= rules.end or item not in held:
                clicks.append(item)
                fresh.append(item)
                weight = math.log2(1 + rules.weights.get(event.event_type, VIEW_WEIGHT))
                weights[item] = weights.get(item, 0.0) + weight
        for item in seen:
            clicks.append(item)
            fresh.append(item)
            weights[item] = weights.get(item, 0.0) + math.log2(1 + VIEW_WEIGHT)
        return Visitor(
            clicks=tuple(clicks),
            weights={item: weight for item, weight in weights.items() if weight > 0},
            fresh=tuple(dict.fromkeys(reversed(fresh))),
            purchased=frozenset(purchased),
            just_purchased=frozenset(purchased - before),
            disliked=frozenset(disliked),
            shown=shown,
            events=events,
        )

    def may_not_get(self, rules: EventRules, *, exclude_seen: bool = False) -> set[Key]:
        """The items that the visitor must not be shown: what was just purchased, whatever the rules, and what they say.

        Args:
            rules: of the release.
            exclude_seen: leave out all that the visitor ever touched.
        """
        forbidden = set(self.disliked)
        forbidden.update(self.just_purchased)
        if rules.exclude_purchased:
            forbidden |= self.purchased
        if exclude_seen or not rules.repeats:
            forbidden.update(self.clicks)
        return forbidden


class Quiet(Visitor):
    """A visitor of whom nothing is known but the released history, which is read once something depends on it.

    For most answers nothing does, and reading it takes as long as reading the list that is served.

    Args:
        read: reads the history, newest first.
        rules: of the release.
    """

    def __init__(self, read: Callable[[], Sequence[RankedItem]], rules: EventRules) -> None:
        vars(self).update(_NOTHING_NEW, _read=read, _rules=rules)

    def __getattr__(self, name: str) -> Any:
        """What the history says, which is set by none but this."""
        if name not in _OF_THE_HISTORY:
            raise AttributeError(name)
        known = vars(Visitor.of(self._read(), [], self._rules))
        vars(self).update({held: known[held] for held in _OF_THE_HISTORY})
        return vars(self)[name]


_OF_THE_HISTORY = ("clicks", "weights", "purchased")
_NOTHING_NEW = {name: value for name, value in vars(Visitor()).items() if name not in _OF_THE_HISTORY}
