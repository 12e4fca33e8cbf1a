"""The two records of releases: the manifest, whose hash names the release, and the pointer to the served release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from recsys_assets.storage.lineage import check_day
from recsys_assets.storage.objects import Json, canonical_json, sha256_bytes

FORMAT_VERSION = 1


@dataclass(frozen=True, order=True)
class ReleaseFile:
    """One file of a release: its name, its size and the hex SHA-256 of its bytes."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of a release. It holds no time and no run, so equal inputs give equal releases.

    Attributes:
        as_of: the last day whose events it includes, ``YYYY-MM-DD``.
        files: by name.
        facts: metadata for serving and for people.
        format_version: of this record.
    """

    as_of: str
    files: tuple[ReleaseFile, ...]
    facts: Mapping[str, Json]
    format_version: int = FORMAT_VERSION

    @property
    def sha256(self) -> str:
        """Hash of the encoded record."""
        return sha256_bytes(encode_manifest(self))

    @property
    def release_id(self) -> str:
        """``<as_of>-<first 12 hex digits of the hash>``."""
        return f"{self.as_of}-{self.sha256[:12]}"


@dataclass(frozen=True)
class Pointer:
    """The release that is served.

    Attributes:
        release_id: the release.
        as_of: its day.
        manifest_sha256: hash of its manifest.
        previous: the release served before; None at first.
        generation: number of times that the pointer has moved, from 1.
        withdrawn: releases withdrawn by a rollback, ascending; publishing never makes them current again.
        pinned: whether publishing leaves it where it is, until a person unpins it; a rollback pins it.
        rolled_back: its generation after the last rollback, 0 before the first: a publish that began before it is late.
    """

    release_id: str
    as_of: str
    manifest_sha256: str
    previous: str | None = None
    generation: int = 1
    withdrawn: tuple[str, ...] = ()
    pinned: bool = False
    rolled_back: int = 0


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON of a manifest."""
    return canonical_json(cast(Json, asdict(manifest)))


def decode_manifest(data: bytes, uri: str) -> Manifest:
    """Read a manifest; ``ValueError`` names ``uri`` if it is invalid or of another format."""
    record = _record(data, uri)
    if record.get("format_version") != FORMAT_VERSION:
        version = record.get("format_version")
        raise ValueError(f"{uri}: manifest format_version: expected {FORMAT_VERSION}, found {version!r}")
    try:
        record["files"] = tuple(ReleaseFile(**file) for file in record["files"])
        return Manifest(**record)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{uri}: not a release manifest: {error!r}") from error


def encode_pointer(pointer: Pointer) -> bytes:
    """Canonical JSON of a pointer."""
    return canonical_json(cast(Json, asdict(pointer)))


def decode_pointer(data: bytes, uri: str) -> Pointer:
    """Read a pointer; ``ValueError`` names ``uri`` if it is invalid."""
    record = _record(data, uri)
    try:
        record["withdrawn"] = tuple(record["withdrawn"])
        pointer = Pointer(**record)
        check_day(pointer.as_of)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{uri}: not a release pointer: {error!r}") from error
    return pointer


def _record(data: bytes, uri: str) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{uri}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{uri}: expected a JSON object, found {type(record).__name__}")
    return cast(dict[str, Any], record)
