"""Which data set a store is of, and of which types its ids are.

::

    dataset.json    {"name": "books", "user": "int64", "item": "int64"}; create-only

The first process that opens a store for a graph states it. A graph of another data set, or with other id types, is
refused from then on: days of both would be mixed, and one would serve the items of the other.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from recsys_assets.storage.objects import AlreadyExists, NotFound, ObjectStore, canonical_json
from recsys_assets.storage.releases import Releases

KEY = "dataset.json"


class IdentityError(ValueError):
    """A store holds another data set, or ids of other types."""


@dataclass(frozen=True)
class Identity:
    """A data set as far as a whole store depends on it.

    Attributes:
        name: of the data set.
        user: type of the ids of users.
        item: type of the ids of items.
    """

    name: str
    user: str
    item: str

    def to_json(self) -> str:
        """As text, for :meth:`from_json`."""
        return canonical_json(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Identity:
        """From the text of :meth:`to_json`; ValueError where it is another."""
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from error


def check_identity(store: ObjectStore, identity: Identity) -> None:
    """Refuse a store of another data set or other id types; state them in a store that does not yet.

    A store that states them costs one small read. One that was written before stores did is asked for the data set of
    the release that it serves.

    Args:
        store: to check.
        identity: of the graph that is to use it.

    Raises:
        IdentityError: the store has another one.
    """
    stored = _stored(store)
    if stored is None:
        served = _served(store)
        if served is not None:
            _refuse_other(store, served, identity)
        with suppress(AlreadyExists):  # another process stated it at the same moment
            store.create(KEY, identity.to_json().encode())
        stored = _stored(store)
    if stored is not None:
        _refuse_other(store, stored, identity)


def _stored(store: ObjectStore) -> Identity | None:
    try:
        data = store.get(KEY)
    except NotFound:
        return None
    try:
        return Identity.from_json(data)
    except ValueError as error:
        raise IdentityError(f"{store.uri(KEY)}: expected name, user and item, found {data[:80]!r}") from error


def _served(store: ObjectStore) -> Identity | None:
    """The data set of the release that is served; None if none is, or if it does not say."""
    releases = Releases(store)
    pointer = releases.current()
    if pointer is None:
        return None
    facts: Any = releases.manifest(pointer.release_id).facts
    try:
        return Identity(facts["dataset"], facts["ids"]["user"], facts["ids"]["item"])
    except (KeyError, TypeError):
        return None


def _refuse_other(store: ObjectStore, stored: Identity, identity: Identity) -> None:
    if stored.name != identity.name:
        raise IdentityError(
            f"store {store.uri()} holds the data set {stored.name!r}, and RECSYS_DATASET names {identity.name!r}: set "
            "RECSYS_STORAGE_URI to a place of its own for each data set"
        )
    if stored != identity:
        raise IdentityError(
            f"store {store.uri()} holds ids of the types user = {stored.user!r}, item = {stored.item!r}, and "
            f"dataset.toml states [ids] user = {identity.user!r}, item = {identity.item!r}: set RECSYS_STORAGE_URI to "
            "another place for a new store; or remove all of this store but its folder 'erasures', and 'make run' "
            "rebuilds it; or state the old types again"
        )
