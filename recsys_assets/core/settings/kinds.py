"""Kinds of fields that several sections have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]


def days(default: int, about: str) -> Any:
    """A number of days, 1 to 3650."""
    return Field(default=default, ge=1, le=3650, description=about)


def half_life(default: float, about: str) -> Any:
    """A half-life in days, above 0 and up to 3650."""
    return Field(default=default, gt=0, le=3650, description=f"days after which an event counts half {about}")
