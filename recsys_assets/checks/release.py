"""The checks of a release: of the very bytes that were stored, before it is served, and of the files that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from recsys_assets.core.placements.config import PLACEMENTS_FILE, parse_placements
from recsys_assets.ingest.quarantine import Lacking, sentence
from recsys_assets.storage.catalogue import CATALOGUE_FILE, Catalogue
from recsys_assets.storage.explanations import EXPLANATIONS_FILE, Explanations
from recsys_assets.storage.lists import RankedLists
from recsys_assets.storage.served_lists import DEFAULT_FALLBACK, FALLBACK_FACT, SERVED_LISTS

COMPLETE = "complete"


class ReleaseRefused(ValueError):  # noqa: N818 - a verdict, not a fault of the program
    """A release did not pass its check; the message says why. The release served before stays."""


def check_release(files: Mapping[str, Path], facts: Mapping[str, Any]) -> None:
    """Refuse a release that could not be served.

    Args:
        files: name to path of the files as read back from the store.
        facts: of its manifest; ``lists`` holds the rows that were computed of each list, ``items`` those of the
            catalogue, ``ids`` and ``event_types`` what the data set states.

    Raises:
        PlacementsError: ``placements.toml`` cannot be used.
        ReleaseRefused: a list or the catalogue has another number of rows than was computed, another number of lists is
            explained, a list is empty and must not be, or names an item that the catalogue does not have.
        ListFormatError: a list does not open.
        CatalogueFormatError: the catalogue does not open.
        ExplanationFormatError: the explanations do not open.
    """
    folder = next(iter(files.values())).parent
    catalogue = Catalogue.open(folder / CATALOGUE_FILE)
    if len(catalogue) != facts["items"]:
        raise ReleaseRefused(f"catalogue: {len(catalogue)} items were published, {facts['items']} were computed")
    _expect_placements(files.get(PLACEMENTS_FILE), facts)
    for served in SERVED_LISTS:
        lists = RankedLists.open(folder, served.name)
        expected = facts["lists"][served.name]
        if served.source is None and lists.rows != expected:
            raise ReleaseRefused(f"{served.name}: {lists.rows} rows were published, {expected} were computed")
        if served.name == "recommendations":
            _expect_explained(files.get(EXPLANATIONS_FILE), lists)
        if not served.may_be_empty and len(lists) == 0:
            raise ReleaseRefused(f"{served.name} is empty: nobody could be served")
        _expect_known(served.name, lists, catalogue)
        fallback = facts.get(FALLBACK_FACT, DEFAULT_FALLBACK)
        if served.name == "top_popular" and fallback not in lists:
            raise ReleaseRefused(f"top_popular has no segment {fallback!r}: unknown users could not be served")


def complete(lacks: Lacking, waits: Mapping[str, str]) -> dg.AssetCheckResult:
    """Whether the release has all that is in the landing zone.

    Args:
        lacks: what it lacks because files are set aside.
        waits: all that waits for a person, such as a day that is held.
    """
    return dg.AssetCheckResult(
        check_name=COMPLETE,
        passed=not waits,
        severity=dg.AssetCheckSeverity.ERROR if lacks.held else dg.AssetCheckSeverity.WARN,
        metadata={"missing_share": lacks.share, "why": lacks.told(), "waits_for_a_person": sentence(waits)},
    )


def _expect_placements(path: Path | None, facts: Mapping[str, Any]) -> None:
    """What the graph checked is what was stored; so a request meets no fault of it."""
    if path is not None:
        parse_placements(
            path.read_text("utf-8"), PLACEMENTS_FILE, facts["ids"]["item"], event_types=set(facts["event_types"])
        )


def _expect_explained(path: Path | None, lists: RankedLists) -> None:
    """Explanations belong to lists by their position, so there must be as many of them as lists."""
    if path is not None and (found := Explanations(path).lists) != len(lists):
        raise ReleaseRefused(f"explanations: of {found} lists, there are {len(lists)}")


def _expect_known(name: str, lists: RankedLists, catalogue: Catalogue) -> None:
    """Filters and rules ask the catalogue about items: every one that can be served must be there."""
    items, lookup = lists.listed(), pc.SetLookupOptions(value_set=catalogue.item_ids)
    known = pc.call_function("is_in", [items], lookup).to_numpy(zero_copy_only=False)
    if not known.all():
        unknown = items[int(known.argmin())]
        raise ReleaseRefused(f"{name}: {int((~known).sum())} items are not in the catalogue, such as {unknown}")
