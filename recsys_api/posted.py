"""Lists in bodies of requests: one entry or many, as JSON or as a line of JSON for each; faults by place and field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import GenericAlias
from typing import Any, Generic, TypeVar, cast

from fastapi import HTTPException, Request
from pydantic import TypeAdapter, ValidationError

from recsys_api.problems import FieldFault, InvalidFieldsError
from recsys_assets.core.faults import message_of

JSON, JSON_LINES = "application/json", "application/x-ndjson"
MOST_FAULTS = 20
"""Faults that an answer names."""

_UNTOLD = ("missing", "extra_forbidden")
T = TypeVar("T")


class Posted(Generic[T]):
    """Reads entries of one kind.

    Args:
        kind: type of an entry, for pydantic.
        ids: fields that hold ids. One that is neither number nor text has a fault for each, of which one is told.
        noun: what the entries are, for messages.
    """

    def __init__(self, kind: type[T], ids: Collection[str], noun: str) -> None:
        self._one: TypeAdapter[T] = TypeAdapter(kind)
        self._many = TypeAdapter(cast("type[list[T]]", GenericAlias(list, kind)))
        self._ids, self._noun = ids, noun

    def read(self, body: bytes, media_type: str, most: int) -> tuple[list[T], bool]:
        """The entries of a body.

        Args:
            body: an entry or a list of entries as JSON, or a line of JSON for each entry.
            media_type: ``application/json`` or ``application/x-ndjson``.
            most: entries.

        Returns:
            The entries, and whether the body is one by itself and no list.

        Raises:
            InvalidFieldsError: names each field at fault, and its place in the list.
        """
        one = media_type == JSON and body.lstrip()[:1] != b"["
        posted = self._lines(body) if media_type == JSON_LINES else [self.read_one(body)] if one else self._list(body)
        if not 1 <= len(posted) <= most:
            message = f"expected 1 to {most} {self._noun}, found {len(posted)} (RECSYS_API_MAX_EVENTS)"
            raise InvalidFieldsError([FieldFault(field="body", message=message)])
        return posted, one

    def read_one(self, body: bytes) -> T:
        """The entry of a body that is no list.

        Raises:
            InvalidFieldsError: names each field at fault.
        """
        try:
            return self._one.validate_json(body)
        except ValidationError as error:
            raise InvalidFieldsError(self._faults(error, None)[:MOST_FAULTS]) from None

    def _list(self, body: bytes) -> list[T]:
        try:
            return self._many.validate_json(body)
        except ValidationError as error:
            raise InvalidFieldsError(self._faults(error, None)[:MOST_FAULTS]) from None

    def _lines(self, body: bytes) -> list[T]:
        faults: list[FieldFault] = []
        posted: list[T] = []
        for index, line in enumerate(line for line in body.split(b"\n") if line.strip()):
            try:
                posted.append(self._one.validate_json(line))
            except ValidationError as error:
                faults += self._faults(error, index)
            if len(faults) >= MOST_FAULTS:
                break
        if faults:
            raise InvalidFieldsError(faults[:MOST_FAULTS])
        return posted

    def _faults(self, error: ValidationError, index: int | None) -> list[FieldFault]:
        """Faults by place and field."""
        found: dict[tuple[int | None, str], FieldFault] = {}
        for fault in cast("Sequence[Mapping[str, Any]]", error.errors(include_url=False, include_input=False)):
            path = list(fault["loc"])
            at = path.pop(0) if index is None and path and isinstance(path[0], int) else index
            field = str(path[0]) if path else "body"
            is_id = field in self._ids and fault["type"] not in _UNTOLD
            message = "expected a 64-bit integer or text" if is_id else message_of(fault)
            found.setdefault((at, field), FieldFault(field=field, message=message, index=at))
        return list(found.values())


def media_type_of(request: Request, *expected: str) -> str:
    """The media type of a request's body.

    Raises:
        HTTPException: 415, if it is none of those expected.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in expected:
        # Browsers send other types across origins without asking first; these they do not.
        raise HTTPException(415, f"Content-Type: expected {' or '.join(expected)}", headers={"Accept": JSON})
    return media_type


def id_fault(kind: str, value: int | str) -> str | None:
    """What is wrong with an id in a release whose ids are of a kind, int64 or string; None if nothing is."""
    if isinstance(value, str) == (kind == "string"):
        return None
    return f"expected {'a 64-bit integer' if kind == 'int64' else 'text'}: this release has {kind} ids"
