"""Takes a person out of the landing files that the API has written: they are ours, unlike all others there.

Files of changes of items are left alone: they name no person.
"""

from __future__ import annotations

import gzip

import orjson

from recsys_assets.ingest.suppression import UserId
from recsys_assets.storage.objects import ObjectStore

FOLDER = "served"
_ITEMS = f"{FOLDER}/items-"


def forget_served(landing: ObjectStore, user: UserId) -> dict[str, int]:
    """Rewrite the files that hold a person, events and impressions alike, without the person's lines.

    It may be cut off anywhere and be called again. A file without lines stays a file.

    Args:
        landing: the landing zone.
        user: id of the person.

    Returns:
        Lines that were taken out, by file.
    """
    removed: dict[str, int] = {}
    name = orjson.dumps(user)
    for meta in landing.list(FOLDER):
        if not meta.key.endswith(".jsonl.gz") or meta.key.startswith(_ITEMS):
            continue
        lines = gzip.decompress(landing.get(meta.key)).splitlines(keepends=True)
        # Looking for the text first spares parsing nearly all lines.
        kept = [line for line in lines if name not in line or orjson.loads(line)["user_id"] != user]
        if len(kept) != len(lines):
            landing.put(meta.key, gzip.compress(b"".join(kept), mtime=0))
            removed[meta.key] = len(lines) - len(kept)
    return removed
