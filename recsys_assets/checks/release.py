"""The gate of a release: judged on the very bytes that were published, before anyone is served from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys_assets.storage.lists import RankedLists

LISTS = ("recommendations", "similar_items", "top_popular")


class ReleaseRefused(ValueError):  # noqa: N818 - a verdict, not a fault of the program
    """A release did not pass its gate; the message says why. What was served goes on being served."""


def gate(files: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
    """Refuse a release that could not be served.

    Args:
        files: name to path of what was read back from the store.
        facts: of its manifest.

    Raises:
        ReleaseRefused: a list does not open, has another number of rows than was computed, or nobody could be served.
    """
    folder = next(iter(files.values())).parent
    for name in LISTS:
        lists = RankedLists.open(folder, name)
        expected = facts["lists"][name]
        # similar_items keeps three sources in the store and releases the fused one.
        if name != "similar_items" and lists.rows != expected:
            raise ReleaseRefused(f"{name}: {lists.rows} rows were published, {expected} were computed")
        if name != "similar_items" and len(lists) == 0:
            raise ReleaseRefused(f"{name} is empty: nobody could be served")
        if name == "top_popular" and "all" not in lists:
            raise ReleaseRefused("top_popular has no segment 'all': unknown users could not be served")
