"""What is wrong with a landing file, and how a value is described without being shown.

No value and no row of a file enters an error: errors are logged, stored and sent, and files are about persons. Errors
name columns, rows by number, types, and the shape of a value.
"""

from __future__ import annotations

import re

_LONGEST = 40


class DataFileError(ValueError):
    """A landing file does not match the data set's description."""


class SchemaError(DataFileError):
    """A landing file's columns, types or units do not match the data set's description."""


class UnreadableFileError(DataFileError):
    """The bytes of a landing file cannot be read: corrupt, cut off, or of another format."""


def shape(value: object) -> str:
    """The shape of a value: ``9`` for each digit, ``a`` and ``A`` for letters, signs as they are; clipped."""
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple, dict)):
        return "a list or an object"
    text = str(value)
    shaped = re.sub(r"[0-9]", "9", re.sub(r"[^\W\d_]", _letter, text[:_LONGEST]))
    shaped = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in shaped)
    more = f" and {len(text) - _LONGEST:,} more characters" if len(text) > _LONGEST else ""
    return f"a value like {shaped!r}{more}" if text else "an empty value"


def _letter(found: re.Match[str]) -> str:
    letter = found.group()
    return "A" if letter.isupper() else "a"
