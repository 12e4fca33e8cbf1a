"""The registry of generators: one line for each of this repository, and entry points of other packages.

A generator is an object of type :class:`~recsys_assets.core.retrieval.protocol.Generator` in a module, named
``module:object`` and imported on first use. Adding one takes that module and a line here. Another package adds one by
an entry point of the group ``recsys_assets.generators``: a ``Fitted`` generator, under a valid column name that is
free.

Only :meth:`GeneratorRegistry.installed` looks up installed packages, when a graph is built. Code that depends on the
result takes the registry, or the names of the generators, as an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

GROUP = "recsys_assets.generators"

DERIVED: Mapping[str, str] = {
    "popular": "recsys_assets.core.retrieval.basic:POPULAR",
    "trending": "recsys_assets.core.retrieval.basic:TRENDING",
    "covisit": "recsys_assets.core.retrieval.basic:COVISIT",
    "als": "recsys_assets.core.retrieval.basic:ALS",
    "repeat": "recsys_assets.core.retrieval.basic:REPEAT",
    "category": "recsys_assets.core.retrieval.basic:CATEGORY",
    "content": "recsys_assets.core.retrieval.content:CONTENT",
    "sessions": "recsys_assets.core.retrieval.fits:SESSIONS",
    "cf_ensemble": "recsys_assets.core.retrieval.fits:CF_ENSEMBLE",
}
"""Generators without a fit of their own: lazy frames over assets that have other uses too."""

FITTED: Mapping[str, str] = {
    "nearest": "recsys_assets.core.retrieval.fits:NEAREST",
}
"""Generators that are fitted in an asset of their own, ``<name>_model``."""


@dataclass(frozen=True)
class GeneratorRegistry:
    """The generators of a graph.

    Attributes:
        where: ``module:object`` by name, in the order of the columns of candidates.
    """

    where: Mapping[str, str]

    @classmethod
    def installed(cls) -> GeneratorRegistry:
        """The generators of this repository, then those of other installed packages in order of their names.

        Raises:
            ValueError: the name of an entry point is taken or is no valid column name.
        """
        others = {point.name: point.value for point in entry_points(group=GROUP)}
        for name in others:
            if name in BUILT_IN.where or not name.isidentifier() or not name.islower():
                raise ValueError(
                    f"entry point {name!r} of {GROUP}: expected a name of lower-case letters, digits and underscores "
                    f"that none of {', '.join(BUILT_IN.names)} has"
                )
        return cls({**BUILT_IN.where, **dict(sorted(others.items()))})

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the columns."""
        return tuple(self.where)

    @property
    def fitted(self) -> tuple[str, ...]:
        """Names of the generators with an asset of their own: all but the derived ones, which no package can add."""
        return tuple(name for name in self.where if name not in DERIVED)

    def load(self, name: str) -> object:
        """Import a generator."""
        return EntryPoint(name, self.where[name], GROUP).load()


BUILT_IN = GeneratorRegistry({**DERIVED, **FITTED})
"""The generators of this repository."""
