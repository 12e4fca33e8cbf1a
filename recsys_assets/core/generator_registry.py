"""The generators: each is one line here, or an entry point of another package.

Each stands in a module as a :class:`~recsys_assets.core.retrieval.protocol.Generator`, is named ``module:object`` and
imported when it is asked for. Adding one takes that module and a line below. Another package adds one by an entry point
of the group ``recsys_assets.generators``: a ``Fitted`` generator, under a name that may be a column's and is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

GROUP = "recsys_assets.generators"

DERIVED: Mapping[str, str] = {
    "popular": "recsys_assets.core.retrieval.basic:POPULAR",
    "trending": "recsys_assets.core.retrieval.basic:TRENDING",
    "covisit": "recsys_assets.core.retrieval.basic:COVISIT",
    "view_buy": "recsys_assets.core.retrieval.basic:VIEW_BUY",
    "buy_buy": "recsys_assets.core.retrieval.basic:BUY_BUY",
    "factors": "recsys_assets.core.retrieval.basic:FACTORS",
    "repeat": "recsys_assets.core.retrieval.basic:REPEAT",
    "category": "recsys_assets.core.retrieval.basic:CATEGORY",
    "content": "recsys_assets.core.retrieval.content:CONTENT",
}
"""What follows from assets that serve others as well."""

FITTED: Mapping[str, str] = {
    "collaborative": "recsys_assets.core.retrieval.fits:COLLABORATIVE",
    "sessions": "recsys_assets.core.retrieval.fits:SESSIONS",
    "nearest": "recsys_assets.core.retrieval.fits:NEAREST",
}
"""What is fitted in an asset of its own, ``<name>_items``."""


def _others() -> dict[str, str]:
    """Generators of other packages, by name."""
    found = {point.name: point.value for point in entry_points(group=GROUP)}
    for name in found:
        if name in DERIVED or name in FITTED or not name.isidentifier() or not name.islower():
            raise ValueError(
                f"entry point {name!r} of {GROUP}: expected a name of lower-case letters, digits and underscores that "
                f"none of {', '.join((*DERIVED, *FITTED))} has"
            )
    return dict(sorted(found.items()))


WHERE: Mapping[str, str] = {**DERIVED, **FITTED, **_others()}
"""Module and object of each generator."""

GENERATORS: tuple[str, ...] = tuple(WHERE)
"""Names, in the order in which the columns of candidates appear."""

PROPOSERS: tuple[str, ...] = tuple(name for name in GENERATORS if name not in DERIVED)
"""Those with an asset of their own."""
