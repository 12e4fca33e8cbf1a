"""Ids in text files: values that stand below or after a name, and whole words.

Nothing is parsed, so that JSON within JSON, a line of a log and a text within a binary file are read alike. Only in
tables, CSV and HTML, a column tells what a value is.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from html import escape, unescape

_BETWEEN = rb"""(?: [\\"'\]]{0,3} [\ \t]* [:=] \s* | [\ \t]+ | "?> \s* | \s* (?:<(?!/?tr\b)[^<>]{1,80}>\s*){1,6} )"""
"""What may stand between a name and its value: ``: = >``, blanks, tags of one row."""
_VALUES = rb"""(?P<values> \[[^\]]* | \\"[^"\\]* | "(?:[^"\\\n]|\\.)* | '[^'\n]* | [^\x00-\x20,;\[\]{}()<>"']+ )"""
"""A list, a text in quotes, or a word."""
_VALUE = re.compile(
    rb"""\\"(?P<escaped>[^"\\]*)(?:\\")? | "(?P<double>(?:[^"\\]|\\.)*)"? | '(?P<single>[^']*)'? """
    rb"""| (?P<bare>[^\x00-\x20,;\[\]"']+)""",
    re.X,
)
_BEFORE = re.compile(rb"(?<!\\)[\w\x80-\xff-]\Z|[\w\x80-\xff][.@+]\Z")
_AFTER = re.compile(rb"[\w\x80-\xff-]|[.@+][\w\x80-\xff]")
"""What makes a word a part of a longer one. ``\\n`` of JSON ends a line."""
_ROW = re.compile(r"<tr[^>]*>(.*?)</tr>", re.S | re.I)
_CELL = re.compile(r"<t[hd][^>]*>(.*?)</t[hd]>", re.S | re.I)
_TAG = re.compile(r"<[^>]*>")
_TABLE = re.compile(rb"<table.*?</table>", re.S | re.I)
_DELIMITERS = ",;\t|"


class Labels:
    """Finds what stands under or after some names.

    Args:
        names: of columns and fields, in lower case.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        either = b"|".join(re.escape(name.encode()) for name in sorted(names, key=len, reverse=True))
        self._labelled = re.compile(rb"(?<![\w\x80-\xff]) (?:" + either + rb")" + _BETWEEN + _VALUES, re.I | re.X)

    def values(self, text: bytes) -> Iterator[str]:
        """Each value: ``"user_id": 12``, ``user_ids = [3, "12"]``, a column of that name in CSV or HTML."""
        for found in self._labelled.finditer(text):
            for value in _VALUE.finditer(found["values"]):
                yield _plain(value[value.lastgroup or 0])
        yield from self._in_csv(text)
        for table in _TABLE.finditer(text):
            rows = [_CELL.findall(row) for row in _ROW.findall(table[0].decode(errors="replace"))]
            yield from self._below([[unescape(_TAG.sub("", cell)).strip() for cell in row] for row in rows])

    def _in_csv(self, text: bytes) -> Iterator[str]:
        header = text.lstrip(b"\xef\xbb\xbf")[:65_536].split(b"\n", 1)[0].decode(errors="replace").strip("\r")
        for delimiter in _DELIMITERS:
            if self._names.intersection(_lower(next(csv.reader([header], delimiter=delimiter), []))):
                rows = csv.reader(io.StringIO(text.decode("utf-8-sig", errors="replace")), delimiter=delimiter)
                yield from self._below(list(rows))
                return

    def _below(self, rows: list[list[str]]) -> Iterator[str]:
        places = [place for place, name in enumerate(_lower(rows[0] if rows else [])) if name in self._names]
        for row in rows[1:]:
            yield from (row[place] for place in places if place < len(row))


def words(text: bytes, word: str) -> int:
    """How often a word stands in a text, not as a part of a longer word; also as JSON and HTML spell it."""
    return sum(_count(text, one.encode()) for one in {word, json.dumps(word)[1:-1], escape(word)})


def _count(text: bytes, word: bytes) -> int:
    count, at = 0, text.find(word)
    while at >= 0:
        end = at + len(word)
        count += not _BEFORE.search(text[max(0, at - 2) : at]) and not _AFTER.match(text[end : end + 2])
        at = text.find(word, end)
    return count


def _plain(value: bytes) -> str:
    """A value without JSON's escapes, HTML's, and the dot that ends a sentence."""
    text = value.decode(errors="replace")
    with suppress(ValueError):
        text = json.loads(f'"{text}"')
    return unescape(text).rstrip(".")


def _lower(names: list[str]) -> list[str]:
    return [name.strip().lower() for name in names]
