"""Whose rows must not be kept: the list that erasing a person adds to and staging asks.

::

    erasures/suppressed.json    a salt and one token per erased person, moved by compare-and-swap

A token is a keyed hash of the id, so the list names nobody. It is a pseudonym and no more: anyone who can read the list
can try ids against it, as staging does. Nothing that recognises an id when it comes again could be less revealing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.contracts import IdType
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.events.parse import Parsed
from recsys_assets.ingest.spill import UNDATED
from recsys_assets.storage.objects import Conflict, NotFound, ObjectStore, canonical_json

ROOT = "erasures"
LIST = f"{ROOT}/suppressed.json"
FORMAT_VERSION = 1
_ATTEMPTS = 40
_INT64 = range(-(2**63), 2**63)
_CELL = re.compile(r"[,;|\t]")
_WORD = re.compile(r"""[^\s,;|:"'{}\[\]]+""")

UserId = int | str


@dataclass(frozen=True)
class Suppressed:
    """Persons whose rows are left out, known by their tokens alone.

    Attributes:
        salt: hex; of this store, random.
        tokens: one per person.
    """

    salt: str = ""
    tokens: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.tokens)

    def token(self, user: UserId) -> str:
        """What stands for an id: 128 bits of BLAKE2b, keyed with the store's salt, as hex."""
        return hashlib.blake2b(str(user).encode(), key=bytes.fromhex(self.salt), digest_size=16).hexdigest()

    def hold(self, users: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Which of the ids are suppressed, as booleans; null is nobody."""
        return matching(users, [user for user in users.unique().to_pylist() if self._holds(user)])

    def hold_raw(self, raw: pa.Array | pa.ChunkedArray, column: str, kind: IdType) -> pa.Array:
        """Which rejected rows are about a suppressed person; see :func:`ids_in_raw`."""
        of_erased = [any(map(self._holds, ids_in_raw(text, column, kind))) for text in raw.to_pylist()]
        return pa.array(of_erased, pa.bool_())

    def _holds(self, user: UserId | None) -> bool:
        return user is not None and self.token(user) in self.tokens


def without_erased(parsed: Parsed, suppressed: Suppressed, dataset: Dataset) -> tuple[Parsed, list[str]]:
    """Parsed rows of an event file without those of suppressed persons, and the day of each row that was left out."""
    of_erased = (
        suppressed.hold(parsed.good["user_id"]),
        suppressed.hold_raw(parsed.rejected["raw"], dataset.events.columns.user_id, dataset.ids.user),
    )
    out = [*parsed.good.filter(of_erased[0])["dt"].to_pylist(), *parsed.rejected.filter(of_erased[1])["dt"].to_pylist()]
    good, rejected = (
        rows.filter(pc.call_function("invert", [gone]))
        for rows, gone in zip((parsed.good, parsed.rejected), of_erased, strict=True)
    )
    days = [UNDATED if day is None else day.isoformat() for day in out]
    return replace(parsed, good=good, rejected=rejected), days


def matching(users: pa.Array | pa.ChunkedArray, ids: Iterable[UserId]) -> pa.Array | pa.ChunkedArray:
    """Which ids are among the wanted, as booleans; null is not."""
    return pc.call_function("is_in", [users], pc.SetLookupOptions(pa.array(list(ids), users.type), skip_nulls=True))


def parse_user(value: object, kind: IdType) -> UserId:
    """An id as the data set types it.

    Raises:
        ValueError: it is empty, or is none of that type.
    """
    text = "" if value is None or isinstance(value, bool) else str(value).strip()
    user = _as_id(text, kind)
    if user is None:
        raise ValueError(f"user_id: expected an id of type {kind}, found {type(value).__name__} that is none")
    return user


def ids_in_raw(raw: str, column: str, kind: IdType) -> set[UserId]:
    """The ids that a rejected row may be about.

    Of a row with columns, that is the value in the user's column, and with string ids any value: an id may have slipped
    into another column, and hardly anything else is called so. Of a row that did not even split, it is every word.

    Args:
        raw: the row as ``REJECTED_EVENTS`` keeps it.
        column: the user's column in the file.
        kind: type of user ids.
    """
    try:
        row = json.loads(raw)
    except ValueError:
        row = None
    if isinstance(row, dict):
        named = cast("dict[str, Any]", row)
        values = list(named.values()) if kind == "string" else [named.get(column)]
    else:
        line = row if isinstance(row, str) else raw
        values = [*_CELL.split(line), *_WORD.findall(line)]
        values += cast("list[Any]", row) if isinstance(row, list) else []
    users = (_as_id(_text(value), kind) for value in values)
    return {user for user in users if user is not None}


def read_suppressed(store: ObjectStore) -> Suppressed:
    """The list of a store; empty before the first erasure."""
    return _decode(store.get(LIST), store.uri(LIST)) if store.exists(LIST) else Suppressed()


def suppress(store: ObjectStore, user: UserId) -> str:
    """Put a person on the list, for good; returns the token. Doing it again changes nothing."""
    for _ in range(_ATTEMPTS):
        try:
            data, etag = store.get_with_etag(LIST)
            suppressed = _decode(data, store.uri(LIST))
        except NotFound:
            suppressed, etag = Suppressed(salt=secrets.token_hex(32)), None
        token = suppressed.token(user)
        if token in suppressed.tokens:
            return token
        record = {
            "format_version": FORMAT_VERSION,
            "salt": suppressed.salt,
            "tokens": sorted({*suppressed.tokens, token}),
        }
        try:
            store.replace(LIST, canonical_json(record), etag)
            return token
        except Conflict:
            continue
    raise Conflict(f"{store.uri(LIST)}: could not be changed in {_ATTEMPTS} attempts")


def _decode(data: bytes, where: str) -> Suppressed:
    try:
        record = json.loads(data)
        if record["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version: expected {FORMAT_VERSION}, found {record['format_version']!r}")
        return Suppressed(str(record["salt"]), frozenset(record["tokens"]))
    except (ValueError, KeyError, TypeError) as error:
        # Going on without the list would bring people back.
        raise ValueError(f"{where}: not a list of erased persons: {error}") from error


def _text(value: object) -> str:
    """A value of a JSON row as the parser reads it."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _as_id(text: str, kind: IdType) -> UserId | None:
    """Text as an id, by the rules of the parser; None where it is none."""
    if kind == "string":
        return text or None
    if not re.fullmatch(r"[+-]?[0-9]+(\.0*)?", text):
        return None
    digits = text.split(".")[0]
    return int(digits) if len(digits.lstrip("+-0")) <= 19 and int(digits) in _INT64 else None
