"""What follows from a visitor's clicks: the models of the release, called on the history as it is now.

The session model speaks first. Where it has too few items, the ensemble of collaborative filtering models folds the
history in; where no model knows it, items similar to the newest clicks stand in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from recsys_api.rules import Candidate
from recsys_api.visitor import Visitor
from recsys_assets.storage.catalogue import Catalogue
from recsys_assets.storage.lists import Key, RankedItem, RankedLists
from recsys_assets.storage.served_lists import MODEL_WEIGHTS_FACT, model_file

if TYPE_CHECKING:  # SciPy takes half a second, which a release without models must not cost
    from recsys_assets.core.ids import IdIndex
    from recsys_assets.core.models.folded_in import FoldedIn
    from recsys_assets.core.models.next_items import NextItems

SESSIONS, ENSEMBLE, SIMILAR = "sessions", "cf_ensemble", "similar_items"
_CLICKS = 50
"""Last clicks that the session model gets."""
_SEEDS = 5
"""Newest clicks whose similar items stand in."""
FILTERED = 5
"""How many times as many items are asked for where a filter leaves some out afterwards."""

_WHOLE = 10_000
"""Longer than any list of similar items."""

Mask = npt.NDArray[np.bool_]
_Row = TypeVar("_Row", bound=tuple[Any, ...])


class OnlineModels:
    """The models of a release, ready for one visitor at a time. Immutable and thread-safe.

    Args:
        sessions: the session model; None where the release has none.
        ensemble: the collaborative filtering models, likewise.
        similar: items that go with an item.
        catalogue: items that it says are not available are left out.
    """

    def __init__(
        self, sessions: NextItems | None, ensemble: FoldedIn | None, similar: RankedLists, catalogue: Catalogue
    ) -> None:
        self._sessions, self._ensemble = sessions, ensemble
        self._similar, self._catalogue = similar, catalogue
        self._sessions_at = None if sessions is None else _rows(sessions.items.ids, catalogue)
        self._out_of_sessions = None if self._sessions_at is None else _out(self._sessions_at, catalogue.available)
        self._ensemble_at = None if ensemble is None else _rows(ensemble.items.ids, catalogue)
        self._out_of_ensemble = None if self._ensemble_at is None else _out(self._ensemble_at, catalogue.available)

    @staticmethod
    def open(
        files: Mapping[str, Path], facts: Mapping[str, Any], similar: RankedLists, catalogue: Catalogue
    ) -> OnlineModels:
        """Map the models of a release.

        Args:
            files: of the release, by name.
            facts: of its manifest.
            similar: items that go with an item.
            catalogue: items that it says are not available are left out.

        Raises:
            ValueError: a file is not that of a model, or of another version.
        """
        sessions, ensemble = None, None
        if path := files.get(model_file("session_model")):
            from recsys_assets.core.models import session_model
            from recsys_assets.core.models.next_items import NextItems
            from recsys_assets.core.models.stored_arrays import read_mapped

            sessions = NextItems(session_model.of(*read_mapped(path)))
        if path := files.get(model_file("cf_ensemble")):
            from recsys_assets.core.models.cf_ensemble import CfEnsemble
            from recsys_assets.core.models.folded_in import FoldedIn
            from recsys_assets.core.models.stored_arrays import read_mapped

            ensemble = FoldedIn(CfEnsemble.of(*read_mapped(path)), facts.get(MODEL_WEIGHTS_FACT) or {})
        return OnlineModels(sessions, ensemble, similar, catalogue)

    def over(self, catalogue: Catalogue, added: Mapping[Key, int]) -> OnlineModels:
        """These models over their catalogue with changes.

        Args:
            catalogue: in which items have changed.
            added: items to their rows: those that the catalogue of the release does not know.
        """
        models = copy(self)
        models._catalogue = catalogue
        if self._sessions is not None and self._sessions_at is not None:
            models._sessions_at = _with_added(self._sessions_at, self._sessions.items, added)
            models._out_of_sessions = _out(models._sessions_at, catalogue.available)
        if self._ensemble is not None and self._ensemble_at is not None:
            models._ensemble_at = _with_added(self._ensemble_at, self._ensemble.items, added)
            models._out_of_ensemble = _out(models._ensemble_at, catalogue.available)
        return models

    def recommend(
        self, visitor: Visitor, k: int, forbidden: Collection[Key], mask: Mask | None = None
    ) -> list[Candidate]:
        """At most ``k`` items that follow from a visitor's clicks, best first, none twice.

        Args:
            visitor: whose clicks they are.
            k: items.
            forbidden: items that must not be shown.
            mask: [items of the catalogue] True where an item may be shown; None: all may.
        """
        found: dict[Key, Candidate] = {}
        for candidate in self._all(visitor, k + len(forbidden), mask):
            if len(found) == k:
                break
            if candidate.item_id not in forbidden:
                found.setdefault(candidate.item_id, candidate)
        return list(found.values())

    def _all(self, visitor: Visitor, k: int, mask: Mask | None) -> Iterator[Candidate]:
        """Items of each model in turn; a later model is not asked before the earlier ones are used up."""
        if not visitor.clicks:
            return
        if self._sessions is not None and self._sessions_at is not None:
            available = self._catalogue.available
            out = self._out_of_sessions if mask is None else _out(self._sessions_at, mask & available)
            for item, score in self._sessions(visitor.clicks[-_CLICKS:], k, out):
                yield Candidate(item, score, SESSIONS)
        # Which items its models may find is prepared once: a mask is applied to what they found.
        wider = k if mask is None else FILTERED * k
        if self._ensemble is not None:
            yield from self._passing(self._ensemble(visitor.weights, wider, self._out_of_ensemble), ENSEMBLE, mask)
        for seed in dict.fromkeys(reversed(visitor.clicks[-_SEEDS:])):
            alike = [(item, score) for item, score, _ in self.similar_to(seed, wider)]
            yield from self._passing(alike, SIMILAR, mask)

    def _passing(self, found: Sequence[tuple[Key, float]], source: str, mask: Mask | None) -> Iterator[Candidate]:
        rows = None if mask is None else self._catalogue.positions([item for item, _ in found])
        for place, (item, score) in enumerate(found):
            if mask is None or rows is None or (rows[place] >= 0 and mask[rows[place]]):
                yield Candidate(item, score, source)

    def similar_to(self, item_id: Key, k: int) -> list[RankedItem]:
        """At most ``k`` available items that go with an item."""
        rows = self._similar.get(item_id, 2 * k)
        shown = self.available(rows)
        if len(shown) < k and len(rows) == 2 * k:  # so many are not available that the rest of the list counts
            shown = self.available(self._similar.get(item_id, _WHOLE))
        return shown[:k]

    def available(self, rows: Sequence[_Row]) -> list[_Row]:
        """The rows without those whose item, the first column, is known as not available."""
        places = self._catalogue.positions([row[0] for row in rows]) if len(self._catalogue) else []
        out = {
            row[0]
            for row, place in zip(rows, places, strict=False)
            if place >= 0 and not self._catalogue.available[place]
        }
        return [row for row in rows if row[0] not in out]


def _rows(items: Any, catalogue: Catalogue) -> npt.NDArray[np.int64]:
    """[items of a model] The row of each in the catalogue, -1 where it is unknown."""
    from recsys_assets.core.ids import lookup

    return lookup(items, catalogue.item_ids)


def _with_added(rows: npt.NDArray[np.int64], items: IdIndex, added: Mapping[Key, int]) -> npt.NDArray[np.int64]:
    """[items of a model] Rows in the catalogue, those of added items among them."""
    places = items.places(added)
    known = places >= 0
    if not known.any():
        return rows
    rows = rows.copy()
    rows[places[known]] = np.fromiter(added.values(), np.int64, len(added))[known]
    return rows


def _out(rows: npt.NDArray[np.int64], allowed: Mask) -> Mask:
    """[items of a model] True where the catalogue knows the item and does not allow it."""
    return (rows >= 0) & ~allowed[rows] if len(allowed) else np.zeros(len(rows), np.bool_)
