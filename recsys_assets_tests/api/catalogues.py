"""Random catalogues, and the same items as plain rows for brute force."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from hypothesis import strategies as st

from recsys_assets.storage.catalogue import Catalogue, KnownItem
from recsys_assets.storage.catalogue_writer import write_catalogue
from recsys_assets_tests.api.publishing import catalogue_table

AS_OF = date(2015, 8, 2)
CATEGORIES = ["shoes", "hats", "", "a\"b'"]
ROOTS = ["clothes", "food"]
BRANDS = ["Ada", "x"]
PRICES = [0.0, 1.0, 2.5, 100.0]


def catalogue_of(items: Sequence[KnownItem]) -> Catalogue:
    """A catalogue as a release has it: written, and mapped."""
    with tempfile.TemporaryDirectory() as folder:  # the mapped bytes stay after the file has gone
        return Catalogue.open(write_catalogue(catalogue_table(items), Path(folder)))


DETAILS = st.tuples(
    st.none() | st.sampled_from(CATEGORIES),
    st.none() | st.sampled_from(ROOTS),
    st.none() | st.integers(1, 3),
    st.booleans(),
    st.none() | st.sampled_from(PRICES),
    st.none() | st.sampled_from([date(2015, 8, 2), date(2015, 8, 1), date(2015, 7, 1)]),
    st.none() | st.sampled_from(BRANDS),
    st.none() | st.sampled_from(["a title", "", "ü\n"]),
)


def known_items(
    ids: st.SearchStrategy[int] | st.SearchStrategy[str], most: int = 12
) -> st.SearchStrategy[list[KnownItem]]:
    """Items of a catalogue, ascending."""
    return st.dictionaries(ids, DETAILS, max_size=most).map(
        lambda items: [KnownItem(item, *details) for item, details in sorted(items.items())]
    )
