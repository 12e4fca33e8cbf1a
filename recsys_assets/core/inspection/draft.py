"""A first ``dataset.toml`` for files of unknown origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePosixPath
from typing import Literal, get_args

from recsys_assets.core.events.values import EpochUnit
from recsys_assets.core.events.vocabulary import availability
from recsys_assets.core.file_specs import COMPRESSIONS, AvailabilityWords, FileSpec, NumberFormat, TimeUnit
from recsys_assets.core.inspection.columns import MOST_TYPES, ColumnFacts
from recsys_assets.core.inspection.words import AVAILABILITY, PROPERTIES, STRONG, TARGETS, has_part, plain_name

FileKind = Literal["events", "properties", "categories"]

REQUIRED: Mapping[FileKind, tuple[str, ...]] = {
    "categories": ("category_id", "parent_id"),
    "properties": ("item_id", "ts", "property", "value"),
    "events": ("user_id", "item_id", "ts"),
}
"""The columns by which a file is of a kind; the first kind that has them all wins."""
_UNITS = get_args(TimeUnit)
_OPTIONAL = ("order_id", "quantity", "price")


@dataclass(frozen=True)
class Inspected:
    """A file that was looked at.

    Args:
        name: of the file.
        spec: how it is read.
        columns: all of its columns.
        roles: the platform's name to the column.
        values: of properties whose values are written in several ways, by the platform's name; none of other files.
    """

    name: str
    spec: FileSpec
    columns: Sequence[ColumnFacts]
    roles: Mapping[str, ColumnFacts]
    values: Mapping[str, ColumnFacts] = field(default_factory=dict[str, ColumnFacts])

    @property
    def kind(self) -> FileKind | None:
        """What the file holds; None if required columns of every kind are missing."""
        return next((kind for kind, needed in REQUIRED.items() if set(needed) <= self.roles.keys()), None)

    @property
    def missing(self) -> list[str]:
        """The columns without which the file holds no events."""
        return [role for role in REQUIRED["events"] if role not in self.roles]

    @property
    def item_properties(self) -> Mapping[str, str]:
        """The properties of a file with one row per item, by the platform's name; none if it is no such file."""
        if self.kind is not None or "item_id" not in self.roles or "user_id" in self.roles:
            return {}
        return known_properties([column.name for column in self.columns])

    @property
    def may_hold_types(self) -> list[ColumnFacts]:
        """Columns of events without types that may be their types: words, of which there are few."""
        if self.kind != "events" or {"event_type", "rating"} & self.roles.keys():
            return []
        unused = [column for column in self.columns if column not in self.roles.values() and not column.nested]
        words = [column for column in unused if column.numbers is None and not column.times]
        return [column for column in words if 1 < len(column.values) <= MOST_TYPES]


def draft(files: Sequence[Inspected], name: str, start: date | None, *, repeats: bool = True) -> str:
    """The text of a ``dataset.toml`` that reads these files.

    Args:
        files: at least one of events; those of no kind are left out.
        name: of the data set.
        start: its first day; None while it is not known.
        repeats: whether items that a user knows may be recommended again.
    """
    return "\n".join(_lines([file for file in files if file.kind], name, start or date(1995, 1, 1), repeats)) + "\n"


def _lines(files: Sequence[Inspected], name: str, start: date, repeats: bool) -> Iterator[str]:
    yield f"name = {_quoted(name)}"
    yield f"start_date = {start.isoformat()}  # the first day found; earlier events are rejected"
    why = "items that a user knows may be recommended again" if repeats else "no user has an item twice"
    yield f"repeats = {str(repeats).lower()}  # {why}"
    yield from ("", "[ids]")
    for part in ("user", "item"):
        columns = [file.roles[f"{part}_id"] for file in files if f"{part}_id" in file.roles]
        yield f"{part} = {_quoted('int64' if all(column.whole == 1 for column in columns) else 'string')}"
    for kind in ("events", "properties", "categories"):
        if of_kind := [file for file in files if file.kind == kind]:
            others = [file.name for file in files if file.kind != kind]
            yield from ("", f"[{kind}]", *_reading(of_kind, others))
            yield from {"events": _events, "properties": _properties, "categories": _categories}[kind](of_kind)


def _reading(files: Sequence[Inspected], others: Sequence[str]) -> Iterator[str]:
    """How the files of a kind are named and read; as the first of them is."""
    spec = files[0].spec
    yield f"files = [{', '.join(map(_quoted, _patterns([file.name for file in files], others)))}]"
    if not all(_says_format(file) for file in files):
        yield f"format = {_quoted(str(spec.format))}"
    if spec.separator is not None:
        yield f"separator = {_quoted(spec.separator)}"
    if spec.column_names is not None:
        yield f"column_names = [{', '.join(map(_quoted, spec.column_names))}]  # the file has no header"
    if spec.encoding != "utf-8":
        yield f"encoding = {_quoted(spec.encoding)}  # a guess, since the bytes are not UTF-8"


def _events(files: Sequence[Inspected]) -> Iterator[str]:
    roles = files[0].roles
    yield from _values(roles)
    type_column = roles.get("event_type") or roles.get("rating")
    if type_column is None:
        yield 'event_type = "interaction"  # of every row'
    if any(file.roles["user_id"].empty for file in files):
        yield 'unknown = { user_id = [""] }  # rows without a user count as events of nobody'
    yield from ("", "[events.columns]")
    guessed = "" if files[0].spec.column_names is None else "  # a guess by its place"
    for role in (*REQUIRED["events"], *_OPTIONAL):
        if role in roles:
            yield f"{role} = {_quoted(roles[role].name)}{guessed if role != 'ts' else ''}"
    if type_column is not None:
        yield f"event_type = {_quoted(type_column.name)}{guessed}"
    yield from ("", "[events.types]  # weight: how much an event says; target: what recommendations should bring about")
    if type_column is None:
        yield "interaction = { weight = 1, target = true }"
    elif "event_type" in roles:
        yield from _types(list(dict.fromkeys(value for file in files for value in file.roles["event_type"].values)))
    else:
        yield from _ratings(list(dict.fromkeys(value for file in files for value in file.roles["rating"].values)))


def _values(roles: Mapping[str, ColumnFacts]) -> Iterator[str]:
    """How times and numbers are written."""
    form, *others = roles["ts"].times
    unsure = f"  # the rows that were looked at also fit {' and '.join(map(_quoted, others))}" if others else ""
    yield f"{'time_unit' if form in _UNITS else 'time_format'} = {_quoted(form)}{unsure}"
    if not roles["ts"].zoned and form not in get_args(EpochUnit):
        yield 'time_zone = "UTC"  # of times that name none; state the shop\'s, such as "Europe/Berlin"'
    yield from _numbers({role: roles[role] for role in ("price", "quantity") if role in roles})


def _numbers(columns: Mapping[str, ColumnFacts]) -> Iterator[str]:
    """How numbers are written: as the first column has them; another way is stated for its column alone.

    Whole numbers are written alike in all ways.
    """
    ways = {role: one.numbers for role, one in columns.items() if one.numbers is not None and one.whole < 1}
    first = next(iter(ways.values()), NumberFormat())
    parts = _written(first) if first != NumberFormat() else []
    parts += [f"{role} = {{ {', '.join(_written(way))} }}" for role, way in ways.items() if way != first]
    if parts:
        yield f"numbers = {{ {', '.join(parts)} }}"


def _written(numbers: NumberFormat) -> list[str]:
    """The fields of a format of numbers."""
    parts = [f"decimal = {_quoted(numbers.decimal)}", f"thousands = {_quoted(numbers.thousands)}"]
    return parts + ([f"affixes = [{', '.join(map(_quoted, numbers.affixes))}]"] if numbers.affixes else [])


def _types(values: Sequence[str]) -> Iterator[str]:
    bought = [value for value in values if has_part(value, TARGETS)]
    strong = [value for value in values if value not in bought and has_part(value, STRONG)]
    targets = set(bought + strong) or set(values)
    for value in values:
        weight = 10 if value in bought else 5 if value in strong else 1
        yield f"{_quoted(value)} = {{ weight = {weight}{', target = true' if value in targets else ''} }}"


def _ratings(values: Sequence[str]) -> Iterator[str]:
    """Ratings as types of events; the upper two fifths are targets."""
    most = max(map(float, values))
    for value in sorted(values, key=float):
        share = max(float(value) / most, 0.0) if most > 0 else 1.0
        name = f"rating_{re.sub('[^0-9a-z]+', '_', value.lower())}"
        target = ", target = true" if share >= 0.8 or most <= 0 else ""
        yield f"{_quoted(value)} = {{ name = {_quoted(name)}, weight = {round(5 * share, 2):g}{target} }}"


def _properties(files: Sequence[Inspected]) -> Iterator[str]:
    roles = files[0].roles
    yield from _values(roles)
    columns = ", ".join(f"{role} = {_quoted(roles[role].name)}" for role in REQUIRED["properties"])
    yield f"columns = {{ {columns} }}"
    found = list(dict.fromkeys(value for file in files for value in file.roles["property"].values))
    names = known_properties(found)
    if names:
        yield f"names = {{ {', '.join(f'{ours} = {_quoted(raw)}' for ours, raw in names.items())} }}"
    else:
        yield f"names = {{ title = {_quoted(found[0])} }}  # none has a known name; found {', '.join(found[:20])}"
    values = files[0].values
    yield from _numbers({name: facts for name, facts in values.items() if name == "price"})
    if "available" in values:
        yield from _availability(list(values["available"].values))


def _availability(values: Sequence[str]) -> Iterator[str]:
    """What the values of ``available`` mean, as far as they are known in another language."""
    foreign = [value for value in values if availability(value, AvailabilityWords()) is None]
    words = {
        "available": [value for value in foreign if availability(value, AVAILABILITY) is True],
        "unavailable": [value for value in foreign if availability(value, AVAILABILITY) is False],
    }
    parts = [f"{name} = [{', '.join(map(_quoted, some))}]" for name, some in words.items() if some]
    if parts:
        yield f"availability = {{ {', '.join(parts)} }}"


def known_properties(found: Sequence[str]) -> dict[str, str]:
    """Properties that have a meaning among some names: the platform's name to the data set's."""
    plain = {plain_name(name): name for name in reversed(found)}
    return {ours: plain[raw] for ours, raws in PROPERTIES.items() for raw in reversed(raws.split()) if raw in plain}


def _categories(files: Sequence[Inspected]) -> Iterator[str]:
    roles = files[0].roles
    yield f"columns = {{ {', '.join(f'{role} = {_quoted(roles[role].name)}' for role in REQUIRED['categories'])} }}"


def _patterns(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Patterns of file names, with room for the files of other days, unless they would match files of other kinds."""
    found: dict[str, None] = {}
    for name in names:
        stem, dot, suffixes = PurePosixPath(name).name.partition(".")
        wide = f"{re.sub(r'[0-9][0-9._-]*', '*', stem).rstrip('*_-')}*{dot}{_without_compression(suffixes)}*"
        clashes = any(FileSpec(files=(wide,)).matches(other) for other in others)
        found[PurePosixPath(name).name if clashes else wide] = None
    return list(found)


def _without_compression(suffixes: str) -> str:
    parts = suffixes.split(".")
    return ".".join(parts[:-1] if parts[-1] in COMPRESSIONS else parts)


def _says_format(file: Inspected) -> bool:
    """Whether the file's name tells its format, and the right one."""
    try:
        return FileSpec(files=(file.name,)).format_of(file.name) == file.spec.format
    except ValueError:
        return False


def _quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
