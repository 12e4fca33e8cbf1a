"""Frames that unite others, for an engine on which a job takes as long for a row as for a thousand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

from recsys_assets_tests.core.world import Row
from recsys_assets_tests.engines.drawn import drawn
from recsys_assets_tests.engines.frames import RAW, Raw, embedded

FAR = 10_000
"""Lies between the whole numbers of two united frames; no frame whose ids are shifted has as many users or items."""


def unite(raws: Mapping[str, Raw]) -> Raw:
    """Every row of several frames as one frame, in which no two share a user, an item, a category or a file.

    So whatever a function computes for one user, item or category is what it computes on that one's frame alone. Ids
    and categories of the first frame stay as they are; each further frame's are shifted by a distance of its own, or
    have its number at their end.

    Args:
        raws: the frames by name, all of one type of ids.
    """
    types = {raw.ids for raw in raws.values()}
    if len(types) != 1:
        raise ValueError(f"expected frames of one type of ids, found {sorted(map(str, types))}")
    (ids,) = types

    def stacked(table: Callable[[Raw], list[Row]]) -> list[Row]:
        return [_shifted(row, at, name) for at, (name, raw) in enumerate(raws.items()) for row in table(raw)]

    return Raw(
        stacked(lambda raw: raw.events),
        stacked(lambda raw: raw.properties),
        stacked(lambda raw: raw.rejected),
        ids,
        stacked(lambda raw: raw.tree),
        stacked(lambda raw: embedded(ids) if raw.embeddings is None else raw.embeddings),
    )


def _shifted(row: Row, number: int, name: str) -> Row:
    """A row of a frame as the union of frames has it."""

    def shifted(value: Any) -> Any:
        if value is None or not number:
            return value
        return value + number * FAR if isinstance(value, int) else f"{value}~{number}"

    named = {"user_id", "item_id", "category_id", "parent_id", "root_id", "path"} & row.keys()
    changed = {column: shifted(row[column]) for column in named}
    if row.get("property") == "category":
        changed["value"] = shifted(row["value"])
    if "source_file" in row:
        changed["source_file"] = f"{name}/{row['source_file']}"
    return {**row, **changed}


NAMES: Mapping[str, tuple[str, ...]] = {
    "united": (
        "extreme_ids",  # first, since its ids leave no room to be shifted
        *("empty", "one_row", "shop", "nulls", "ties", "duplicates", "odd_times", "heavy_user"),
    ),
    "united_strings": ("unicode", "empty_strings", "string_ids"),
}
"""The united frames by name, one for each type of ids, and what each has of ``RAW``; random frames come on top."""


@cache
def parts(name: str) -> Mapping[str, Raw]:
    """The frames that a united frame is made of."""
    listed = {part: RAW[part]() for part in NAMES[name]}
    ids = next(iter(listed.values())).ids
    return listed | {f"drawn_{number}": raw for number, raw in enumerate(drawn(ids))}


@cache
def united(name: str) -> Raw:
    """The united frame of a name."""
    return unite(parts(name))


UNITED: Mapping[str, Callable[[], Raw]] = {name: partial(united, name) for name in NAMES}
"""The united frames by name, as :data:`RAW` has the others."""
