"""The ``placements.toml`` that a release takes along, checked before anything is published."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from recsys_assets.core.dataset import Dataset, presets
from recsys_assets.core.placements.config import PLACEMENTS_FILE, PlacementsError, parse_placements
from recsys_assets.core.placements.expressions import FIELDS
from recsys_assets.settings import Settings


def placements_file(settings: Settings, dataset: Dataset, folder: Path) -> dict[str, Path]:
    """A copy of the ``placements.toml`` that the settings name, or that lies beside ``dataset.toml``; none: empty.

    Args:
        settings: name the file or the data set.
        dataset: states event types, id types and what is known of items.
        folder: of the copy.

    Returns:
        The path by the name in the release.

    Raises:
        dg.Failure: the file does not exist or cannot be used; names the file, the field and the fault.
    """
    source = _source(settings)
    if source is None:
        return {}
    try:
        text = source.read_text("utf-8")
        parse_placements(
            text, str(source), dataset.ids.item, event_types=set(dataset.event_types), fields=fields_of_items(dataset)
        )
    except (OSError, UnicodeDecodeError) as error:
        raise dg.Failure(f"RECSYS_PLACEMENTS: {source} cannot be read: {error}", allow_retries=False) from error
    except PlacementsError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    copy = folder / PLACEMENTS_FILE
    copy.write_text(text, "utf-8", newline="")
    return {PLACEMENTS_FILE: copy}


def fields_of_items(dataset: Dataset) -> set[str]:
    """The fields of filters that the data set states: another would be null for every item, or say nothing."""
    stated = set(dataset.properties.names) if dataset.properties else set[str]()
    tree = {"root", "depth"} if "category" in stated and dataset.categories else set[str]()
    return {"item_id", "age_days"} | (stated & FIELDS.keys()) | tree


def _source(settings: Settings) -> Path | None:
    if settings.placements:
        return Path(settings.placements).expanduser()
    beside = Path(settings.dataset).with_name(PLACEMENTS_FILE)
    return beside if settings.dataset not in presets() and beside.is_file() else None
