"""The generators: each is one line here, or an entry point of another package.

Each stands in a module as a :class:`~recsys_assets.core.retrieval.protocol.Generator`, is named ``module:object`` and
imported when it is asked for. Adding one takes that module and a line below. Another package adds one by an entry point
of the group ``recsys_assets.generators``: a ``Fitted`` generator, under a name that may be a column's and is not taken.

Which packages are installed is looked up by :meth:`GeneratorRegistry.installed` alone, when a graph is built. Whatever
depends on it takes the registry, or the generators' names, as an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

GROUP = "recsys_assets.generators"

DERIVED: Mapping[str, str] = {
    "popular": "recsys_assets.core.retrieval.basic:POPULAR",
    "trending": "recsys_assets.core.retrieval.basic:TRENDING",
    "covisit": "recsys_assets.core.retrieval.basic:COVISIT",
    "view_to_purchase": "recsys_assets.core.retrieval.basic:VIEW_TO_PURCHASE",
    "co_purchase": "recsys_assets.core.retrieval.basic:CO_PURCHASE",
    "als": "recsys_assets.core.retrieval.basic:ALS",
    "repeat": "recsys_assets.core.retrieval.basic:REPEAT",
    "category": "recsys_assets.core.retrieval.basic:CATEGORY",
    "content": "recsys_assets.core.retrieval.content:CONTENT",
}
"""What follows from assets that serve others as well."""

FITTED: Mapping[str, str] = {
    "cf_ensemble": "recsys_assets.core.retrieval.fits:CF_ENSEMBLE",
    "sessions": "recsys_assets.core.retrieval.fits:SESSIONS",
    "nearest": "recsys_assets.core.retrieval.fits:NEAREST",
}
"""What is fitted in an asset of its own, ``<name>_items``."""


def fitted_among(names: Iterable[str]) -> tuple[str, ...]:
    """Those of some generators that have an asset of their own: all but the derived ones, which no package can add."""
    return tuple(name for name in names if name not in DERIVED)


@dataclass(frozen=True)
class GeneratorRegistry:
    """The generators that a graph has.

    Attributes:
        where: module and object of each, by name, in the order in which the columns of candidates appear.
    """

    where: Mapping[str, str]

    @classmethod
    def installed(cls) -> GeneratorRegistry:
        """Our own, and after them those of other installed packages, by name.

        Raises:
            ValueError: an entry point has a name that is taken or cannot be a column's.
        """
        found = {point.name: point.value for point in entry_points(group=GROUP)}
        for name in found:
            if name in BUILT_IN.where or not name.isidentifier() or not name.islower():
                raise ValueError(
                    f"entry point {name!r} of {GROUP}: expected a name of lower-case letters, digits and underscores "
                    f"that none of {', '.join(BUILT_IN.names)} has"
                )
        return cls({**BUILT_IN.where, **dict(sorted(found.items()))})

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order of the columns."""
        return tuple(self.where)

    @property
    def fitted(self) -> tuple[str, ...]:
        """Those with an asset of their own."""
        return fitted_among(self.where)

    def load(self, name: str) -> object:
        """Import a generator."""
        return EntryPoint(name, self.where[name], GROUP).load()


BUILT_IN = GeneratorRegistry({**DERIVED, **FITTED})
"""Those of this repository."""
