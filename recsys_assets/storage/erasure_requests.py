"""Requests to erase a person, by which serving asks the graph.

::

    erasures/requests/<digest of the id>.json    {"format_version": 1, "user_id": …, "requested_at": …}

A request contains the user id, since the erasure job needs it, and is deleted once the person is erased.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from recsys_assets.storage.lists import Key
from recsys_assets.storage.objects import NotFound, ObjectStore, canonical_json

ROOT = "erasures/requests"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ErasureRequest:
    """A request.

    Attributes:
        user_id: the person.
        requested_at: ISO 8601, UTC.
    """

    user_id: Key
    requested_at: str


def request_key(user_id: Key) -> str:
    """Where the request for a person is: a second request replaces the first."""
    return f"{ROOT}/{hashlib.sha256(canonical_json(user_id)).hexdigest()[:32]}.json"


def write_request(store: ObjectStore, request: ErasureRequest) -> str:
    """Ask for an erasure; returns the key of the request."""
    key = request_key(request.user_id)
    record = {"format_version": FORMAT_VERSION, "user_id": request.user_id, "requested_at": request.requested_at}
    store.put(key, canonical_json(record))
    return key


def list_requests(store: ObjectStore) -> list[str]:
    """Keys of the open requests."""
    return [meta.key for meta in store.list(ROOT)]


def read_request(store: ObjectStore, key: str) -> ErasureRequest | None:
    """A request; None if it is done.

    Raises:
        ValueError: it is of another format; names it.
    """
    try:
        return _decode(store.get(key), store.uri(key))
    except NotFound:
        return None


def close_request(store: ObjectStore, key: str, requested_at: str) -> bool:
    """Delete a request that is done; one that was made again meanwhile stays. Returns whether it was deleted."""
    request = read_request(store, key)
    done = request is not None and request.requested_at == requested_at
    if done:
        store.delete(key)
    return done


def _decode(data: bytes, uri: str) -> ErasureRequest:
    try:
        record = json.loads(data)
        user_id, requested_at = record["user_id"], record["requested_at"]
        if record["format_version"] != FORMAT_VERSION or isinstance(user_id, bool):
            raise ValueError(f"format_version: expected {FORMAT_VERSION}, found {record['format_version']!r}")
        if not isinstance(user_id, (int, str)) or not isinstance(requested_at, str):
            raise TypeError("expected an id and a time")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{uri}: not a request to erase a person: {error}") from error
    return ErasureRequest(user_id, requested_at)
