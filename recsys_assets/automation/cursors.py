"""What sensors keep between two ticks: a small record, as JSON in the cursor that Dagster stores for them."""

from __future__ import annotations

from typing import Protocol, TypeVar

from pydantic import TypeAdapter


class Versioned(Protocol):
    """A frozen dataclass, all of whose fields have defaults."""

    @property
    def version(self) -> int:
        """Of its layout; the default is the one that this code knows."""
        ...


C = TypeVar("C", bound=Versioned)


def read_cursor(kind: type[C], text: str | None) -> C:
    """The record of the last tick; an empty one before the first, if it cannot be read or has another version."""
    empty = kind()
    try:
        cursor = TypeAdapter(kind).validate_json(text or "{}")
    except ValueError:
        return empty
    return cursor if cursor.version == empty.version else empty


def write_cursor(cursor: Versioned) -> str:
    """The record as JSON."""
    return TypeAdapter(type(cursor)).dump_json(cursor).decode()
