"""The suppression list: erasing a person adds to it, and staging drops the rows of the persons on it.

::

    erasures/suppressed.json    a salt and one token per erased person; updated by compare-and-swap

A token is a keyed hash of the id, so the list contains no ids. It is only a pseudonym: anyone who can read it can
test ids against it, as staging does. Anything that can recognise an id that comes again reveals as much.
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
    """Persons whose rows are dropped, identified by their tokens only.

    Attributes:
        salt: random, of this store, hex.
        tokens: one per person.
    """

    salt: str = ""
    tokens: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.tokens)

    def token(self, user: UserId) -> str:
        """The token of an id: 128 bits of BLAKE2b, keyed with the store's salt, as hex."""
        return hashlib.blake2b(str(user).encode(), key=bytes.fromhex(self.salt), digest_size=16).hexdigest()

    def mask(self, users: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
        """Mask of the ids that are suppressed; null is not."""
        return matching(users, [user for user in users.unique().to_pylist() if self._contains(user)])

    def mask_raw(self, raw: pa.Array | pa.ChunkedArray, column: str, kind: IdType) -> pa.Array:
        """Mask of the rejected rows that may be about a suppressed person; see :func:`ids_in_raw`."""
        about_suppressed = [any(map(self._contains, ids_in_raw(text, column, kind))) for text in raw.to_pylist()]
        return pa.array(about_suppressed, pa.bool_())

    def _contains(self, user: UserId | None) -> bool:
        return user is not None and self.token(user) in self.tokens


def without_erased(parsed: Parsed, suppressed: Suppressed, dataset: Dataset) -> tuple[Parsed, list[str]]:
    """Parsed rows of an event file without those of suppressed persons, and the day of each dropped row."""
    masks = (
        suppressed.mask(parsed.good["user_id"]),
        suppressed.mask_raw(parsed.rejected["raw"], dataset.events.columns.user_id, dataset.ids.user),
    )
    days_of_erased = [
        day
        for rows, erased in zip((parsed.good, parsed.rejected), masks, strict=True)
        for day in rows.filter(erased)["dt"].to_pylist()
    ]
    good, rejected = (
        rows.filter(pc.call_function("invert", [erased]))
        for rows, erased in zip((parsed.good, parsed.rejected), masks, strict=True)
    )
    days = [UNDATED if day is None else day.isoformat() for day in days_of_erased]
    return replace(parsed, good=good, rejected=rejected), days


def matching(users: pa.Array | pa.ChunkedArray, wanted: Iterable[UserId]) -> pa.Array | pa.ChunkedArray:
    """Mask of the ids that are among the wanted ones; null is not."""
    return pc.call_function("is_in", [users], pc.SetLookupOptions(pa.array(list(wanted), users.type), skip_nulls=True))


def parse_user(value: object, kind: IdType) -> UserId:
    """A user id of the data set's type.

    Raises:
        ValueError: it is empty, or not of that type.
    """
    text = "" if value is None or isinstance(value, bool) else str(value).strip()
    user = as_id(text, kind)
    if user is None:
        raise ValueError(f"user_id: expected an id of type {kind}, found {type(value).__name__} that is none")
    return user


def ids_in_raw(raw: str, column: str, kind: IdType) -> set[UserId]:
    """The ids that a rejected row may be about.

    For a row with columns, the value in the user column; with string ids, every value: an id may have slipped into
    another column, and hardly any other value equals an id. For a row that could not be split into columns, every word.

    Args:
        raw: the row as ``REJECTED_EVENTS`` keeps it.
        column: name of the user column in the file.
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
    users = (as_id(_text(value), kind) for value in values)
    return {user for user in users if user is not None}


def read_suppressed(store: ObjectStore) -> Suppressed:
    """The list of a store; empty before the first erasure."""
    return _decode(store.get(LIST), store.uri(LIST)) if store.exists(LIST) else Suppressed()


def suppress(store: ObjectStore, user: UserId) -> str:
    """Add a person to the list permanently; returns the token. Idempotent."""
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


def _decode(data: bytes, uri: str) -> Suppressed:
    try:
        record = json.loads(data)
        if record["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version: expected {FORMAT_VERSION}, found {record['format_version']!r}")
        return Suppressed(str(record["salt"]), frozenset(record["tokens"]))
    except (ValueError, KeyError, TypeError) as error:
        # Continuing without the list would restore rows of erased persons.
        raise ValueError(f"{uri}: not a list of erased persons: {error}") from error


def _text(value: object) -> str:
    """A value of a JSON row, as text that equals what the parser reads."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def as_id(text: str, kind: IdType) -> UserId | None:
    """Text as an id, by the rules of the parser; None if it is not one."""
    if kind == "string":
        return text or None
    if not re.fullmatch(r"[+-]?[0-9]+(\.0*)?", text):
        return None
    digits = text.split(".")[0]
    return int(digits) if len(digits.lstrip("+-0")) <= 19 and int(digits) in _INT64 else None
