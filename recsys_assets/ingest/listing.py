"""What is in the landing zone now."""

from __future__ import annotations

from dataclasses import dataclass

from recsys_assets.storage.objects import ObjectStore


@dataclass(frozen=True)
class LandingFile:
    """A file in the landing zone.

    Args:
        uri: where it is.
        name: path below the landing zone; the ``source_file`` of its rows.
        size: bytes.
        fingerprint: changes when the content does.
    """

    uri: str
    name: str
    size: int
    fingerprint: str


def list_landing(landing: ObjectStore) -> list[LandingFile]:
    """All files of a landing zone, whether the data set knows them or not."""
    return [LandingFile(landing.uri(meta.key), meta.key, meta.size, meta.etag) for meta in landing.list()]
