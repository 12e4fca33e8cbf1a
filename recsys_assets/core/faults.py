"""What is wrong with what people write - files, settings, requests - in words that need no knowledge of pydantic."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_WHOLE, _NUMBER, _TEXT = "expected a whole number", "expected a number", "expected text"
_LIST, _FIELDS = "expected a list", "expected named fields"
_DATE, _TIME = "expected a date such as 2025-01-31", "expected a time such as 2025-01-31T12:00:00Z"
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is not known",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "expected a whole number of fewer digits",
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": _TEXT,
    "string_unicode": _TEXT,
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least {min_length}, found {actual_length}",
    "too_long": "expected at most {max_length}, found {actual_length}",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "union_tag_invalid": "expected {discriminator} to be one of {expected_tags}, found '{tag}'",
    "union_tag_not_found": "state {discriminator}",
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": "expected a time with its zone",
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "dict_type": _FIELDS,
    "mapping_type": _FIELDS,
    "model_type": _FIELDS,
    "model_attributes_type": _FIELDS,
    "dataclass_type": _FIELDS,
    "path_type": "expected a path",
    "value_error": "{error}",
    "assertion_error": "{error}",
    "json_invalid": "not JSON: {error}",
    "json_type": "expected JSON",
}
"""The types of pydantic's faults, with the names of what each knows."""


def message_of(fault: Mapping[str, Any]) -> str:
    """What is wrong, without field and value.

    Args:
        fault: one of ``ValidationError.errors()``.
    """
    words = _WORDS.get(fault["type"])
    known = {name: _plain(value) for name, value in fault.get("ctx", {}).items()}
    return "cannot be used" if words is None else words.format(**known)


def did_you_mean(name: str, known: Collection[str], shown: Callable[[str], str] = str) -> str:
    """The known name that is most like an unknown one, as the rest of a message; empty where none is like it.

    Args:
        name: the unknown one.
        known: names that would be right, in lower case.
        shown: a known name as people write it.
    """
    matches = get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {shown(matches[0])}?" if matches else ""


def describe_faults(error: ValidationError, whole: str, model: type[BaseModel]) -> list[str]:
    """Each fault as ``field: message (found …)``; an unknown field with the known one that is most like it.

    Args:
        error: of the file's content.
        whole: the name of what is no single field's fault, such as ``data set``.
        model: what the content was validated as.
    """
    faults: list[str] = []
    for fault in error.errors(include_url=False):
        loc = fault["loc"]
        field = ".".join(str(part) for part in loc) or whole
        if fault["type"] == "extra_forbidden":
            faults.append(f"{field}: {unknown_field(model, loc)}")
        else:
            value = fault["input"]
            found = "" if fault["type"] == "missing" or isinstance(value, dict) else f" (found {value!r})"
            faults.append(f"{field}: {message_of(fault)}{found}")
    return list(dict.fromkeys(faults))


def unknown_field(model: type[BaseModel], loc: Sequence[int | str]) -> str:
    """What is wrong with a field that a model does not have.

    Args:
        model: of the whole content.
        loc: the path of the field in it.
    """
    models = {model}
    for part in loc[:-1]:
        kinds = [one.model_fields[str(part)].annotation for one in models if part in one.model_fields]
        # A part that is no field is the key of a table, a position, or the name of one of several models.
        models = {found for kind in kinds for found in _models_in(kind)} or models
    return f"is not known{did_you_mean(str(loc[-1]), {name for one in models for name in one.model_fields})}"


def _models_in(kind: Any) -> set[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {kind}
    return {found for part in get_args(kind) for found in _models_in(part)}


def _plain(value: object) -> object:
    """A limit as people write it: without exponent and without zeros that say nothing."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
