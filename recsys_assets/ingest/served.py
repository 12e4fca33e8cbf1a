"""Takes a person out of the landing files that the API has written: they are ours, unlike all others there.

Files of changes of items are left alone: they name no person.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable

import orjson

from recsys_assets.ingest.suppression import UserId
from recsys_assets.storage.objects import ObjectStore


def forget_served(landing: ObjectStore, names: Iterable[str], user: UserId) -> dict[str, int]:
    """Rewrite the files that hold a person, events and impressions alike, without the person's lines.

    It may be cut off anywhere and be called again. A file without lines stays a file.

    Args:
        landing: the landing zone.
        names: of the files of events and of impressions.
        user: id of the person.

    Returns:
        Lines that were taken out, by file.
    """
    removed: dict[str, int] = {}
    name = orjson.dumps(user)
    for file in names:
        lines = gzip.decompress(landing.get(file)).splitlines(keepends=True)
        # Looking for the text first spares parsing nearly all lines.
        kept = [line for line in lines if name not in line or orjson.loads(line)["user_id"] != user]
        if len(kept) != len(lines):
            landing.put(file, gzip.compress(b"".join(kept), mtime=0))
            removed[file] = len(lines) - len(kept)
    return removed
