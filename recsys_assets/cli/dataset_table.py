"""Writes the tables of ``dataset.toml`` in its reference: ``python -m recsys_assets.cli.dataset_table``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from recsys_assets.cli.settings_table import between
from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.dataset import (
    BotsSpec,
    CategoriesSpec,
    Dataset,
    EmbeddingsSpec,
    EventColumns,
    EventNumbers,
    EventsSpec,
    EventType,
    NumberFormat,
    PropertiesSpec,
    PropertyColumns,
    Unknown,
)
from recsys_assets.core.file_specs import AVAILABLE, UNAVAILABLE, AvailabilityWords, CategoryColumns, EmbeddingColumns

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "dataset.md"
BEGIN, END = "<!-- dataset:begin -->\n", "<!-- dataset:end -->"

SECTIONS: Mapping[str, type[Any]] = {
    "The first lines": Dataset,
    "[ids]": IdTypes,
    "[bots]": BotsSpec,
    "[events]": EventsSpec,
    "[events.columns]": EventColumns,
    "[events.types.<raw value>]": EventType,
    "[events.unknown]": Unknown,
    "[events.numbers]": EventNumbers,
    "[events.numbers.price], [events.numbers.quantity], [properties.numbers]": NumberFormat,
    "[properties]": PropertiesSpec,
    "[properties.columns]": PropertyColumns,
    "[properties.availability]": AvailabilityWords,
    "[categories]": CategoriesSpec,
    "[categories.columns]": CategoryColumns,
    "[embeddings]": EmbeddingsSpec,
    "[embeddings.columns]": EmbeddingColumns,
}
"""Every table of the file and what describes it."""
_NAMES: Mapping[Any, str] = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
_COMPUTED = {(EventType, "name"): "the raw value"}
"""Defaults that depend on other things."""


def tables() -> str:
    """Every field with its type, default and meaning, a markdown table for each section."""
    return "\n".join(_section(title, model) for title, model in SECTIONS.items())


def with_tables(text: str) -> str:
    """The reference with the tables between its two markers; ``ValueError`` if a marker is missing."""
    return between(text, BEGIN, END, f"\n{tables()}\n")


def meanings(model: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and of those that it is made from say of its fields."""
    found: dict[str, str] = {}
    for part in reversed(model.__mro__):
        _, _, described = inspect.cleandoc(part.__doc__ or "").partition("Args:\n")
        for name, told in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", described, re.MULTILINE):
            found[name] = re.sub(r"\s+", " ", told).replace("``", "`").replace("|", "\\|")
    return found


def fields(model: type[Any]) -> Iterator[tuple[str, Any, str]]:
    """Name, type and default of each field, in the order of the class."""
    if not hasattr(model, "model_fields"):
        for name, parameter in inspect.signature(model, eval_str=True).parameters.items():
            yield name, parameter.annotation, _shown(parameter.default)
        return
    described: dict[str, FieldInfo] = model.model_fields
    for name, field in described.items():
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield name, field.annotation, default


def _section(title: str, model: type[Any]) -> str:
    told = meanings(model)
    rows = [
        f"| `{name}` | {_kind(kind)} | {_COMPUTED.get((model, name), default)} | {told[name]} |"
        for name, kind, default in fields(model)
    ]
    also = [_words(), ""] if model is AvailabilityWords else []
    heading = title if title == "The first lines" else ", ".join(f"`{one}`" for one in title.split(", "))
    return "\n".join(
        [f"### {heading}", "", "| field | type | default | meaning |", "|---|---|---|---|", *rows, "", *also]
    )


def _words() -> str:
    available, unavailable = (", ".join(f"`{word}`" for word in words) for words in (AVAILABLE, UNAVAILABLE))
    return f"Known to every data set: available are {available}; unavailable are {unavailable}."


def _kind(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return ", ".join(f"`{part}`" if part else "empty" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(_kind(part) for part in parts if part is not NoneType)
    if origin is tuple:
        return f"list of {_kind(parts[0])}s"
    if origin is dict:
        return "table"
    return _NAMES.get(kind, "date" if getattr(kind, "__name__", "") == "date" else "table")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, (bool, int, float)):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{value}`" if value.strip("`") else "empty" if not value else f"`` {value} ``"
    if isinstance(value, tuple):
        listed = ", ".join(f'`"{one}"`' for one in value) or "empty"
        return listed.replace("|", "\\|")
    return "its own" if value else "empty"


if __name__ == "__main__":
    REFERENCE.write_text(with_tables(REFERENCE.read_text("utf-8")), "utf-8")
