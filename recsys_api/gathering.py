"""The lists of a release and of its models for one request, without what must not be shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import reduce
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from recsys_api.blend import by_shares
from recsys_api.online import FILTERED, SIMILAR
from recsys_api.rules import Candidate
from recsys_api.visitor import Visitor
from recsys_assets.storage.lists import Key
from recsys_assets.storage.served_lists import TRENDING

if TYPE_CHECKING:
    from recsys_api.snapshot import Snapshot

DEPTH = 200
"""Most items of an answer and those before it: ``k`` and ``offset`` together."""
CATALOGUE = "catalogue"
"""Source of items that fill an answer up because they pass the filter, in no order of merit."""
item_of = attrgetter("item_id")


class Gather:
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
                return by_shares(lists, dict.fromkeys(lists, 1.0), most, key=item_of) if lists else []
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
