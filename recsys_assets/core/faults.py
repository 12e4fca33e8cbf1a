"""What is wrong with a file that people write, in one line."""

from __future__ import annotations

from pydantic import ValidationError


def describe_faults(error: ValidationError, whole: str) -> str:
    """Each fault as ``field: message (found …)``.

    Args:
        error: of the file's content.
        whole: the name of what is no single field's fault, such as ``data set``.
    """
    faults: list[str] = []
    for fault in error.errors(include_url=False):
        field = ".".join(str(part) for part in fault["loc"]) or whole
        value = "" if isinstance(fault["input"], dict) else f" (found {fault['input']!r})"
        faults.append(f"{field}: {fault['msg'].removeprefix('Value error, ')}{value}")
    return "; ".join(faults)
