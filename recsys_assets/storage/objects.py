"""The protocol of object stores, and its errors.

A store is a flat map from keys to byte strings: a folder of files or a prefix of an S3 bucket, with equal behaviour.
Writes are atomic: readers see a whole object or none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
CHUNK = 8 * 1024 * 1024
"""Bytes per read when an object is streamed, and the minimum size of a part of a multipart upload."""
_DOWNLOADS = 4
"""How often an object is downloaded at most, where each time other bytes come."""


class NotFound(FileNotFoundError):  # noqa: N818
    """The object does not exist."""


class AlreadyExists(FileExistsError):  # noqa: N818
    """A create-only write found an object."""


class Conflict(RuntimeError):  # noqa: N818
    """A compare-and-swap found other content than it was based on."""


class InvalidKey(ValueError):  # noqa: N818
    """The key is not valid in every store."""


@dataclass(frozen=True)
class ObjectMeta:
    """The metadata of one object.

    Attributes:
        key: relative to the store's root.
        size: bytes.
        etag: changes with the content; for ``replace``. Opaque, without quotes.
        modified: UTC; from S3 in whole seconds.
    """

    key: str
    size: int
    etag: str
    modified: datetime


class ObjectStore(Protocol):
    """Objects under one root. Reading a missing object raises ``NotFound``, which names it."""

    @property
    def storage_options(self) -> dict[str, str] | None:
        """Credentials and endpoint for ``uri`` under Polars' names; None: not needed, or Polars finds them itself."""
        ...

    def get(self, key: str) -> bytes:
        """The whole object."""
        ...

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object with the etag of exactly these bytes."""
        ...

    def put(self, key: str, data: bytes | Path) -> None:
        """Write bytes, or the content of a local file; overwrites.

        Do not mix it with ``replace`` on the same key.
        """
        ...

    def create(self, key: str, data: bytes | Path) -> None:
        """Write a new object; ``AlreadyExists`` if the key exists."""
        ...

    def replace(self, key: str, data: bytes, etag: str | None) -> None:
        """Compare and swap: overwrite only the content with ``etag`` (None: only if there is no object).

        Raises:
            Conflict: the content is another; nothing was written.
        """
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object."""
        ...

    def head(self, key: str) -> ObjectMeta:
        """Size, etag and time of an object."""
        ...

    def list(self, prefix: str = "") -> list[ObjectMeta]:
        """All objects under a folder ("" is the root), by key. Names that begin with a dot are not listed."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error if it does not exist."""
        ...

    def sweep(self, prefix: str = "", hours: float = 0, *, history: bool = False) -> list[str]:
        """Remove what killed writes have left under a folder; returns what was removed.

        Args:
            prefix: the folder; "" is the root.
            hours: age below which uploads to S3 count as being written: nobody can tell those of a dead process. On
                local files, the system knows which writers live.
            history: whether to delete the versions of before as well, which a bucket may keep.
        """
        ...

    def unlisted(self, prefix: str = "") -> list[str]:
        """What has content under a folder and is in no listing: unfinished writes and, on S3, versions of before."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A seekable binary file over an object; the caller closes it."""
        ...

    def uri(self, key: str = "") -> str:
        """The address of an object or a folder: a path or ``s3://…``, as ``polars.scan_parquet`` takes it."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The object's own file, for memory mapping; None where objects are not files."""
        ...


def check_key(key: str) -> str:
    """Return a key if it is valid in every store, else raise ``InvalidKey``.

    A key is one or more names joined by "/". Names that begin with a dot are reserved for temporary files and locks.
    """
    names = key.split("/")
    if any(not name or name.startswith(".") or "\\" in name or not name.isprintable() for name in names):
        raise InvalidKey(f"object key {key!r}: expected names joined by '/', none empty or beginning with a dot")
    return key


def hidden(key: str) -> bool:
    """Whether a listed key has a name that begins with a dot."""
    return any(name.startswith(".") for name in key.split("/"))


def canonical_json(value: Json) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, a newline at the end; NaN is an error."""
    plain = json.loads(json.dumps(value, allow_nan=False))  # keys become strings before they are sorted
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{text}\n".encode()


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a local file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_object(store: ObjectStore, key: str) -> str:
    """Hex SHA-256 of a stored object, streamed."""
    digest = hashlib.sha256()
    with store.open(key) as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def local_file(store: ObjectStore, key: str, path: Path, expected: str | None = None) -> tuple[Path, str]:
    """A local file with an object's bytes, and their hex SHA-256.

    Args:
        store: where the object is.
        key: the object.
        path: of the download, if the object is not a local file.
        expected: the hash that the bytes should have: a download that has another one is repeated.
    """
    own = store.local_path(key)
    if own is not None:
        return own, sha256_file(own)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = ""
    for _ in range(_DOWNLOADS):
        digest = hashlib.sha256()
        with store.open(key) as source, path.open("wb") as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                target.write(chunk)
        # Other bytes twice: they are stored so, and not damaged on the way.
        if digest.hexdigest() in (expected or digest.hexdigest(), found):
            return path, digest.hexdigest()
        found = digest.hexdigest()
    return path, found
