"""Ids in paths: string ids of any characters, parsed to the id type of the release."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.convertors import Convertor, register_url_convertor

from recsys_api.problems import FieldFault, InvalidFieldsError
from recsys_assets.storage.lists import Key

_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_INT64 = range(-(2**63), 2**63)


class _IdConvertor(Convertor[str]):
    """The rest of the path: at least one character, and unlike ``path`` also line breaks."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _IdConvertor())


def parse_id(text: str, id_type: str, field: str) -> Key:
    """An id as the release's type.

    Raises:
        InvalidFieldsError: the release has int64 ids and the text is not one; answered as 422 with the field.
    """
    if id_type == "string":
        return text
    if _INTEGER.fullmatch(text) and (number := int(text)) in _INT64:
        return number
    message = "expected a 64-bit integer: this release has int64 ids"
    raise InvalidFieldsError([FieldFault(field=field, message=message)])


def typed_id(value: Key, id_type: str, field: str) -> Key:
    """An id of a body, which must be of the release's type.

    Raises:
        InvalidFieldsError: it is of the other type; answered as 422 with the field.
    """
    if isinstance(value, str) != (id_type == "string"):
        expected = "a string" if id_type == "string" else "a 64-bit integer"
        raise InvalidFieldsError([FieldFault(field=field, message=f"expected {expected}, as this release's ids")])
    return value


def typed_ids(values: Iterable[Key], id_type: str, field: str) -> list[Key]:
    """Ids of a body, each as :func:`typed_id`; the field at fault is named with its place."""
    return [typed_id(value, id_type, f"{field}.{number}") for number, value in enumerate(values)]
